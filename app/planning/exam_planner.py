"""The way to an exam, day by day: which topic and difficulty, how long, and the chance before and after.

Planned anew whenever it is looked at, from what the student can do now: like a route after a wrong turn. A day takes
the topics that need it most (`difficulty.need`) and shares its minutes among them by its root; each topic at the
difficulty whose chance is nearest to the success rate aimed at, so that difficulty rises with the chance. A day of
practice makes a topic due again later and later (`spacing`). On the last day, or the last days where one is too short,
every topic comes once more.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from math import ceil, floor
from uuid import UUID

from sqlalchemy.orm import Session

from app.core.db.statements import run_sync
from app.core.time_zones import day_in, zone_of
from app.crud import accounts, exam_plans, spellings
from app.crud.exam_plans import NewExam
from app.domain.attempts import DIFFICULTIES
from app.domain.errors import NotAccepted
from app.domain.planning import (
    DAYS_AHEAD,
    DAYS_SHOWN,
    TASKS_TELLING,
    Exam,
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
from app.ml.serving.model_order import ServingModels
from app.planning import difficulty, spacing
from app.planning.reasons import not_practised, went_wrong
from app.planning.topic_states import topic_states_now
from app.schemas.planning import NewPlan

OVERHEAD_SECONDS = 15.0  # a task takes beside its own time: reading how it went, choosing the next
TOGETHER = 2  # tasks of a topic in a day, at the least, where there are more topics than a day can hold
LIKE = 14  # days at the end of those that are shown, which those after them are taken to be like
LEAST_TOPICS, MOST_TOPICS = 2, 8  # a day: so that they are mixed, but no patchwork; when all are reviewed, any number
MEDIUM = DIFFICULTIES.index(difficulty.MEDIUM)


def plan_exam(serving: ServingModels, db: Session, exam: Exam) -> Plan:
    """Return the plan as it looks now."""
    found = topic_states_now(serving, db, exam.user_id, exam.topics, exam.time_zone)
    return planned(exam, found.topics, found.now, found.effect)


def prepare(
    serving: ServingModels, db: Session, student: UUID, new: NewPlan, account: UUID | None, school: UUID | None = None
) -> tuple[Exam, Plan]:
    """Store an exam, with the chances of this moment, and plan it. `account` is the student's, where a student asks;
    `school` that of a key which sees its own students only.

    Days are those of the zone that the plan names, else of the student's.

    Raises:
        NotAccepted: the exam is not on one of the days after today, or too far ahead.
        TooManyPlans: the student has as many plans as anybody may.
        NotSignedIn: the account is gone.
    """
    exam_plans.check_room(db, student)
    topics = tuple(dict.fromkeys(run_sync(spellings.registered("topic", new.topics), db).values()))
    zone = zone_of(new.time_zone or run_sync(accounts.time_zone_of(student), db))
    found = topic_states_now(serving, db, student, topics, zone.key)
    _check_date(new.exam_date, found.now.astimezone(zone).date(), zone.key)
    chances = {each.topic: each.chances[difficulty.MEDIUM].correctness_prob for each in found.topics}
    wanted = NewExam(
        student,
        new.name,
        new.exam_date,
        topics,
        new.minutes_per_day,
        new.target_success_rate,
        chances,
        new.time_zone,
    )
    exam = exam_plans.add(db, wanted, account, school)
    return exam, planned(exam, found.topics, found.now, found.effect)


def _check_date(exam_date: date, today: date, zone: str) -> None:
    days = (exam_date - today).days
    if days < 1:
        raise NotAccepted(f"exam_date: has to be after today, which is {today} ({zone}).")
    if days > DAYS_AHEAD:
        raise NotAccepted(f"exam_date: may be at most {DAYS_AHEAD} days ahead; today is {today} ({zone}).")


def planned(exam: Exam, topics: Sequence[TopicState], now: datetime, effect: PracticeEffect) -> Plan:
    """Return the plan as it looks now, its topics in the order given; the same for the same arguments.

    Raises ValueError for no topics.
    """
    if not topics:
        raise ValueError("expected at least one topic to plan for")
    schedule = StudySchedule.of(exam, topics, now, effect)
    days = tuple(schedule.day(day) for day in range(min(schedule.days, DAYS_SHOWN)))
    later = _later(schedule, days) if schedule.days > len(days) else None
    outlooks = tuple(_outlook(progress, exam) for progress in schedule.topics)
    version = topics[0].chances[difficulty.MEDIUM].model_version
    return Plan(
        today=schedule.today,
        exam_date=exam.exam_date,
        days=days,
        later=later,
        topics=outlooks,
        effect=effect,
        model_version=version,
        summary=_summary(schedule, outlooks, version),
    )


@dataclass(slots=True)
class TopicProgress:
    """A topic, and what has been planned for it so far."""

    state: TopicState
    effect: PracticeEffect
    logits: Sequence[float]  # of the chance now, by difficulty
    seconds: Sequence[float]  # a task takes, by difficulty, with OVERHEAD_SECONDS
    off: float  # logits, see difficulty.off_the_models
    strength: float
    last: float | None  # day it was practised last, 0 is now; none: never
    hardest: int  # difficulty allowed until it has gone right
    rise: float = 0.0  # logits, by what is planned
    planned: int = 0  # tasks
    reviewed: bool = False
    level: int | None = None  # difficulty planned last

    @classmethod
    def of(cls, state: TopicState, effect: PracticeEffect, now: datetime) -> "TopicProgress":
        predictions = [state.chances[name] for name in DIFFICULTIES]
        days = spacing.days_since(state.recent, now)
        return cls(
            state,
            effect,
            [difficulty.logit(each.correctness_prob) for each in predictions],
            [each.estimated_time_seconds + OVERHEAD_SECONDS for each in predictions],
            difficulty.off_the_models(state),
            spacing.strength(state.recent),
            None if days is None else -days,
            difficulty.hardest_allowed(state, now),
        )

    def chance(self, level: int, more: int = 0) -> float:
        """Return the chance of a right answer when what is planned, and so many more, are done."""
        rise = rise_by(self.state.n, self.planned + more, self.effect) if more else self.rise
        return difficulty.chance(self.logits[level] + rise)

    def aimed(self, target: float) -> int:
        """Return the position in DIFFICULTIES to practise next."""
        chances = [self.chance(level) for level in range(len(DIFFICULTIES))]
        return min(difficulty.nearest(chances, target), self.hardest)

    def need(self, day: int) -> float:
        weakness = 1 - difficulty.chance(self.logits[MEDIUM] + self.off + self.rise)
        since = None if self.last is None else day - self.last
        return difficulty.need(weakness, spacing.due(since, self.strength), 0 if day else self.state.tasks_today)

    def practise(self, day: int, level: int, tasks: int) -> None:
        """Take these tasks as done, some right and some wrong as is to be expected."""
        self.strength = spacing.within(self.strength + spacing.step(self.chance(level)))
        self.add(tasks)
        self.last = float(day)
        self.hardest = len(DIFFICULTIES) - 1
        self.level = level

    def add(self, tasks: int) -> None:
        """Plan so many more."""
        self.planned += tasks
        self.rise = rise_by(self.state.n, self.planned, self.effect)


@dataclass(frozen=True, slots=True)
class TopicShare:
    """A topic's part of a day."""

    topic: TopicProgress
    level: int  # of difficulty
    need: float
    first: bool  # not reviewed yet, and the exam is near

    @property
    def seconds(self) -> float:
        """Return how long a task takes."""
        return self.topic.seconds[self.level]


@dataclass(frozen=True, slots=True)
class StudySchedule:
    """The days from today to the day before the exam."""

    exam: Exam
    now: datetime  # UTC
    today: date  # where the student is
    topics: Sequence[TopicProgress]

    @classmethod
    def of(cls, exam: Exam, topics: Sequence[TopicState], now: datetime, effect: PracticeEffect) -> "StudySchedule":
        today = day_in(exam.time_zone, now)
        return cls(exam, now.astimezone(UTC), today, [TopicProgress.of(topic, effect, now) for topic in topics])

    @property
    def days(self) -> int:
        return max((self.exam.exam_date - self.today).days, 0)

    def day(self, day: int) -> PlanDay:
        """Plan this day, after those before it."""
        done = [topic.state for topic in self.topics] if day == 0 else []
        used = sum(state.seconds_today + OVERHEAD_SECONDS * state.tasks_today for state in done)
        tasks_done = sum(state.tasks_today for state in done)
        budget = 60.0 * self.exam.minutes_per_day - used
        items = tuple(self._items(day, budget, must=tasks_done == 0))
        return PlanDay(self.today + timedelta(days=day), items, tasks_done, used / 60)

    def _items(self, day: int, budget: float, *, must: bool) -> Iterator[PlanItem]:
        """Plan the tasks of a day; where there `must` be something, one even if none fits."""
        left = self.days - day
        shares = self._chosen(day, left, budget)
        for share, fitting in divided(shares, budget) or ([(min(shares, key=lambda s: s.seconds), 0)] if must else []):
            topic, level, tasks = share.topic, share.level, fitting or 1
            minutes = floor((fitting * share.seconds if fitting else max(budget, 0)) / 6) / 10
            before, after = topic.chance(level), topic.chance(level, tasks)
            why = tuple(self._why(share, day, left))
            yield PlanItem(topic.state.topic, DIFFICULTIES[level], tasks, minutes, before, after, why)
            topic.practise(day, level, tasks)
            topic.reviewed |= share.first

    def _chosen(self, day: int, left: int, budget: float) -> list[TopicShare]:
        """Return the day's topics, those that need it most first."""
        levels = [topic.aimed(self.exam.target) for topic in self.topics]
        seconds = sum(topic.seconds[level] for topic, level in zip(self.topics, levels, strict=True))
        fitting = max(budget, 0) * len(levels) / seconds  # tasks
        is_review = left <= ceil(len(levels) / max(fitting, 1))
        shares = [
            TopicShare(topic, level, topic.need(day), is_review and not topic.reviewed)
            for topic, level in zip(self.topics, levels, strict=True)
        ]
        shares.sort(key=lambda share: (not share.first, -share.need, share.topic.state.topic))
        most = floor(fitting) if is_review else min(round(fitting / TOGETHER), MOST_TOPICS)
        return shares[: max(LEAST_TOPICS, most)]

    def _why(self, share: TopicShare, day: int, left: int) -> Iterator[Reason]:
        topic, state = share.topic, share.topic.state
        if topic.planned == 0:
            yield from went_wrong(state, self.now)
            if state.n == 0:
                yield Reason(ReasonKind.NEW_TOPIC)
        if share.first:
            yield Reason(ReasonKind.REVIEW_BEFORE_EXAM, {"days": left})
        if day == 0:
            yield from not_practised(state, self.now)
        chance = topic.chance(share.level)
        if topic.level is not None and share.level > topic.level and chance < topic.chance(topic.level):
            yield Reason(ReasonKind.HARDER_BY_NOW, {"chance": chance})
        if share.seconds > 60 * self.exam.minutes_per_day:
            values = {"minutes": round(share.seconds / 60, 1), "minutes_per_day": self.exam.minutes_per_day}
            yield Reason(ReasonKind.TAKES_LONGER, values)


def divided(shares: Sequence[TopicShare], budget: float) -> list[tuple[TopicShare, int]]:
    """Divide `budget` seconds into tasks: one of each share, the rest by the root of the need, what is left to whom it
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
    while any(share.seconds <= budget for share in shares):
        for place, share in enumerate(shares):
            if share.seconds <= budget:
                tasks[place] += 1
                budget -= share.seconds
    return [(share, n) for share, n in zip(shares, tasks, strict=True) if n]


def _later(schedule: StudySchedule, days: Sequence[PlanDay]) -> Later:
    """Sum up the days that are not shown, each like the mean of the last ones that are."""
    like, more = days[-LIKE:], schedule.days - len(days)
    for topic in schedule.topics:
        tasks = sum(item.tasks for day in like for item in day.items if item.topic == topic.state.topic)
        topic.add(round(tasks * more / len(like)))
    tasks, minutes = (sum(getattr(day, name) for day in like) * more / len(like) for name in ("tasks", "minutes"))
    return Later(more, round(tasks), minutes)


def _outlook(topic: TopicProgress, exam: Exam) -> TopicOutlook:
    state = topic.state
    now = state.chances[difficulty.MEDIUM].correctness_prob
    at_exam = topic.chance(MEDIUM) if topic.planned else now
    return TopicOutlook(state.topic, exam.chances_at_start.get(state.topic), now, at_exam, state.n, topic.planned)


def _summary(schedule: StudySchedule, outlooks: Sequence[TopicOutlook], version: str) -> Reason:
    exam_date = schedule.exam.exam_date
    if schedule.days == 0:
        kind = ReasonKind.EXAM_TODAY if exam_date == schedule.today else ReasonKind.EXAM_OVER
        return Reason(kind, {"exam": exam_date.isoformat()})
    values: dict[str, str | int | float] = {
        "exam": exam_date.isoformat(), "days": schedule.days, "topics": len(outlooks)
    }  # fmt: skip
    if version == PRIOR.model_version:
        return Reason(ReasonKind.PLAN_WITHOUT_MODEL, values)
    if missing := sum(each.missing for each in outlooks):
        return Reason(ReasonKind.PLAN_TOO_EARLY, values | {"tasks": missing, "least": TASKS_TELLING})
    now = sum(each.chance_now for each in outlooks) / len(outlooks)
    at_exam = sum(each.chance_at_exam for each in outlooks) / len(outlooks)
    return Reason(ReasonKind.PLAN, values | {"chance_now": now, "chance_at_exam": at_exam})
