"""Answers before the first training: LNIRT of the tasks that are finished, fitted as somebody asks for the next one."""

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from app.core.db.statements import QueryFlow
from app.crud import attempts
from app.crud.attempts import of_rows
from app.crud.student_totals import StudentHistory
from app.domain.tasks import TaskRequest
from app.ml.answers import Answer, Coalitions
from app.ml.calibration.time_limits import USUAL, Limits, time_limits
from app.ml.lnirt.model import ServedLnirt
from app.ml.lnirt.small_data import fit_small

MOST = 64  # tasks: a first training comes long before
Row = tuple[Any, ...]
COLUMNS = (
    "user_id", "topic", "difficulty", "item_id", "created_at", "completed_at", "is_correct", "actual_time_seconds",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Untrained:
    """LNIRT of the newest finished tasks, (n,) as COLUMNS, and these."""

    model: ServedLnirt
    done: tuple[Row, ...]

    def of_student(self, student: UUID) -> list[dict[str, Any]]:
        """Their tasks among these, oldest first, as `student_sequences.latest` finds them; practice is not counted."""
        own = [dict(zip(COLUMNS, row, strict=True)) for row in self.done if row[0] == str(student)]
        return [row | {"on_topic": 0, "on_item": 0} for row in own]


def answer(asked: TaskRequest, past: StudentHistory) -> QueryFlow[tuple[Answer | None, Limits]]:
    """What LNIRT says of a task of this student, and between which seconds answers stay; none where nobody has finished
    anything."""
    found = yield from untrained(past.at)
    if found is None:
        return None, USUAL
    return found.model.answer_after(found.of_student(asked.user_id), asked), found.model.limits


def coalitions_then(asked: TaskRequest, at: datetime) -> QueryFlow[Coalitions | None]:
    """What it said `at` an earlier moment of each coalition of the task's parts."""
    found = yield from untrained(at)
    return found.model.coalitions(found.of_student(asked.user_id), asked) if found else None


def untrained(at: datetime) -> QueryFlow[Untrained | None]:
    """Of the tasks finished by then; none where nobody has finished anything."""
    rows = yield from attempts.latest(at, MOST)
    done = tuple(tuple(row[column] for column in COLUMNS) for row in reversed(rows))
    return Untrained(_fitted(done), done) if done else None


@lru_cache(maxsize=2)
def _fitted(done: tuple[Row, ...]) -> ServedLnirt:
    """A page of suggestions asks about many tasks at once."""
    attempts = of_rows(done)
    return ServedLnirt(fit_small(attempts), limits=time_limits(attempts.seconds))
