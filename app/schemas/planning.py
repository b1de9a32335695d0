from datetime import UTC, date, datetime, timedelta
from re import fullmatch
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from app.domain.attempts import Difficulty
from app.domain.fields import Text200, TimeZone
from app.domain.planning import (
    MINUTES_LEAST,
    MINUTES_MOST,
    TARGET,
    TARGET_LEAST,
    TARGET_MOST,
    TASKS_TELLING,
    TOPICS_MOST,
)
from app.schemas.base import OfStudent


def _written_as_date(value: object) -> object:
    if not (isinstance(value, str) and fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", value)):
        raise ValueError("must be a date such as 2027-01-15")
    return value


def _with_example(schema: dict[str, Any]) -> None:
    """Add an example that is accepted on the day it is shown."""
    soon = (datetime.now(UTC) + timedelta(days=30)).date().isoformat()
    example = {"exam_date": soon, "topics": ["Calculus", "Waves"], "minutes_per_day": 30, "name": "Finals"}
    schema["examples"] = [example]


def once_each(topics: list[str]) -> list[str]:
    """Drop repeated topics, in the order given."""
    return list(dict.fromkeys(topics))


Target = Annotated[float, Field(ge=TARGET_LEAST, le=TARGET_MOST, allow_inf_nan=False)]
Topics = Annotated[list[Text200], Field(max_length=TOPICS_MOST), AfterValidator(once_each)]
ExamDate = Annotated[date, BeforeValidator(_written_as_date)]


class NewPlan(OfStudent):
    """An exam to prepare for."""

    model_config = ConfigDict(json_schema_extra=_with_example)

    exam_date: ExamDate = Field(description="A day after today where the student is, at most a year ahead.")
    topics: Topics = Field(min_length=1, description="1-20, as your tasks name them; each counts once, however spelt.")
    minutes_per_day: Annotated[int, Field(strict=True, ge=MINUTES_LEAST, le=MINUTES_MOST)]
    target_success_rate: Annotated[Target, Field(strict=True)] = Field(
        TARGET, description="How much of the practice should go right, 0.70-0.85."
    )
    name: Text200 | None = Field(None, description="What you call the exam.")
    time_zone: TimeZone | None = Field(
        None,
        description="Where this plan's days begin, such as Pacific/Auckland (IANA). Without it the zone of the "
        "student's account holds, and where there is none the server's `TIME_ZONE`.",
    )


class ReasonOut(BaseModel):
    """Why: a code, the values its sentence is made of, and that sentence in English."""

    code: str
    values: dict[str, str | int | float] = Field(description="Chances and shares are 0-1.")
    text: str


class SuggestionOut(BaseModel):
    """A task to do next; nothing is stored of it until `POST /practice-tasks` creates it."""

    topic: str
    difficulty: Difficulty
    correctness_prob: float = Field(description="As `POST /practice-tasks` would predict it now.")
    correctness_prob_low: float | None = Field(description="10-90 %, as there.")
    correctness_prob_high: float | None
    estimated_time_seconds: float
    time_low_seconds: float | None = Field(description="10-90 %, as there.")
    time_high_seconds: float | None
    model_version: str
    model_version_id: int | None
    reasons: list[ReasonOut] = Field(description="What matters most first.")


class ExamOut(BaseModel):
    """An exam that is prepared for, without its days."""

    id: UUID
    user_id: UUID
    name: str | None
    exam_date: date
    days_left: int = Field(description="To practise on, today included; 0 on the day of the exam and after it.")
    topics: list[str]
    minutes_per_day: int
    target_success_rate: float
    created_at: datetime
    time_zone: str | None = Field(
        description="Whose days count: the plan's own, else the student's; null: the server's `TIME_ZONE`."
    )


class RecommendationsOut(BaseModel):
    """The next tasks, best first."""

    target_success_rate: float
    exam: ExamOut | None = Field(description="Whose topics come first; null without one, or where topics were named.")
    items: list[SuggestionOut]
    remark: ReasonOut | None = Field(description="What to know of the list, or what to do where it is empty.")


class PlanItemOut(BaseModel):
    """Tasks of one topic and difficulty, on one day."""

    topic: str
    difficulty: Difficulty
    tasks: int
    minutes: float = Field(description="With 15 seconds a task to read the result and go on.")
    chance_before: float = Field(description="Of a right answer to such a task, when the day's part begins.")
    chance_after: float = Field(description="The same when it is done.")
    reasons: list[ReasonOut]


class PlanDayOut(BaseModel):
    """A day where the student is; today without what has been done already."""

    date: date
    minutes: float = Field(description="Still to practise, never more than `minutes_per_day`.")
    tasks: int
    tasks_done: int = Field(description="Today, on the exam's topics.")
    minutes_done: float
    items: list[PlanItemOut]


class LaterOut(BaseModel):
    """The days after those that are listed, in sum; they are taken to go on like the last two weeks of the list."""

    days: int
    tasks: int
    minutes: float


class TopicOutlookOut(BaseModel):
    """Chances of a right answer to a medium task."""

    topic: str
    chance_at_start: float | None = Field(description="When the plan was made.")
    chance_now: float
    chance_at_exam: float | None = Field(
        description=f"Expected, if the plan is followed; null before {TASKS_TELLING} tasks on the topic are finished."
    )
    tasks_done: int = Field(description="So far, in all.")
    tasks_planned: int


class PracticeEffectOut(BaseModel):
    """How much practice helps: what the chances after practice are reckoned with."""

    gain: float = Field(description="Logits of the chance for each unit of log(1 + tasks done on the topic).")
    standard_error: float
    tasks: int = Field(description="It was estimated from; 0 before the first training, when a usual value stands in.")


class PlanOut(ExamOut):
    """An exam and the way there, as it looks now: planned anew whenever it is asked for."""

    days: list[PlanDayOut] = Field(description="From today to the day before the exam, at most 60.")
    later: LaterOut | None
    outlook: list[TopicOutlookOut] = Field(description="In the order of `topics`.")
    chance_now: float = Field(description="Mean over the topics.")
    chance_at_exam: float | None = Field(description="Null where it is of one of them.")
    practice_effect: PracticeEffectOut
    model_version: str = Field(description="Who predicted: `prior` as long as there is no model.")
    summary: ReasonOut


class PlanList(BaseModel):
    """A student's plans, the next exam first, those that are over last."""

    items: list[ExamOut]
