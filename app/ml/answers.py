"""What every model that serves has in common: how it is asked, and what it says."""

from dataclasses import dataclass
from math import isfinite
from typing import Protocol

from app.core.statements import Conversation
from app.crud.student_totals import Past
from app.domain.tasks import Asked


@dataclass(frozen=True, slots=True)
class Answer:
    """A prediction, not clipped yet; the bounds are 10-90 %, none where the model does not give them."""

    probability: float
    seconds: float
    probability_low: float | None = None
    probability_high: float | None = None
    seconds_low: float | None = None
    seconds_high: float | None = None

    def is_finite(self) -> bool:
        return all(isfinite(getattr(self, name)) for name in self.__slots__ if getattr(self, name) is not None)


class TaskModel(Protocol):
    """A version in memory."""

    def answer(self, version_id: int, asked: Asked, past: Past) -> Conversation[Answer]:
        """What is to be expected of the task; may look things up in the database on the way."""
        ...
