from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, computed_field

from app.domain.attempts import Difficulty
from app.domain.fields import RightOrWrong, Seconds, Text200
from app.schemas.base import ApiModel, Body, OfStudent


class NewTask(OfStudent):
    """What the student is about to do."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"topic": "Calculus", "difficulty": "medium"}]})

    topic: Text200 = Field(
        description="1-200 characters, any language. The same however spaced and capitalised: the answer has the first "
        "spelling."
    )
    difficulty: Difficulty
    item_id: Text200 | None = Field(
        None, description="The exercise in your own bank, if you have one; spelt as topics are."
    )


class TaskResult(Body):
    """How it went."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"is_correct": True, "actual_time_seconds": 42.5}]})

    is_correct: RightOrWrong
    actual_time_seconds: Seconds


class TaskOut(ApiModel):
    """A practice task with its prediction and, once completed, its result."""

    id: UUID
    user_id: UUID
    topic: str
    difficulty: Difficulty
    item_id: str | None
    created_at: datetime
    completed: bool
    is_correct: bool | None
    actual_time_seconds: float | None
    completed_at: datetime | None
    correctness_prob: float | None = Field(description="Predicted probability of a right answer, 0.01-0.99.")
    estimated_time_seconds: float | None = Field(
        description="Predicted time in seconds: 5-600, or further where tasks took less or more."
    )
    model_version: str | None = Field(
        description="Who predicted: v1.0 (LNIRT) alone, or the network (embedding_v2, ...) that had most part in "
        "correcting it; prior while nobody has finished a task; null for imported tasks."
    )
    model_version_id: int | None = Field(description="Which version of it; null before the first training.")
    correctness_prob_low: float | None = Field(
        description="10-90 % of the share that is right among tasks with about this prediction; null if imported."
    )
    correctness_prob_high: float | None
    time_low_seconds: float | None = Field(
        description="10-90 % of the time: four of five tasks take between these. Null if imported."
    )
    time_high_seconds: float | None
    fallback_reason: str | None = Field(description="Why no better model answered; null if the best one did.")
    contributions: dict[str, list[float]] | None = Field(
        None,
        description="Where a network had its part: by kind its shares of the chance and of the time, 0-1. Null: the "
        "model that is named answered alone.",
    )

    @computed_field(description="How likely the likelier of right and wrong is, 0.5-0.99; null if imported.")
    def correctness_confidence(self) -> float | None:
        return None if self.correctness_prob is None else max(self.correctness_prob, 1 - self.correctness_prob)


class TaskPage(BaseModel):
    """Tasks, newest first."""

    items: list[TaskOut]
    next: str | None = Field(description="Pass it as `before` for the next page; null on the last.")


class CorrectionOut(ApiModel):
    """A result that was changed or taken back."""

    at: datetime
    task_id: UUID = Field(description="The task may have been discarded since.")
    was_correct: bool
    was_seconds: float
    completed_at: datetime = Field(description="Of the result that was corrected.")
    is_correct: bool | None = Field(description="From then on; null: taken back, so that the task was open again.")
    actual_time_seconds: float | None
    made_by: str = Field(description="student, service key NAME, or console.")
