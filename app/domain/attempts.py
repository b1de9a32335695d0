"""What the models learn from and what they are asked: finished tasks, as columns."""

from collections.abc import Iterator
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


SHARD_ROWS = 65_536  # of whole students, that are worked on at once: what is made of them stays small


def some_students(attempts: Attempts, most: int, seed: int, most_each: int | None = None) -> NDArray[np.bool_]:
    """Choose the rows of students drawn at random, about `most` of n, of which one counts `most_each`; (n,)."""
    order = np.random.default_rng(seed).permutation(len(attempts.students))
    sizes = np.minimum(np.bincount(attempts.student, minlength=len(order)), most_each or len(attempts))
    chosen = np.zeros(len(order), np.bool_)
    chosen[order[: np.searchsorted(np.cumsum(sizes[order]), most, side="right") + 1]] = True
    return chosen[attempts.student]


@dataclass(frozen=True, slots=True)
class Shard:
    """Some students' whole histories, and what is asked of them."""

    attempts: Attempts
    asked: NDArray[np.intp]  # (m,) rows of these attempts
    places: NDArray[np.intp]  # (m,) where these stand among all that is asked


def shards(attempts: Attempts, rows: NDArray[np.intp]) -> Iterator[Shard]:
    """Cut a question about these rows of n attempts into shards, each with all that its students did; those of whom
    nothing is asked are in none."""
    asked_of, sizes = np.zeros(len(attempts.students), np.bool_), np.bincount(attempts.student)
    asked_of[attempts.student[rows]] = True
    number = np.cumsum(sizes * asked_of[: len(sizes)]) // SHARD_ROWS  # of each student's shard
    number = number.astype(np.min_scalar_type(number[-1] if len(number) else 0))  # small ones are sorted fast
    mine = np.flatnonzero(asked_of[attempts.student]).astype(np.min_scalar_type(len(attempts)))
    histories, questions = _parts(number[attempts.student[mine]]), _parts(number[attempts.student[rows]])
    for shard, history in histories.items():
        whole, places = mine[history].astype(np.intp), questions[shard].astype(np.intp)
        yield Shard(attempts.take(whole), np.searchsorted(whole, rows[places]), places)


def _parts(number: NDArray[np.integer]) -> dict[int, NDArray[np.unsignedinteger]]:
    """The places (k,) of each number in order, by number; in small integers, for there may be very many."""
    order, counts = np.argsort(number, kind="stable").astype(np.min_scalar_type(len(number))), np.bincount(number)
    parts = np.split(order, np.cumsum(counts)[:-1])
    return {each: parts[each] for each in np.flatnonzero(counts).tolist()}
