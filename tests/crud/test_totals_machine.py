"""Whatever happens to tasks, in whatever order, the running totals are what counting them all would say."""

from typing import Any
from uuid import UUID

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule, run_state_machine_as_test
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.crud import imports
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
