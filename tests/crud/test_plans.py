"""With 200,000 tasks nothing that a student waits for reads more of them than it needs: each question has its index."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core.database import engine_for
from app.core.db.statements import run_sync
from app.crud import (
    corrections,
    learning_record,
    person,
    practice_tasks,
    student_sequences,
    student_totals,
    topic_history,
)
from app.domain.tasks import TaskRequest
from tests.conftest import clone

# Of 200,000 rows; a page looks at the newest 5,000, and beside each total.
MOST = 12_000
FIRST, LATER = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)
# One student has done 50,000, three hundred 500 each.
FILL = """
    INSERT INTO practice_tasks (user_id, topic, difficulty, item_id, created_at, completed, is_correct,
                                actual_time_seconds, completed_at)
    SELECT CAST(lpad(to_hex(CASE WHEN n <= 50000 THEN 1 ELSE 2 + n % 300 END), 32, '0') AS uuid), 'Topic ' || n % 9,
        'medium', 'item ' || n % 200, at, true, n % 3 = 0, 30, at + interval '30 seconds'
    FROM generate_series(1, 200000) AS n
    CROSS JOIN LATERAL (SELECT CAST(:first AS timestamptz) + n * interval '1 minute' AS at) AS begun"""
READ = """
    SELECT coalesce(sum(seq_tup_read), 0) AS one_by_one, coalesce(sum(idx_tup_fetch), 0) AS fetched,
        (SELECT sum(idx_tup_read) FROM pg_stat_xact_user_tables AS whole JOIN pg_index ON indrelid = whole.relid
         CROSS JOIN LATERAL (SELECT pg_stat_get_xact_tuples_returned(indexrelid) AS idx_tup_read) AS entries
         WHERE relname IN ('practice_tasks', 'student_totals')) AS entries
    FROM pg_stat_xact_user_tables WHERE relname IN ('practice_tasks', 'student_totals')"""
TASK = """
    SELECT id FROM practice_tasks WHERE user_id = :student AND completed ORDER BY completed_at {0}, id {0} LIMIT 1"""
ASK = "INSERT INTO practice_tasks (user_id, topic, difficulty) VALUES (:student, 'Topic 3', 'medium') RETURNING id"
COMPLETE = """
    SELECT FROM complete_tasks(ARRAY[CAST(:id AS uuid)], ARRAY[true], ARRAY[CAST(5 AS double precision)],
                               ARRAY[CAST(NULL AS uuid)], ARRAY[CAST(NULL AS bytea)])"""
DELETE = "DELETE FROM practice_tasks WHERE id = :id"
EVER = 36_500.0  # days


@pytest.fixture(scope="module")
def full(server: str) -> Iterator[Session]:
    with clone(server, "template_smartstudy") as url:
        engine = engine_for(url)
        with engine.begin() as connection:
            connection.execute(text(FILL), {"first": FIRST})
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE practice_tasks, student_totals"))
        with Session(engine) as db:
            yield db
        engine.dispose()


def asked(student: UUID) -> TaskRequest:
    return TaskRequest(student, "Topic 3", "medium", "item 7")


def a_result(db: Session, student: UUID, _: UUID) -> None:
    task = db.execute(text(ASK), {"student": student}).scalar_one()
    db.execute(text(COMPLETE), {"id": task})


ACTS: dict[str, Callable[[Session, UUID, UUID], Any]] = {
    "a prediction": lambda db, student, _: student_totals.PAST.rows_sync(
        db, **student_totals.question(asked(student), None)
    ),
    "a sequence": lambda db, student, _: run_sync(student_sequences.latest(asked(student), LATER, 100), db),
    "a practised sequence": lambda db, student, _: run_sync(
        student_sequences.latest(asked(student), LATER, 100, practised=True), db
    ),
    "a result": a_result,
    "a correction": lambda db, _, task: corrections.change(db, task, False, 77.0, EVER),
    "a result taken back": lambda db, _, task: corrections.take_back(db, task, EVER),
    "a task deleted": lambda db, _, task: db.execute(text(DELETE), {"id": task}),
    "the history": lambda db, student, _: practice_tasks.newest(db, user_id=student),
    "the history before": lambda db, student, _: practice_tasks.newest(
        db, user_id=student, before=(LATER, UUID(int=0))
    ),
    "the newest of anybody": lambda db, _, __: practice_tasks.newest(db),
    "a part of an export": lambda db, student, _: person.tasks(db, student, limit=500),
    "sums": lambda db, student, _: learning_record.totals(db, student),
    "days": lambda db, student, _: learning_record.window(db, student, LATER, 1_000, 3_650),
    "topics lately": lambda db, student, _: learning_record.lately(db, student, 8),
    "predicted lately": lambda db, student, _: learning_record.predicted_lately(db, student, 100),
    "chances": lambda db, student, _: run_sync(topic_history.histories(student, [asked(student)]), db),
    "suggestions": lambda db, student, _: run_sync(
        topic_history.practice_history(student, ["Topic 3"], UTC, and_own=True), db
    ),
}


@pytest.mark.parametrize("student", [UUID(int=1), UUID(int=77)], ids=["of 50,000", "of 500"])
@pytest.mark.parametrize("order", ["DESC", "ASC"], ids=["the last", "the first"])
@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS.keys())
def test_it_reads_what_it_needs(
    full: Session, act: Callable[[Session, UUID, UUID], Any], order: str, student: UUID
) -> None:
    task = full.execute(text(TASK.format(order)), {"student": student}).scalar_one()
    before = full.execute(text(READ)).one()
    act(full, student, task)
    after = full.execute(text(READ)).one()
    full.rollback()
    assert after.one_by_one == before.one_by_one
    assert after.fetched - before.fetched < MOST
    assert after.entries - before.entries < MOST
