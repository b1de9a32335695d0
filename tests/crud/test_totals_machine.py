"""Whatever happens to tasks, in whatever order, the running totals are what counting them all would say."""

import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule, run_state_machine_as_test
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core.database import new_session
from app.crud import imported_totals, imports
from app.crud.imported_totals import ImportedTasks
from app.domain.attempts import DIFFICULTIES
from app.domain.interactions import Interaction, uuid5

STUDENTS = [UUID(int=1), UUID(int=2)]
student, topic = st.sampled_from(STUDENTS), st.sampled_from(["A", "B", "Größe 数\u202e"])
difficulty, item = st.sampled_from(DIFFICULTIES), st.sampled_from([None, "i", "j"])
seconds = st.sampled_from([5e-324, 1e-9, 4.4e-7, 0.1, 30.0, 10_800.0, 86_400.0]) | st.floats(
    0, 86_400, exclude_min=True
)

COUNTED = """
    SELECT user_id, scope, key, count(*), count(*) FILTER (WHERE is_correct),
        sum(round(least(actual_time_seconds, 1e6) * 1e6)),
        (array_agg(ROW(completed_at, id, is_correct, actual_time_seconds) ORDER BY completed_at DESC, id DESC))[1]::text
    FROM practice_tasks CROSS JOIN LATERAL
        (VALUES ('all', ''), ('topic', topic), ('difficulty', difficulty), ('item', item_id)) AS of (scope, key)
    WHERE completed AND key IS NOT NULL GROUP BY user_id, scope, key ORDER BY user_id, scope, key"""
KEPT = """
    SELECT user_id, scope, key, n, n_correct, microseconds, ROW(last_at, last_id, last_correct, last_seconds)::text
    FROM student_totals ORDER BY user_id, scope, key"""

FINISH = text("""
    INSERT INTO practice_tasks (user_id, topic, difficulty, completed, is_correct, actual_time_seconds, completed_at)
    VALUES (:student, 'A', 'easy', true, true, 3, now())""")


class Tasks(RuleBasedStateMachine):
    """Tasks come and go; one database transaction, undone at the end."""

    tasks = Bundle("tasks")
    db: Session

    def __init__(self) -> None:
        super().__init__()
        self.db.rollback()
        self.imported = 0

    def run(self, sql: str, **values: Any) -> Any:
        return self.db.execute(text(sql), values)

    @rule(target=tasks, student=student, topic=topic, difficulty=difficulty, item=item)
    def ask(self, **asked: Any) -> Any:
        return self.run(
            """INSERT INTO practice_tasks (user_id, topic, difficulty, item_id)
               VALUES (:student, :topic, :difficulty, :item) RETURNING id""",
            **asked,
        ).scalar()

    @rule(task=tasks, correct=st.booleans(), seconds=seconds)
    def complete(self, **result: Any) -> None:
        self.run(
            """UPDATE practice_tasks SET completed = true, is_correct = :correct, actual_time_seconds = :seconds,
               completed_at = now() WHERE id = :task""",
            **result,
        )

    @rule(task=tasks, student=student, topic=topic, difficulty=difficulty, item=item, correct=st.booleans())
    def correct_by_hand(self, **values: Any) -> None:
        self.run(
            """UPDATE practice_tasks SET user_id = :student, topic = :topic, difficulty = :difficulty, item_id = :item,
               is_correct = :correct WHERE id = :task""",
            **values,
        )

    @rule(tasks=st.lists(tasks, min_size=1), correct=st.booleans(), days=st.integers(-2, 2))
    def correct_several(self, tasks: list[UUID], correct: bool, days: int) -> None:
        self.run(
            """UPDATE practice_tasks SET is_correct = :correct, actual_time_seconds = coalesce(actual_time_seconds, 7),
               completed = NOT (completed AND :days = 0), completed_at = coalesce(completed_at, now())
               + :days * interval '1 day'
               WHERE id = ANY(:tasks)""",
            tasks=tasks,
            correct=correct,
            days=days,
        )

    @rule(task=tasks)
    def open_again(self, task: UUID) -> None:
        self.run("UPDATE practice_tasks SET completed = false WHERE id = :task", task=task)

    @rule(task=consumes(tasks))
    def delete(self, task: UUID) -> None:
        self.run("DELETE FROM practice_tasks WHERE id = :task", task=task)

    @rule(student=student)
    def erase_a_student(self, student: UUID) -> None:
        self.run("DELETE FROM practice_tasks WHERE user_id = :student", student=student)

    @rule(student=student, topic=topic, item=item, seconds=seconds, n=st.integers(1, 3), again=st.booleans())
    def import_rows(self, student: UUID, topic: str, item: str | None, seconds: float, n: int, again: bool) -> None:
        first = 0 if again else self.imported
        rows = [
            Interaction(uuid5(f"row {k}"), student.bytes, item, topic, "easy", k % 2 == 0, seconds, 1.7e9 + k)
            for k in range(first, first + n)
        ]
        self.imported = max(self.imported, first + n)
        imports.add(self.db, rows)

    @rule()
    def empty_the_table(self) -> None:
        self.run("TRUNCATE practice_tasks")

    @invariant()
    def totals_are_what_counting_says(self) -> None:
        kept = [tuple(row) for row in self.run(KEPT)]
        assert kept == [tuple(row) for row in self.run(COUNTED)]


def test_totals_stay_what_counting_says(db: Session) -> None:
    machine = type("Machine", (Tasks,), {"db": db})
    limits = hypothesis.settings(deadline=None, max_examples=max(12, hypothesis.settings().max_examples // 10))
    run_state_machine_as_test(machine, settings=limits)


some_tasks = st.lists(
    st.tuples(student, topic, item, difficulty, st.booleans(), seconds, st.integers(0, 3)), min_size=1, max_size=40
)


@hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(
    tasks=some_tasks, first=some_tasks | st.none(), at_once=st.integers(1, 15), together=st.integers(1, 15)
)
def test_an_import_adds_up_what_counting_says_however_it_is_cut(
    db: Session, monkeypatch: pytest.MonkeyPatch, tasks: list[Any], first: list[Any] | None, at_once: int, together: int
) -> None:
    db.rollback()
    monkeypatch.setattr(imports, "AT_ONCE", at_once)
    monkeypatch.setattr(imports, "FIRST", 1 + at_once // 3)
    monkeypatch.setattr(imported_totals, "TOGETHER", together)
    for name, some in (("first", first), ("then", tasks)):
        rows = [
            Interaction(
                uuid5(f"{name} {k}"), whose.bytes, item, topic, difficulty, correct, seconds, 1.7e9 + moment / 3
            )
            for k, (whose, topic, item, difficulty, correct, seconds, moment) in enumerate(some or [])
        ]
        assert imports.add(db, rows) == len(rows)
        assert [tuple(row) for row in db.execute(text(KEPT))] == [tuple(row) for row in db.execute(text(COUNTED))]


def test_what_a_student_finishes_while_their_first_tasks_are_imported_is_counted_once(db: Session) -> None:
    rows = [Interaction(uuid5(f"{k}"), STUDENTS[0].bytes, None, "A", "easy", True, 5.0, 1.7e9 + k) for k in range(9)]
    with new_session()() as elsewhere, ThreadPoolExecutor(1) as other:
        elsewhere.execute(FINISH, {"student": STUDENTS[0]})
        importing = other.submit(imports.add, db, iter(rows))  # as from a pipe, which can't be read again
        waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
        with new_session()() as looking:
            while not looking.scalar(waiting) and not importing.done():
                time.sleep(0.01)
        elsewhere.commit()
        assert importing.result(60) == 9
    db.commit()
    assert [tuple(row) for row in db.execute(text(KEPT))] == [tuple(row) for row in db.execute(text(COUNTED))]
    assert db.scalar(text("SELECT n FROM student_totals WHERE scope = 'all'")) == 10


def test_what_is_finished_after_an_import_in_its_transaction_is_counted(db: Session) -> None:
    imports.add(db, [Interaction(uuid5("1"), STUDENTS[0].bytes, None, "A", "easy", True, 5.0, 1.7e9)])
    db.execute(FINISH, {"student": STUDENTS[0]})
    assert db.scalar(text("SELECT n FROM student_totals WHERE scope = 'all'")) == 2


def completed_elsewhere(student: UUID) -> None:
    """Somebody finishes a task of this student's, who must not wait."""
    with new_session()() as elsewhere:
        elsewhere.execute(text("SET LOCAL lock_timeout = '3s'"))
        elsewhere.execute(FINISH, {"student": student})
        elsewhere.commit()


def test_nobody_waits_for_totals_before_the_last_row_of_a_long_file_is_stored(
    db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits longer than a request may, gets an error; and one who holds later students' totals, a deadlock."""
    monkeypatch.setattr(imports, "AT_ONCE", 4)

    def rows() -> Iterator[Interaction]:
        for k in range(20):
            yield Interaction(uuid5(f"{k}"), STUDENTS[k % 2].bytes, None, "A", "easy", True, 5.0, 1.7e9 + k)
            if k % 4 == 2:
                completed_elsewhere(STUDENTS[k % 2])

    assert imports.add(db, rows()) == 20
    db.commit()
    assert [tuple(row) for row in db.execute(text(KEPT))] == [tuple(row) for row in db.execute(text(COUNTED))]
    assert db.scalar(text("SELECT sum(n) FROM student_totals WHERE scope = 'all'")) == 25


def test_a_file_that_is_there_already_is_not_kept_in_memory(db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "AT_ONCE", 1_000)
    monkeypatch.setattr(imports, "FIRST", 500)
    monkeypatch.setattr(imports, "SORTED", 500)
    ids = [uuid5(f"{k}") for k in range(60_000)]

    class Rows:
        def __iter__(self) -> Iterator[Interaction]:
            for k, task in enumerate(ids):
                yield Interaction(task, STUDENTS[0].bytes, None, "A", "easy", True, 5.0, 1.7e9 + k)

    imports.add(db, [*Rows()][:1])
    tracemalloc.start()
    try:
        assert imports.add(db, Rows()) == len(ids) - 1
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_totals_of_a_student_with_very_many_tasks_take_little_memory() -> None:
    n, tasks = 200_000, ImportedTasks()
    tasks.take(
        [
            Interaction(k.to_bytes(16), STUDENTS[0].bytes, f"i{k % 97}", "A", "easy", True, 5.0, 1.7e9 + k)
            for k in range(n)
        ]
    )
    tracemalloc.start()
    try:
        assert all(tasks.totals())
        assert tracemalloc.get_traced_memory()[1] < 200 * n
    finally:
        tracemalloc.stop()
