"""The eleven features: what a student's past says about the task to come, one definition for training and serving."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.domain.attempts import Attempts

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FEATURES: tuple[str, ...] = (
    "overall_success_rate",
    "overall_avg_time",
    "overall_task_count",
    "topic_success_rate",
    "topic_avg_time",
    "topic_task_count",
    "difficulty_success_rate",
    "difficulty_avg_time",
    "difficulty_task_count",
    "recent_success_rate",
    "recent_avg_time",
)

UNKNOWN_RATE = 0.5  # share, where there is no past
UNKNOWN_SECONDS = 60.0
SECONDS_UNIT = 100.0
MOST_SECONDS = 1e6  # twelve days; a longer time counts as this, so that a million of them add up exactly
UNKNOWN = np.array([UNKNOWN_RATE, UNKNOWN_SECONDS])[:, None, None]  # share, seconds
MEAN_UNITS = np.array([1.0, SECONDS_UNIT])[:, None, None]
COUNT_UNITS = np.array([100.0, 20.0, 20.0])  # tasks: overall, topic, difficulty


def history_features(rates: Floats, times: Floats, tasks: Floats, features: Floats) -> None:
    """The eleven of n tasks to come, columns as in FEATURES, into (n, 11); training and serving call this.

    Share right, mean time (hundreds of seconds) and number of what each one's student had finished before it, (n, 4)
    each: overall, on the topic, at the difficulty, the last five.
    """
    features[:, 0::3] = rates
    features[:, 1::3] = times
    features[:, 2::3] = tasks[:, :3] / COUNT_UNITS


def averages(groups: Floats) -> Floats:
    """Share right and mean time (hundreds of seconds) of m groups of tasks, (2, n, m); of an empty one what stands for
    not known. `groups` (3, n, m) holds their tasks, right ones and seconds."""
    tasks = groups[0]
    means: Floats = (groups[1:] + UNKNOWN * (tasks == 0)) / np.maximum(tasks, 1)
    means /= MEAN_UNITS
    return means


def created(attempts: Attempts) -> Ints:
    """When each attempt was created, before it was finished whatever the clocks said; microseconds."""
    return np.minimum(attempts.started, attempts.finished - 1)


def pairs(first: NDArray[np.int32], second: NDArray[np.int32], n_second: int) -> Ints:
    """One number per pair of ids; -1 (unknown) in either gives a number that no known pair has."""
    return first.astype(np.int64) * (n_second + 1) + second + 1


@dataclass(frozen=True, slots=True)
class Spans:
    """For m questions, the span [start, end) of the past that answers each; the past sorted by group, then time."""

    order: NDArray[np.intp]  # (n,) rows of the past
    start: NDArray[np.intp]  # (m,)
    end: NDArray[np.intp]  # (m,)

    def counts(self) -> Floats:
        """How many attempts, (m,)."""
        return (self.end - self.start).astype(np.float64)

    def sums(self, values: Ints | Floats) -> Floats:
        """Sum of a column of the past, (m,); exact for whole numbers."""
        running = np.zeros(len(values) + 1, values.dtype)
        np.cumsum(values[self.order], out=running[1:])
        return (running[self.end] - running[self.start]).astype(np.float64)

    def newest(self, n: int) -> "Spans":
        """Only the last n of each span."""
        return Spans(self.order, np.maximum(self.start, self.end - n), self.end)


class History:
    """Finished attempts in the order (finished, row): who had done what by when, for all questions at once."""

    def __init__(self, finished: Ints) -> None:
        self._order = np.argsort(finished, kind="stable")  # quick where they are in order
        self._finished = finished[self._order]

    def before(self, at: Ints) -> Ints:
        """How many attempts were finished at or before each moment."""
        return np.searchsorted(self._finished, at, side="right").astype(np.int64)

    def groups(self, past: NDArray[np.integer], asked: NDArray[np.integer], known: Ints) -> Spans:
        """The attempts of each asked group among the first `known` ones; `past` holds the group of each attempt."""
        keys, rows = self._sorted(past)
        first = asked.astype(np.int64) * (len(past) + 1)
        return Spans(rows, _search(keys, first), _search(keys, first + known))

    def own(self, group: NDArray[np.integer], known: Ints) -> Spans:
        """`groups(group, group, known)`, in a fraction of the time: asked in the order in which the past is sorted."""
        keys, rows = self._sorted(group)
        first = keys - keys % (len(group) + 1)
        new = np.diff(first, prepend=-1) != 0
        start = np.maximum.accumulate(np.where(new, np.arange(len(keys)), 0))
        return Spans(rows, _back(start, rows), _back(np.searchsorted(keys, first + known[rows]), rows))

    def _sorted(self, group: NDArray[np.integer]) -> tuple[Ints, NDArray[np.intp]]:
        """The attempts by group, then time: numbers in that order, group * (n + 1) + place in time; and their rows."""
        base = len(group) + 1
        keys = np.sort(group[self._order].astype(np.int64) * base + np.arange(len(group)))
        return keys, self._order[keys % base]


def up_to(sizes: NDArray[np.integer]) -> NDArray[np.intp]:
    """0, 1, ... below each size, one after another."""
    return np.asarray(np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes))


def _back(values: NDArray[np.intp], rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Values in the order of `rows`, put at these rows."""
    placed = np.empty(len(values), np.intp)
    placed[rows] = values
    return placed


def _search(keys: Ints, asked: Ints) -> NDArray[np.intp]:
    """`np.searchsorted`, three times faster for a million questions by asking them in order."""
    order = np.argsort(asked)
    places = np.empty(len(asked), np.intp)
    places[order] = np.searchsorted(keys, asked[order])
    return places
