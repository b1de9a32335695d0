"""Serving's running totals and training's arrays are the same numbers."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.crud import accounts, attempts, student_totals
from app.domain.attempts import DIFFICULTIES
from app.ml.evaluation.simulated import school, simulate
from app.ml.features.inputs import inputs_of, inputs_of_past, known_before
from tests.school import imported

EPOCH = datetime.now(UTC) - timedelta(minutes=42)
USERS = [UUID(int=1), UUID(int=2)]

one_task = st.fixed_dictionaries(
    {
        "user_id": st.sampled_from(USERS),
        "topic": st.sampled_from(["A", "B"]),
        "difficulty": st.sampled_from(DIFFICULTIES),
        "item_id": st.sampled_from([None, "i", "j"]),
        "start": st.integers(0, 30).map(lambda minute: minute * 60),
        "length": st.integers(1, 20),
        "is_correct": st.booleans(),
        "seconds": st.floats(0.1, 1e4),
    }
)


def insert(db: Session, task: dict[str, Any]) -> None:
    started = task.get("at") or EPOCH + timedelta(seconds=task["start"])
    db.execute(
        text("""INSERT INTO practice_tasks (user_id, topic, difficulty, item_id, created_at, completed, is_correct,
                                            actual_time_seconds, completed_at)
                VALUES (:user_id, :topic, :difficulty, :item_id, :started, true, :is_correct, :seconds, :finished)"""),
        {**task, "started": started, "finished": started + timedelta(seconds=task["length"])},
    )


def served(db: Session, asked: dict[str, Any]) -> student_totals.StudentHistory:
    keys = {"topic_folded": None, "item_folded": None}
    values = {**asked, **keys, **accounts.values_of(None), "most_open": 1, "most_topics": 1}
    return student_totals.past_of(student_totals.PAST.rows_sync(db, **values)[0])


def trained(db: Session, asked: dict[str, Any], at: datetime) -> Any:
    """What training would say of a task created after all others: its row is the last of the table."""
    with db.begin_nested() as changes:
        insert(db, {**asked, "is_correct": True, "seconds": 1.0, "at": at, "length": 1000})
        inputs = inputs_of(known_before(attempts.read_all(db)))[-1]
        changes.rollback()
    return inputs


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tasks=st.lists(one_task, max_size=15), changed=st.integers(0, 100), gone=st.integers(0, 100))
def test_serving_sees_what_training_sees_after_corrections_and_erasure(
    db: Session, tasks: list[dict[str, Any]], changed: int, gone: int
) -> None:
    db.rollback()  # what the example before did
    for task in tasks:
        insert(db, task)
    at = "(SELECT id FROM practice_tasks ORDER BY created_at, id OFFSET :n LIMIT 1)"
    correction = f"UPDATE practice_tasks SET is_correct = NOT is_correct, topic = 'B' WHERE id = {at}"
    db.execute(text(correction), {"n": changed % (len(tasks) + 1)})
    db.execute(text(f"DELETE FROM practice_tasks WHERE id = {at}"), {"n": gone % (len(tasks) + 1)})
    for user_id in USERS:
        for topic, difficulty, item in (("A", "easy", "i"), ("B", "hard", None), ("C", "medium", "k")):
            asked = {"user_id": user_id, "topic": topic, "difficulty": difficulty, "item_id": item}
            past = served(db, asked)
            np.testing.assert_array_equal(inputs_of_past(past)[0], trained(db, asked, past.at))


def test_erasing_a_student_leaves_no_totals(db: Session) -> None:
    data = simulate(school(3, seed=1), 5, seed=1).attempts
    imported(db, data)
    db.execute(text("DELETE FROM practice_tasks WHERE user_id = :id"), {"id": data.students[0]})
    left = db.scalars(text("SELECT DISTINCT user_id FROM student_totals")).all()
    assert set(map(str, left)) == set(data.students[1:])
    db.execute(text("TRUNCATE practice_tasks"))
    assert db.scalar(text("SELECT count(*) FROM student_totals")) == 0


def test_what_training_reads_is_what_was_stored(db: Session) -> None:
    data = simulate(school(3, seed=2), 7, seed=2).attempts
    imported(db, data)
    read = attempts.read_all(db)
    assert len(read) == 21
    assert [read.students[code] for code in read.student] == [data.students[code] for code in data.student]
    assert [read.topics[code] for code in read.topic] == [data.topics[code] for code in data.topic]
    np.testing.assert_array_equal(read.difficulty, data.difficulty)
    np.testing.assert_array_equal(read.correct, data.correct)
    np.testing.assert_array_equal(read.seconds, data.seconds)
    np.testing.assert_array_equal(read.started, data.started)
    np.testing.assert_allclose(read.finished, data.finished, atol=2)  # microseconds
    assert set(read.item) == {-1}


def test_reading_no_tasks_gives_empty_columns(db: Session) -> None:
    assert len(attempts.read_all(db)) == 0
