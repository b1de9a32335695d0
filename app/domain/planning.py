"""What to practise next, and the way to an exam: what is known of each topic, suggestions, plans, and why."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from app.domain.reasons import Reason
from app.domain.tasks import Prediction

TARGET_LEAST, TARGET, TARGET_MOST = 0.70, 0.80, 0.85  # success rate that suggestions aim at
TOPICS_MOST = 20  # of an exam
MINUTES_LEAST, MINUTES_MOST = 5, 480  # a day
TASKS_TELLING = 5  # finished on a topic, before anything is promised of it
PLANS_MOST = 20  # of a student
DAYS_AHEAD = 366  # an exam may be
DAYS_SHOWN = 60  # one by one; those after them only in sum


@dataclass(frozen=True, slots=True)
class PractisedTask:
    """A finished task, as far as the next ones depend on it."""

    difficulty: str
    is_correct: bool
    at: datetime  # UTC


@dataclass(frozen=True, slots=True)
class TopicState:
    """What is known of a student and a topic now."""

    topic: str
    chances: Mapping[str, Prediction]  # by difficulty: easy, medium, hard
    n: int = 0  # tasks finished on it
    n_correct: int = 0
    recent: tuple[PractisedTask, ...] = ()  # the last ten, newest first
    tasks_today: int = 0  # where the student is
    seconds_today: float = 0.0
    others: int = 0  # other students who practised it lately; told only to those who have no tasks


@dataclass(frozen=True, slots=True)
class PracticeEffect:
    """How much a topic's practice helps: logit of the chance rises by `gain` times the rise of log(1 + tasks)."""

    gain: float  # logits, never negative
    standard_error: float
    tasks: int = 0  # it was estimated from; 0: what stands in before a training


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a student wants suggestions for."""

    target: float = TARGET  # success rate aimed at, TARGET_LEAST to TARGET_MOST
    topics: tuple[str, ...] = ()  # only these; none: the next exam's first, then all they practise


@dataclass(frozen=True, slots=True)
class Exam:
    """What a student prepares for."""

    id: UUID
    user_id: UUID
    name: str | None
    exam_date: date
    topics: tuple[str, ...]
    minutes_per_day: int
    target: float
    chances_at_start: Mapping[str, float]  # of a medium task, by topic, when the plan was made
    created_at: datetime  # UTC
    time_zone: str | None = None  # the plan's own, else the student's; none: not known

    def called(self) -> str:
        """Return its name, or the date where it has none."""
        return self.name or self.exam_date.isoformat()


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A task to do next."""

    topic: str
    difficulty: str
    prediction: Prediction  # as POST /practice-tasks would give it
    reasons: tuple[Reason, ...]  # what matters most first


@dataclass(frozen=True, slots=True)
class Recommendations:
    """The next tasks, best first."""

    target: float
    suggestions: tuple[Suggestion, ...]
    exam: Exam | None = None  # whose topics come first
    remark: Reason | None = None  # what to do where the list is empty, or what to know of all of it


@dataclass(frozen=True, slots=True)
class PlanItem:
    """Some tasks of one topic and difficulty, on one day."""

    topic: str
    difficulty: str
    tasks: int
    minutes: float
    chance_before: float  # of a right answer to such a task
    chance_after: float  # when these are done
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class PlanDay:
    """What to do on a day; today without what has been done already."""

    date: date
    items: tuple[PlanItem, ...]
    tasks_done: int = 0  # today, on the exam's topics
    minutes_done: float = 0.0

    @property
    def tasks(self) -> int:
        return sum(item.tasks for item in self.items)

    @property
    def minutes(self) -> float:
        return sum(item.minutes for item in self.items)


@dataclass(frozen=True, slots=True)
class Later:
    """The days after those that are shown, in sum."""

    days: int
    tasks: int
    minutes: float


@dataclass(frozen=True, slots=True)
class TopicOutlook:
    """Where a topic stands, and where the plan leads it: chances of a medium task."""

    topic: str
    chance_at_start: float | None  # when the plan was made
    chance_now: float
    chance_at_exam: float  # if the plan is followed
    tasks_done: int  # so far
    tasks_planned: int

    @property
    def missing(self) -> int:
        """Count the tasks to go before anything can be promised."""
        return max(TASKS_TELLING - self.tasks_done, 0)


@dataclass(frozen=True, slots=True)
class Plan:
    """The way from today to the day before the exam, as it looks now."""

    today: date  # where the student is
    exam_date: date
    days: tuple[PlanDay, ...]  # at most DAYS_SHOWN; none when the exam is today or over
    later: Later | None
    topics: tuple[TopicOutlook, ...]  # in the exam's order
    effect: PracticeEffect
    model_version: str  # who predicted
    summary: Reason

    @property
    def days_left(self) -> int:
        """Count the days to practise on, today included."""
        return max((self.exam_date - self.today).days, 0)

    @property
    def missing(self) -> int:
        """Count the tasks to go on all topics before anything can be promised."""
        return sum(each.missing for each in self.topics)

    @property
    def chance_now(self) -> float:
        return sum(each.chance_now for each in self.topics) / len(self.topics)

    @property
    def chance_at_exam(self) -> float:
        return sum(each.chance_at_exam for each in self.topics) / len(self.topics)
