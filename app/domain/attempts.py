"""What the models learn from and what they are asked: finished tasks, as columns."""

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray


class Difficulty(StrEnum):
    """How hard a task is meant to be."""

    EASY = "easy"
    MEDIUM = "medium"
    HARD = "hard"


DIFFICULTIES: tuple[str, ...] = tuple(level.value for level in Difficulty)


LEAST_SECONDS = 0.1  # that anybody takes; what is shorter counts as this where a model learns from a time's logarithm


def plausible(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Raise times to what is plausible, (n,): one of 1e-300 s would outweigh all others. NaN stays NaN."""
    return np.maximum(seconds, LEAST_SECONDS)


COLUMNS = ("student", "topic", "difficulty", "item", "started", "finished", "correct", "seconds")


@dataclass(frozen=True, slots=True)
class Attempts:
    """n finished tasks as columns of equal length, ordered by (finished, task id).

    Ids stand once in `students`, `topics` and `items`; the columns hold their positions there.
    """

    students: tuple[str, ...]  # UUIDs
    topics: tuple[str, ...]
    items: tuple[str, ...]  # exercises in the callers' own banks

    student: NDArray[np.int32]  # (n,) position in students
    topic: NDArray[np.int32]  # (n,) position in topics
    difficulty: NDArray[np.int32]  # (n,) position in DIFFICULTIES
    item: NDArray[np.int32]  # (n,) position in items, -1 where the task named none
    started: NDArray[np.int64]  # (n,) when the task was created, microseconds UTC since 1970
    finished: NDArray[np.int64]  # (n,) when its result came, microseconds; > started
    correct: NDArray[np.bool_]  # (n,)
    seconds: NDArray[np.float64]  # (n,) time the student took, > 0

    def __len__(self) -> int:
        return len(self.correct)

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_] | slice) -> "Attempts":
        """Keep the ids and only these rows, in their order."""
        return replace(self, **{name: getattr(self, name)[rows] for name in COLUMNS})


def some_students(attempts: Attempts, most: int, seed: int) -> NDArray[np.bool_]:
    """Choose the rows of students drawn at random, about `most` of n; (n,)."""
    order = np.random.default_rng(seed).permutation(len(attempts.students))
    rows = np.cumsum(np.bincount(attempts.student, minlength=len(order))[order])
    return np.isin(attempts.student, order[: np.searchsorted(rows, most, side="right") + 1])
