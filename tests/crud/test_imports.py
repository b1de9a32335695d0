import gzip
import re
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.crud import imports
from app.domain.interactions import BadRow, Interactions, attempts_of, opened

HEADER = "student_id,item_id,topic,difficulty,correct,time_seconds,timestamp,note\n"
GOOD = 's1,i1,"a, ""b""",easy,1,12.5,1700000000,x\ns2,,back\\slash\ttab,hard,0,3,1700000001.5,\n'


def add(db: Session, content: str, tmp_path: Path, *, skip_bad: bool = False) -> tuple[int, Interactions]:
    file = tmp_path / "tasks.csv"
    file.write_text(content)
    with opened(file) as (source, _):
        interactions = Interactions(source, skip_bad)
        return imports.add(db, interactions), interactions


def counter(db: Session) -> int:
    return int(db.scalar(text("SELECT n_samples_since_training FROM embedding_model_tracker")) or 0)


def test_rows_become_finished_tasks_and_count(db: Session, tmp_path: Path) -> None:
    assert add(db, HEADER + GOOD, tmp_path)[0] == 2
    columns = "topic, difficulty, item_id, is_correct, actual_time_seconds, extract(epoch FROM completed_at)"
    rows = [tuple(row) for row in db.execute(text(f"SELECT {columns} FROM practice_tasks ORDER BY created_at"))]
    assert rows[0] == ('a, "b"', "easy", "i1", True, 12.5, 1700000012.5)
    assert rows[1][:5] == ("back\\slash\ttab", "hard", None, False, 3.0)
    assert counter(db) == 2


def test_the_same_file_again_changes_nothing_and_a_longer_one_adds_the_rest(db: Session, tmp_path: Path) -> None:
    add(db, HEADER + GOOD, tmp_path)
    assert add(db, HEADER + GOOD, tmp_path)[0] == 0
    assert add(db, HEADER + GOOD + "s1,i2,c,easy,1,2,1700000100,\n", tmp_path)[0] == 1
    assert counter(db) == 3
    assert db.scalar(text("SELECT sum(n) FROM student_totals WHERE scope = 'all'")) == 3


def test_two_equal_answers_at_one_moment_are_two(db: Session, tmp_path: Path) -> None:
    twice = "s1,i1,a,easy,0,12.003,1700000000,\n" * 2
    assert add(db, HEADER + twice, tmp_path)[0] == 2
    assert add(db, HEADER + twice, tmp_path)[0] == 0


def test_uuids_stay_and_other_ids_become_stable_uuids(db: Session, tmp_path: Path) -> None:
    own = "537b7b10-1111-4222-8333-444455556666"
    add(
        db,
        f"{HEADER}{own},,a,easy,1,2,1700000000,\nanna,,a,easy,1,2,1700000000,\nanna,,b,easy,1,2,1700000000,\n",
        tmp_path,
    )
    users = {str(row) for row in db.scalars(text("SELECT DISTINCT user_id FROM practice_tasks"))}
    assert len(users) == 2
    assert own in users


BAD = [
    ("s,i,a,easy,2,3,1700000000,", "line 4: correct is '2'"),
    ("s,i,a,easy,1,nan,1700000000,", "line 4: time_seconds is 'nan'"),
    ("s,i,a,easy,1,0,1700000000,", "line 4: time_seconds is '0'"),
    ("s,i,a,easy,1,,1700000000,", "line 4: time_seconds is ''"),
    ("s,i,a,impossible,1,3,1700000000,", "line 4: difficulty is 'impossible'"),
    ("s,i,,easy,1,3,1700000000,", "line 4: topic has 0 characters"),
    ("s,i,a,easy,1,3,yesterday,", "line 4: timestamp is 'yesterday'"),
    ("s,i,a,easy,1,3,9000000000,", "line 4: timestamp 9000000000 + 3 s lies in the future"),
    ("s,i,a,easy,1,3,,", "line 4: timestamp is empty"),
    ("s,i,a", "line 4: 3 cells"),
]


@pytest.mark.parametrize(("row", "complaint"), BAD)
def test_a_bad_row_is_named_by_its_line(db: Session, tmp_path: Path, row: str, complaint: str) -> None:
    with pytest.raises(BadRow, match=re.escape(complaint)):
        add(db, HEADER + GOOD + row + "\n", tmp_path)
    db.rollback()
    added, interactions = add(db, HEADER + GOOD + row + "\n", tmp_path, skip_bad=True)
    assert (added, interactions.bad) == (2, 1)
    assert (interactions.first_bad or "").startswith(complaint)


def test_a_missing_column_is_named(db: Session, tmp_path: Path) -> None:
    with pytest.raises(BadRow, match="no column topic, time_seconds"):
        add(db, "student_id,correct\n", tmp_path)


def test_without_timestamps_and_difficulties_rows_follow_one_another(tmp_path: Path) -> None:
    file = tmp_path / "rotation.csv.gz"
    file.write_bytes(gzip.compress(b"student_id,item_id,topic,difficulty,correct,time_seconds,timestamp\n"
                                   b"s1,i1,q,,1,48.9,\ns1,i2,q,,0,21.5,\ns2,i1,q,,1,9,\n"))  # fmt: skip
    with opened(file) as (source, _):
        data = attempts_of(Interactions(source))
    assert data.correct.tolist() == [True, False, True]
    assert (data.started[1:] >= data.finished[:-1]).all()
    assert set(data.difficulty.tolist()) == {1}
