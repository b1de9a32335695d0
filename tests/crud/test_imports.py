import gzip
import re
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from unicodedata import normalize
from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core.database import new_session
from app.crud import imports
from app.domain.interactions import (
    COLUMNS,
    SECONDS_MAX,
    BadRow,
    Interaction,
    Interactions,
    _Parser,
    attempts_of,
    opened,
)
from app.domain.spellings import Spellings

HEADER = "student_id,item_id,topic,difficulty,correct,time_seconds,timestamp,note\n"
GOOD = 's1,i1,"a, ""b""",easy,1,12.5,1700000000,x\ns2,,back\\slash/tab,hard,0,3,1700000001.5,\n'


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
    assert rows[1][:5] == ("back\\slash/tab", "hard", None, False, 3.0)
    assert counter(db) == 2


def test_a_file_whose_accents_are_coded_otherwise_brings_nothing_new(db: Session, tmp_path: Path) -> None:
    rows = "s1,\u00e9t\u00e9,Alg\u00e8bre,easy,1,12.5,1700000000,\n"
    assert add(db, HEADER + rows, tmp_path)[0] == 1
    assert add(db, HEADER + normalize("NFD", rows), tmp_path)[0] == 0
    assert db.execute(text("SELECT topic, item_id FROM practice_tasks")).one() == ("Alg\u00e8bre", "\u00e9t\u00e9")


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


def test_ids_are_those_of_all_imports_before(tmp_path: Path) -> None:
    file = tmp_path / "tasks.csv"
    row = "anna,i1,a,easy,1,2.50,1700000000,\n"
    file.write_text(HEADER + row + row + row.replace("anna", "bob"))
    with opened(file) as (source, _):
        ids = [str(UUID(bytes=task.id)) for task in Interactions(source)]
    said = "anna\x1fa\x1fi1\x1feasy\x1fTrue\x1f2.5\x1f1700000000.0\x1f"
    ours = UUID("8f6f2c1e-9d0b-5c6e-a3b7-51a7d5708c11")
    names = [f"{said}0", f"{said}1", f"{said}0".replace("anna", "bob")]
    assert ids == [str(uuid5(ours, name)) for name in names]


def test_a_file_of_which_some_rows_are_there_adds_the_others(db: Session, tmp_path: Path) -> None:
    rows = [f"s{n % 7},i{n % 3},a,easy,{n % 2},2.5,{1700000000 + n},\n" for n in range(100)]
    assert add(db, HEADER + "".join(rows[:40]), tmp_path)[0] == 40
    added, interactions = add(db, HEADER + "".join(rows) + "s1,i1,a,easy,7,1,1,\n", tmp_path, skip_bad=True)
    assert (added, interactions.bad, counter(db)) == (60, 1, 100)
    assert db.scalar(text("SELECT count(*) FROM practice_tasks")) == 100
    assert db.scalar(text("SELECT sum(n) FROM student_totals WHERE scope = 'item'")) == 100


def test_a_row_twice_in_a_file_with_another_between_is_one(db: Session, tmp_path: Path) -> None:
    row, between = "s1,i1,a,easy,1,2,1700000000,\n", "s1,i1,a,easy,1,2,1700000009,\n"
    assert add(db, HEADER + row + between + row, tmp_path)[0] == 2


@pytest.mark.parametrize("n", [0, 1, 25_000])
def test_small_and_large_files_are_read_whole(db: Session, tmp_path: Path, n: int) -> None:
    rows = [f"s{k % 50},,a,easy,{k % 2},2.5,{1700000000 + k},\n" for k in range(n)]
    assert add(db, HEADER + "".join(rows), tmp_path)[0] == n
    assert db.scalar(text("SELECT coalesce(sum(n), 0) FROM student_totals WHERE scope = 'all'")) == n


def test_two_imports_of_the_same_rows_in_opposite_order_both_end(environment: Path, tmp_path: Path) -> None:
    rows = [f"s{k % 50},,a,easy,{k % 2},2.5,{1700000000 + k},\n" for k in range(2_000)]
    files = [tmp_path / "forward.csv", tmp_path / "backward.csv"]
    for file, lines in zip(files, (rows, rows[::-1]), strict=True):
        file.write_text(HEADER + "".join(lines))

    def run(file: Path) -> int:
        with opened(file) as (source, _), new_session().begin() as session:
            return imports.add(session, Interactions(source))

    with ThreadPoolExecutor(2) as two:
        assert sorted(two.map(run, files)) == [0, 2_000]


cell = st.sampled_from(["", " ", "1", "0", "true", "FALSE", "2", "nan", "-1", "1e9", "a", "x\x00", "y" * 201, "easy"])
moment = st.sampled_from(["", "1700000000", "1.7e9", "2023-11-14T22:13:20Z", "yesterday", "9e9", "-5"])
some_row = st.tuples(cell, cell, cell, st.sampled_from(["", "easy", "odd"]), cell, cell, moment).map(list)


@given(st.lists(some_row | st.lists(cell, max_size=8), max_size=12))
def test_any_row_is_used_or_named_and_spoils_no_other(rows: list[list[str]]) -> None:
    parser = _Parser({name: place for place, name in enumerate(COLUMNS)}, Spellings())
    good = ["anna", "i1", "a", "easy", "1", "2", "1700000000"]
    first = parser.parse(good, 2)
    for line, row in enumerate(rows, 3):
        with suppress(BadRow):
            assert 0 < parser.parse(row, line).seconds <= SECONDS_MAX
    assert parser.parse(good, 99).student == first.student


def test_an_import_that_is_interrupted_is_not_told_as_the_databases_fault(db: Session) -> None:
    def rows() -> Iterator[Interaction]:
        for k in range(20_000):
            yield Interaction(k.to_bytes(16), bytes(16), None, "a", "easy", True, 2.0, 1.7e9 + k)
            if k == 15_000:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)  # Ctrl-C

    with pytest.raises(KeyboardInterrupt):
        imports.add(db, rows())
