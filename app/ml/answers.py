"""What every model that serves has in common: how it is asked, and what it says."""

from dataclasses import dataclass
from math import isfinite
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.core.db.statements import QueryFlow
from app.crud.student_totals import StudentHistory
from app.domain.attempts import Attempts
from app.domain.tasks import TaskRequest

Floats = NDArray[np.float64]
PARTS = ("student", "topic", "difficulty", "exercise")  # what LNIRT adds up to a prediction


def parts_of(asked: TaskRequest) -> tuple[str, ...]:
    """The parts of a task; one that names no exercise has none."""
    return PARTS if asked.item_id is not None else PARTS[:-1]


@dataclass(frozen=True, slots=True)
class Answer:
    """A prediction, not clipped yet; the bounds are 10-90 %."""

    probability: float
    seconds: float
    probability_low: float
    probability_high: float
    seconds_low: float
    seconds_high: float

    def is_finite(self) -> bool:
        return all(isfinite(getattr(self, name)) for name in self.__slots__)


@dataclass(frozen=True, slots=True)
class Answers:
    """Predictions of n tasks, (n,) each, not clipped; bounds are 10-90 %."""

    probability: Floats
    seconds: Floats
    probability_low: Floats
    probability_high: Floats
    seconds_low: Floats
    seconds_high: Floats

    def __len__(self) -> int:
        return len(self.probability)

    def __getitem__(self, place: int) -> Answer:
        return Answer(*(float(getattr(self, name)[place]) for name in self.__slots__))

    def bounds(self) -> Floats:
        """10-90 % of the probability, low and high, then of the seconds, (4, n)."""
        return np.stack([self.probability_low, self.probability_high, self.seconds_low, self.seconds_high])

    def take(self, places: slice) -> "Answers":
        """Only these."""
        return Answers(*(getattr(self, name)[places] for name in self.__slots__))

    def are_finite(self) -> bool:
        return all(np.isfinite(getattr(self, name)).all() for name in self.__slots__)


def plain_answers(probability: Floats, seconds: Floats) -> Answers:
    """Of a baseline, which does not say how sure it is; (n,) each."""
    return Answers(probability, seconds, probability, probability, seconds, seconds)


@dataclass(frozen=True, slots=True)
class Coalitions:
    """Answers for each coalition of a task's parts, (2^n,) as in `shapley.coalitions`, not clipped; the last is that
    for the task as it was. `known`: how many answers of the student they are made from."""

    said: Answers
    known: int
    limits: tuple[float, float]  # seconds, between which answers stay unless the settings say otherwise


class TaskModel(Protocol):
    """A version in memory."""

    def answer(self, version_id: int, asked: TaskRequest, past: StudentHistory) -> QueryFlow[Answer]:
        """What is to be expected of the task; may look things up in the database on the way."""
        ...

    def answers(self, attempts: Attempts, rows: NDArray[np.intp]) -> Answers:
        """The same for these rows of `attempts`, each from what its student had finished when it was created.

        Names are looked up: the attempts need not be those that the model was fitted to.
        """
        ...
