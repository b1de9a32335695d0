"""A student's practice in figures, as the analytics page shows it."""

from datetime import date

from pydantic import BaseModel, Field

from app.analytics.ability import LEAST_ANSWERS, LEAST_STUDENTS
from app.analytics.overview import LAST_DAYS, LATELY, MOST_DAYS, MOST_TASKS, TOPICS
from app.analytics.statistics import LAST, LEAST_JUDGED, LEAST_SHAKY, MASTERED, SHAKY, Verdict
from app.crud.learning_record import DAY_TASKS
from app.domain.attempts import Difficulty
from app.schemas.base import ApiModel

Day = date  # a field of that name hides it


class TotalsOut(ApiModel):
    """Finished tasks in sum."""

    tasks: int = Field(validation_alias="n")
    correct: int = Field(validation_alias="n_correct")
    success_rate: float = Field(validation_alias="rate", description="Share right, 0-1.")
    mean_seconds: float


class TopicTotals(TotalsOut):
    """Finished tasks of a topic."""

    topic: str = Field(validation_alias="key")


class LevelTotals(TotalsOut):
    """Finished tasks of a level."""

    difficulty: Difficulty = Field(validation_alias="key")


class PeriodOut(ApiModel):
    """Finished tasks of a day or of the window; what was predicted is of those that were, null where none was."""

    tasks: int = Field(validation_alias="n")
    success_rate: float = Field(validation_alias="right", description="Share right, 0-1.")
    predicted_success_rate: float | None = Field(
        validation_alias="chance", description="What the chances told beforehand come to, mean."
    )
    median_seconds: float = Field(validation_alias="seconds")
    predicted_seconds: float | None = Field(
        validation_alias="expected_seconds", description="Median of the times told beforehand."
    )


class PracticeDay(PeriodOut):
    """Finished tasks of a day; days without any are left out."""

    date: Day


class CountedDay(ApiModel):
    """What was finished on a day."""

    date: Day = Field(validation_alias="day")
    tasks: int = Field(validation_alias="n", description=f"{DAY_TASKS:,} at the most.")
    correct: int = Field(validation_alias="n_correct")


class PlaceOut(ApiModel):
    """The share of the students here below this one, 0-1; in four of five cases it is within low to high."""

    low: float
    middle: float
    high: float


class StandingOut(BaseModel):
    """Where the student stood at some point of the window."""

    tasks: int = Field(description="After so many tasks of the window; 0 is before it.")
    date: Day | None = Field(description="The day that ends there; null between days.")
    ability: PlaceOut
    speed: PlaceOut


class AverageTask(ApiModel):
    """What LNIRT expects of the student on a task of which nothing is known, each with its 10-90 %."""

    correctness_prob: float = Field(validation_alias="probability")
    correctness_prob_low: float = Field(validation_alias="probability_low")
    correctness_prob_high: float = Field(validation_alias="probability_high")
    estimated_time_seconds: float = Field(validation_alias="seconds")
    time_low_seconds: float = Field(validation_alias="seconds_low")
    time_high_seconds: float = Field(validation_alias="seconds_high")


class LnirtOut(BaseModel):
    """Ability and speed, as LNIRT reads them from all answers."""

    missing_tasks: int = Field(description=f"To go until {LEAST_ANSWERS} are finished; until then all else is null.")
    students: int = Field(
        description=f"With results here, counted up to {LEAST_STUDENTS}; with fewer nobody is placed."
    )
    ability: PlaceOut | None
    speed: PlaceOut | None
    average_task: AverageTask | None
    over_time: list[StandingOut] = Field(description="The oldest first; empty where nobody is placed.")


class ChanceGroup(BaseModel):
    """Tasks whose predicted chances were about the same."""

    tasks: int
    predicted: float = Field(description="Mean.")
    observed: float = Field(description="Share right.")


class CalibrationOut(BaseModel):
    """Predictions of the window's tasks beside what came of them."""

    tasks: int = Field(description="Predicted and finished.")
    missing_tasks: int = Field(description=f"To go until there are {LEAST_JUDGED}, before which `verdict` is null.")
    predicted: float | None = Field(description="Mean chance told beforehand.")
    observed: float | None = Field(description="Share right.")
    verdict: Verdict | None
    groups: list[ChanceGroup]
    timed_tasks: int = Field(description="That had an interval for their time.")
    within_interval: int = Field(description="Of these, whose time was in it; four of five should be.")


class RecentTopic(ApiModel):
    """How the newest tasks of a topic went."""

    topic: str
    tasks: int = Field(validation_alias="n", description="Finished in all.")
    lately: int = Field(description=f"The newest, {LAST} at the most.")
    lately_correct: int


class AnalyticsOut(BaseModel):
    """A student's practice: all that they finished in sum, and the newest tasks (the window) day by day."""

    time_zone: str = Field(description="Whose days these are.")
    last_days: list[CountedDay] = Field(
        description=f"The last {LAST_DAYS}, today the last of them, those without tasks too."
    )
    lately: PeriodOut | None = Field(description=f"The {LATELY} predicted tasks that were finished last.")
    streak_days: int = Field(
        description="Days in a row with a finished task, up to today or yesterday; 366 at the most."
    )
    total: TotalsOut | None = Field(description="Null before the first finished task.")
    window: PeriodOut | None = Field(
        description=f"The newest {MOST_TASKS:,} tasks, none more than {MOST_DAYS} days before the last."
    )
    days: list[PracticeDay] = Field(description="Of the window, the oldest first.")
    topics: list[TopicTotals] = Field(description=f"The most practised first, {TOPICS} at the most.")
    has_more_topics: bool
    levels: list[LevelTotals] = Field(description="From easy to hard.")
    lnirt: LnirtOut | None = Field(description="Null where LNIRT is not in service, or nobody has finished anything.")
    calibration: CalibrationOut
    mastered: list[RecentTopic] = Field(
        description=f"{LAST} tasks or more, {MASTERED:.0%} or more of the last {LAST} right."
    )
    shaky: list[RecentTopic] = Field(
        description=f"{LEAST_SHAKY} tasks or more, less than {SHAKY:.0%} of the last {LAST} right."
    )
