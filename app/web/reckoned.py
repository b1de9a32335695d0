"""What the pages reckon from a student's finished tasks: plain numbers, without words and without the database."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, tzinfo
from itertools import groupby
from math import sqrt
from statistics import median

from app.crud.studying import Done, Lately

LEAST_JUDGED = 30  # predicted tasks before a word is said about the predictions
LEAST_IN_GROUP = 5  # fewer come out anyhow
GROUPS = 10
SMALL = 0.03  # a difference that nobody needs to hear of
LAST = 8  # tasks of a topic that it is judged by
MASTERED = 0.85  # share right of them
SHAKY, LEAST_SHAKY = 0.6, 5  # share right, and tasks


@dataclass(frozen=True, slots=True)
class DayFigures:
    """The tasks of one day; what was predicted is of those that were predicted, None where none was."""

    day: date
    n: int
    right: float  # share
    chance: float | None  # mean
    seconds: float  # median
    expected_seconds: float | None  # median


def by_day(done: Sequence[Done], zone: tzinfo) -> list[DayFigures]:
    """Of each day that has a task; `done` in the order of time."""
    days = groupby(done, lambda each: each.at.astimezone(zone).date())
    return [_of_day(day, list(tasks)) for day, tasks in days]


def _of_day(day: date, tasks: list[Done]) -> DayFigures:
    chances = [each.chance for each in tasks if each.chance is not None]
    expected = [each.expected_seconds for each in tasks if each.expected_seconds is not None]
    return DayFigures(
        day,
        len(tasks),
        mean([each.correct for each in tasks]),
        mean(chances) if chances else None,
        median([each.seconds for each in tasks]),
        median(expected) if expected else None,
    )


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
        """Predicted tasks to go before anything can be said."""
        return max(LEAST_JUDGED - self.n, 0)

    @property
    def off(self) -> float:
        """By how much the chances were too high; 0 where it may be luck, or nobody would notice."""
        off = self.chance - self.right
        return off if abs(off) > max(2 * self.chance_spread, SMALL) else 0.0

    @property
    def gap(self) -> float:
        """How far apart the two are within the groups, mean over their tasks."""
        tasks = sum(n for _, _, n in self.groups)
        return sum(n * abs(chance - right) for chance, right, n in self.groups) / max(tasks, 1)


def judged(done: Sequence[Done]) -> Judged:
    """The predicted ones among these tasks."""
    predicted = [(each.chance, each.correct) for each in done if each.chance is not None]
    n = max(len(predicted), 1)
    timed = [
        each.low_seconds <= each.seconds <= each.high_seconds
        for each in done
        if each.low_seconds is not None and each.high_seconds is not None
    ]
    return Judged(
        len(predicted),
        sum(chance for chance, _ in predicted) / n,
        sum(correct for _, correct in predicted) / n,
        sqrt(sum(chance * (1 - chance) for chance, _ in predicted)) / n,
        _groups(predicted),
        len(timed),
        sum(timed),
    )


def _groups(predicted: Sequence[tuple[float, bool]]) -> list[tuple[float, float, int]]:
    """By tenths of the chance; those of a few tasks are left out."""
    groups: list[list[tuple[float, bool]]] = [[] for _ in range(GROUPS)]
    for chance, correct in predicted:
        groups[min(int(chance * GROUPS), GROUPS - 1)].append((chance, correct))
    return [
        (mean([chance for chance, _ in group]), mean([correct for _, correct in group]), len(group))
        for group in groups
        if len(group) >= LEAST_IN_GROUP
    ]


def is_mastered(topic: Lately) -> bool:
    return topic.lately >= LAST and topic.rate >= MASTERED


def is_shaky(topic: Lately) -> bool:
    return topic.lately >= LEAST_SHAKY and topic.rate < SHAKY


def steps(days: Sequence[DayFigures], most: int, least: int) -> list[tuple[int, date | None]]:
    """Where to look at a path: after how many tasks, and the day that ends there.

    After each day, or every so many days where there are more than `most`; where there are fewer than `least`, after
    every so many tasks (None for the day).
    """
    ends, n = list[tuple[int, date | None]](), 0
    for figures in days:
        n += figures.n
        ends.append((n, figures.day))
    if len(ends) < least:
        ends = [(done, None) for done in range(1, n + 1)]
    every = -(-len(ends) // most) or 1
    return ends[::-1][::every][::-1]  # the last one stays
