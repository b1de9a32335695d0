"""The way to an exam, day by day: which topic and difficulty, how long, and the chance before and after.

Planned anew whenever it is looked at, from what the student can do now: like a route after a wrong turn. A day takes
the topics that need it most (`choosing.need`) and shares its minutes among them by its root; each topic at the
difficulty whose chance is nearest to the success rate aimed at, so that difficulty rises with the chance. A day of
practice makes a topic due again later and later (`spacing`). On the last day, or the last days where one is too short,
every topic comes once more. No database, clock or model.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from math import ceil, floor
from typing import Protocol

from app.domain.attempts import DIFFICULTIES
from app.domain.planning import (
    DAYS_SHOWN,
    TASKS_TELLING,
    Later,
    Plan,
    PlanDay,
    PlanItem,
    PracticeEffect,
    TopicOutlook,
    TopicState,
)
from app.domain.reasons import Reason, ReasonKind
from app.ml.features.learning_curve import rise_by
from app.ml.prior import PRIOR
from app.planning import difficulty as choosing
from app.planning import spacing
from app.planning.suggestions import not_practised

OVERHEAD_SECONDS = 15.0  # a task takes beside its own time: reading how it went, choosing the next
TOGETHER = 2  # tasks of a topic in a day, at the least, where there are more topics than a day can hold
LIKE = 14  # days at the end of those that are shown, which those after them are taken to be like
LEAST_TOPICS, MOST_TOPICS = 2, 8  # a day: so that they are mixed, but no patchwork; when all are reviewed, any number
MEDIUM = DIFFICULTIES.index(choosing.MEDIUM)


class Aim(Protocol):
    """What a plan is made for: an `Exam`, or one that is not stored yet."""

    @property
    def exam_date(self) -> date: ...
    @property
    def minutes_per_day(self) -> int: ...
    @property
    def target(self) -> float: ...
    @property
    def chances_at_start(self) -> Mapping[str, float]: ...


@dataclass(slots=True)
class Course:
    """A topic on its way: what has been planned for it so far."""

    state: TopicState
    effect: PracticeEffect
    logits: tuple[float, ...]  # of the chance now, by difficulty
    seconds: tuple[float, ...]  # a task takes, by difficulty, with OVERHEAD_SECONDS
    off: float  # logits, see choosing.off_the_models
    strength: float
    last: float | None  # day it was practised last, 0 is now; none: never
    hardest: int  # difficulty allowed until it has gone right
    rise: float = 0.0  # logits, by what is planned
    planned: int = 0  # tasks
    aim: int | None = None  # difficulty to practise next, as far as it is known
    reviewed: bool = False
    level: int | None = None  # difficulty planned last

    @classmethod
    def of(cls, state: TopicState, effect: PracticeEffect, now: datetime) -> "Course":
        said = [state.chances[difficulty] for difficulty in DIFFICULTIES]
        days = spacing.days_since(state.recent, now)
        return cls(
            state,
            effect,
            tuple(choosing.logit(each.correctness_prob) for each in said),
            tuple(each.estimated_time_seconds + OVERHEAD_SECONDS for each in said),
            choosing.off_the_models(state),
            spacing.strength(state.recent),
            None if days is None else -days,
            choosing.hardest_allowed(state, now),
        )

    def chance(self, difficulty: int, more: int = 0) -> float:
        """Of a right answer when what is planned, and so many more, are done."""
        rise = rise_by(self.state.n, self.planned + more, self.effect) if more else self.rise
        return choosing.chance(self.logits[difficulty] + rise)

    def aimed(self, target: float) -> int:
        if self.aim is None:
            chances = [choosing.chance(logit + self.rise) for logit in self.logits]
            self.aim = min(choosing.nearest(chances, target), self.hardest)
        return self.aim

    def need(self, day: int) -> float:
        weakness = 1 - choosing.chance(self.logits[MEDIUM] + self.off + self.rise)
        since = None if self.last is None else day - self.last
        return choosing.need(weakness, spacing.due(since, self.strength), 0 if day else self.state.tasks_today)

    def practise(self, day: int, difficulty: int, tasks: int) -> None:
        """Take these tasks as done, some right and some wrong as is to be expected."""
        self.strength = spacing.within(self.strength + spacing.step(self.chance(difficulty)))
        self.add(tasks)
        self.last = float(day)
        self.hardest = len(DIFFICULTIES) - 1
        self.level = difficulty

    def add(self, tasks: int) -> None:
        """Plan so many more."""
        self.planned += tasks
        self.rise = rise_by(self.state.n, self.planned, self.effect)
        self.aim = None


@dataclass(frozen=True, slots=True)
class Share:
    """A topic's part of a day."""

    course: Course
    difficulty: int
    need: float
    first: bool = False  # not reviewed yet, and the exam is near

    @property
    def seconds(self) -> float:
        return self.course.seconds[self.difficulty]


@dataclass(slots=True)
class Way:
    """From today to the day before the exam."""

    aim: Aim
    now: datetime
    courses: Sequence[Course]

    @property
    def days(self) -> int:
        return max((self.aim.exam_date - self.now.date()).days, 0)

    def day(self, day: int) -> PlanDay:
        """Plan this day, after those before it."""
        done = [course.state for course in self.courses] if day == 0 else []
        used = sum(state.seconds_today + OVERHEAD_SECONDS * state.tasks_today for state in done)
        tasks_done = sum(state.tasks_today for state in done)
        budget = 60.0 * self.aim.minutes_per_day - used
        items = tuple(self._items(day, budget, must=tasks_done == 0))
        return PlanDay(self.now.date() + timedelta(days=day), items, tasks_done, used / 60)

    def _items(self, day: int, budget: float, *, must: bool) -> Iterator[PlanItem]:
        """`must`: there has to be something, though no task fits."""
        left = self.days - day
        shares = self._chosen(day, left, budget)
        for share, tasks in divided(shares, budget) or ([(min(shares, key=lambda s: s.seconds), 0)] if must else []):
            minutes = floor(max(tasks * share.seconds, 0 if tasks else budget) / 6) / 10
            yield self._item(share, tasks or 1, minutes, day, left)
            share.course.practise(day, share.difficulty, tasks or 1)
            share.course.reviewed |= share.first

    def _chosen(self, day: int, left: int, budget: float) -> list[Share]:
        """The day's topics, those that need it most first."""
        shares = [Share(each, each.aimed(self.aim.target), each.need(day)) for each in self.courses]
        fitting = max(budget, 0) / (sum(share.seconds for share in shares) / len(shares))  # tasks
        is_review = left <= ceil(len(shares) / max(fitting, 1))
        if is_review:
            shares = [Share(s.course, s.difficulty, s.need, not s.course.reviewed) for s in shares]
        shares.sort(key=lambda share: (not share.first, -share.need, share.course.state.topic))
        most = floor(fitting) if is_review else min(round(fitting / TOGETHER), MOST_TOPICS)
        return shares[: max(LEAST_TOPICS, most)]

    def _item(self, share: Share, tasks: int, minutes: float, day: int, left: int) -> PlanItem:
        course, place = share.course, share.difficulty
        before, later = course.chance(place), course.chance(place, tasks)
        why = tuple(_why(share, day, left, minutes, self))
        return PlanItem(course.state.topic, DIFFICULTIES[place], tasks, minutes, before, later, why)


def _why(share: Share, day: int, left: int, minutes: float, way: Way) -> Iterator[Reason]:
    course, state = share.course, share.course.state
    if course.planned == 0 and (wrong := choosing.wrong_lately(state, way.now)):
        yield Reason(ReasonKind.WENT_WRONG_LATELY, {"wrong": wrong[0], "tasks": wrong[1]})
    if state.n == 0 and course.planned == 0:
        yield Reason(ReasonKind.NEW_TOPIC)
    if share.first:
        yield Reason(ReasonKind.REVIEW_BEFORE_EXAM, {"days": left})
    if day == 0:
        yield from not_practised(state, way.now)
    chance = course.chance(share.difficulty)
    if course.level is not None and share.difficulty > course.level and chance < course.chance(course.level):
        yield Reason(ReasonKind.HARDER_BY_NOW, {"chance": chance})
    if share.seconds > 60 * way.aim.minutes_per_day:
        values = {"minutes": round(share.seconds / 60, 1), "minutes_per_day": way.aim.minutes_per_day}
        yield Reason(ReasonKind.TAKES_LONGER, values)


def divided(shares: Sequence[Share], budget: float) -> list[tuple[Share, int]]:
    """Tasks of each share within `budget` seconds: one each, the rest by the root of the need, what is left to whom it
    fits. (A topic that needs it four times as much gets twice the time: repetitions in a day teach less and less.)"""
    wants = [share.need**0.5 for share in shares]
    total = sum(wants) or 1.0
    tasks = [0] * len(shares)
    for place, share in enumerate(shares):
        if share.seconds <= budget:
            tasks[place] = 1
            budget -= share.seconds
    rest = budget
    for place, share in enumerate(shares):
        more = floor(rest * wants[place] / total / share.seconds) if tasks[place] else 0
        tasks[place] += more
        budget -= more * share.seconds
    while fitting := [place for place, share in enumerate(shares) if share.seconds <= budget]:
        for place in fitting:
            if shares[place].seconds <= budget:
                tasks[place] += 1
                budget -= shares[place].seconds
    return [(share, n) for share, n in zip(shares, tasks, strict=True) if n]


def planned(aim: Aim, topics: Sequence[TopicState], now: datetime, effect: PracticeEffect) -> Plan:
    """The plan as it looks now, its topics in the order given; the same for the same arguments. Raises ValueError for
    no topics."""
    if not topics:
        raise ValueError("expected at least one topic to plan for")
    way = Way(aim, now.astimezone(UTC), [Course.of(topic, effect, now) for topic in topics])
    days = tuple(way.day(day) for day in range(min(way.days, DAYS_SHOWN)))
    later = _later(way, days) if way.days > len(days) else None
    outlooks = tuple(_outlook(course, aim) for course in way.courses)
    version = topics[0].chances[choosing.MEDIUM].model_version
    return Plan(
        today=way.now.date(),
        exam_date=aim.exam_date,
        days=days,
        later=later,
        topics=outlooks,
        effect=effect,
        model_version=version,
        summary=_summary(way, outlooks, version),
    )


def _later(way: Way, days: Sequence[PlanDay]) -> Later:
    """The days that are not shown, each like the mean of the last ones that are."""
    like, more = days[-LIKE:], way.days - len(days)
    for course in way.courses:
        tasks = sum(item.tasks for day in like for item in day.items if item.topic == course.state.topic)
        course.add(round(tasks * more / len(like)))
    tasks, minutes = (sum(getattr(day, name) for day in like) * more / len(like) for name in ("tasks", "minutes"))
    return Later(more, round(tasks), minutes)


def today(aim: Aim, topics: Sequence[TopicState], now: datetime, effect: PracticeEffect) -> PlanDay:
    """The first day of `planned`, without the others."""
    return Way(aim, now.astimezone(UTC), [Course.of(topic, effect, now) for topic in topics]).day(0)


def _outlook(course: Course, aim: Aim) -> TopicOutlook:
    state = course.state
    now = state.chances[choosing.MEDIUM].correctness_prob
    at_exam = course.chance(MEDIUM) if course.planned else now
    return TopicOutlook(state.topic, aim.chances_at_start.get(state.topic), now, at_exam, state.n, course.planned)


def _summary(way: Way, outlooks: Sequence[TopicOutlook], version: str) -> Reason:
    exam = way.aim.exam_date.isoformat()
    if way.days == 0:
        return Reason(
            ReasonKind.EXAM_TODAY if way.aim.exam_date == way.now.date() else ReasonKind.EXAM_OVER, {"exam": exam}
        )
    values: dict[str, str | int | float] = {"exam": exam, "days": way.days, "topics": len(outlooks)}
    if version == PRIOR.model_version:
        return Reason(ReasonKind.PLAN_WITHOUT_MODEL, values)
    if missing := sum(each.missing for each in outlooks):
        return Reason(ReasonKind.PLAN_TOO_EARLY, values | {"tasks": missing, "least": TASKS_TELLING})
    now, then = ([getattr(each, name) for each in outlooks] for name in ("chance_now", "chance_at_exam"))
    return Reason(
        ReasonKind.PLAN, values | {"chance_now": sum(now) / len(now), "chance_at_exam": sum(then) / len(then)}
    )
