"""Statistics of a student's finished tasks: plain numbers, without words and without the database."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, tzinfo
from itertools import groupby
from math import sqrt
from statistics import median
from typing import Literal

import numpy as np

from app.crud.learning_record import FinishedTask, RecentResults
from app.ml.metrics import reliability

Verdict = Literal["too high", "too low", "about right"]
LEAST_JUDGED = 30  # predicted tasks before a word is said about the predictions
LEAST_IN_GROUP = 5  # fewer come out anyhow
SMALL = 0.03  # a difference that nobody needs to hear of
LAST = 8  # tasks of a topic that it is judged by
MASTERED = 0.85  # share right of them
SHAKY, LEAST_SHAKY = 0.6, 5  # share right, and tasks


@dataclass(frozen=True, slots=True)
class TaskStatistics:
    """Some tasks; what was predicted is of those that were predicted, None where none was."""

    n: int
    right: float  # share
    chance: float | None  # mean
    seconds: float  # median
    expected_seconds: float | None  # median


def figures(tasks: Iterable[tuple[bool, float, float | None, float | None]]) -> TaskStatistics:
    """Sum up at least one task: whether it was right, its seconds, the chance and the seconds that were predicted."""
    right, seconds, *predicted = zip(*tasks, strict=True)
    chances, expected = ([each for each in column if each is not None] for column in predicted)
    return TaskStatistics(
        len(right),
        mean(right),
        mean(chances) if chances else None,
        median(seconds),
        median(expected) if expected else None,
    )


def of_done(done: Sequence[FinishedTask]) -> TaskStatistics:
    return figures((each.correct, each.seconds, each.chance, each.expected_seconds) for each in done)


def by_day(done: Sequence[FinishedTask], zone: tzinfo) -> dict[date, TaskStatistics]:
    """Sum up each day that has a task; `done` is in the order of time."""
    days = groupby(done, lambda each: each.at.astimezone(zone).date())
    return {day: of_done(list(tasks)) for day, tasks in days}


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


@dataclass(frozen=True, slots=True)
class Judged:
    """Predictions beside what came of them."""

    n: int
    chance: float  # mean
    right: float  # share
    chance_spread: float  # how far apart the two come by luck alone, standard deviation
    groups: list[tuple[float, float, int]]  # of about the same chance: mean chance, share right, tasks
    timed: int  # tasks that had an interval for their time
    within: int  # of these, whose time was in it

    @property
    def missing(self) -> int:
        """Count the predicted tasks to go before anything can be said."""
        return max(LEAST_JUDGED - self.n, 0)

    @property
    def off(self) -> float:
        """Return by how much the chances were too high; 0 where it may be luck, or nobody would notice."""
        off = self.chance - self.right
        return off if abs(off) > max(2 * self.chance_spread, SMALL) else 0.0

    @property
    def verdict(self) -> Verdict | None:
        """Say on the whole how the chances were; None while there are too few tasks."""
        if self.missing:
            return None
        return "too high" if self.off > 0 else "too low" if self.off < 0 else "about right"

    @property
    def gap(self) -> float:
        """Return how far apart the two are within the groups, mean over their tasks."""
        tasks = sum(n for _, _, n in self.groups)
        return sum(n * abs(chance - right) for chance, right, n in self.groups) / max(tasks, 1)


def judged(done: Sequence[FinishedTask]) -> Judged:
    """Judge the predicted ones among these tasks."""
    predicted = [(each.chance, each.correct) for each in done if each.chance is not None]
    chance, correct = (np.array(column) for column in zip(*predicted, strict=True)) if predicted else (np.zeros(0),) * 2
    n = max(len(predicted), 1)
    timed = [
        each.low_seconds <= each.seconds <= each.high_seconds
        for each in done
        if each.low_seconds is not None and each.high_seconds is not None
    ]
    return Judged(
        len(predicted),
        float(chance.sum()) / n,
        float(correct.sum()) / n,
        sqrt(float((chance * (1 - chance)).sum())) / n,
        reliability(correct.astype(np.bool_), chance, LEAST_IN_GROUP),
        len(timed),
        sum(timed),
    )


def is_mastered(topic: RecentResults) -> bool:
    return topic.lately >= LAST and topic.rate >= MASTERED


def is_shaky(topic: RecentResults) -> bool:
    return topic.lately >= LEAST_SHAKY and topic.rate < SHAKY


def steps(days: Mapping[date, TaskStatistics], most: int, least: int) -> list[tuple[int, date | None]]:
    """Say where to look at a trajectory: after how many tasks, and the day that ends there.

    After each day, or every so many days where there are more than `most`; where there are fewer than `least`, after
    every so many tasks (None for the day).
    """
    ends, n = list[tuple[int, date | None]](), 0
    for day, of_day in days.items():
        n += of_day.n
        ends.append((n, day))
    if len(ends) < least:
        ends = [(done, None) for done in range(1, n + 1)]
    every = -(-len(ends) // most) or 1
    return ends[::-1][::every][::-1]  # the last one stays
