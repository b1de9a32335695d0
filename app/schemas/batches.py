"""Many tasks in one request."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WrapValidator
from pydantic.config import JsonDict

from app.domain.attempts import Difficulty
from app.domain.fields import Text200
from app.schemas.base import ApiModel, Body, OfStudent
from app.schemas.practice_tasks import NewTask, TaskOut, TaskResult
from app.schemas.problem import Problem

MOST_TASKS, MOST_PREDICTIONS = 500, 200
TASK: JsonDict = {"topic": "Calculus", "difficulty": "medium"}
RESULT: JsonDict = {"id": "0b8e7c9e-5f3e-4d57-9d5f-0f6f9f1c2a10", "is_correct": True, "actual_time_seconds": 42.5}
ALL_OR_NOTHING = "Store all of them, or nothing where one can't be stored: then the answer is its problem."


@dataclass(frozen=True, slots=True)
class Unfit:
    """What is no task or result, and why; the others of the batch go on."""

    errors: list[Any]  # pydantic's


def _or_unfit(value: object, handler: Callable[[object], Any]) -> Any:
    try:
        return handler(value)
    except ValidationError as why:
        return Unfit(why.errors(include_context=False, include_input=False, include_url=False))


class NewResult(TaskResult):
    """How a task went."""

    model_config = ConfigDict(json_schema_extra={"examples": [RESULT]})

    id: UUID = Field(description="The task's.")


class NewTasks(Body):
    """Tasks that students are about to do."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"tasks": [TASK, {**TASK, "difficulty": "hard"}]}]})

    tasks: list[Annotated[NewTask, WrapValidator(_or_unfit)]] = Field(min_length=1, max_length=MOST_TASKS)
    all_or_nothing: bool = Field(False, strict=True, description=ALL_OR_NOTHING)


class NewResults(Body):
    """How tasks went."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"results": [RESULT]}]})

    results: list[Annotated[NewResult, WrapValidator(_or_unfit)]] = Field(min_length=1, max_length=MOST_TASKS)
    all_or_nothing: bool = Field(False, strict=True, description=ALL_OR_NOTHING)


class BatchItem(BaseModel):
    """What came of one: as the answer would be, had it been sent by itself."""

    status: int = Field(description="201 created, 200 completed; else the problem's.")
    task: TaskOut | None = None
    problem: Problem | None = None


class BatchOut(BaseModel):
    """What came of each, in the order sent."""

    items: list[BatchItem]
    stored: int = Field(description="How many went well.")
    failed: int


class AskedTask(Body):
    """A task that is only thought of."""

    topic: Text200
    difficulty: Difficulty
    item_id: Text200 | None = None


class PredictionsAsked(OfStudent):
    """Tasks that one student might do."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"tasks": [TASK, {**TASK, "difficulty": "hard"}]}]})

    tasks: list[AskedTask] = Field(min_length=1, max_length=MOST_PREDICTIONS)


class PredictionOut(ApiModel):
    """What would be said of the task, were it created now: the fields are those of a task."""

    topic: str = Field(description="As it is called.")
    difficulty: Literal["easy", "medium", "hard"]
    item_id: str | None
    correctness_prob: float
    estimated_time_seconds: float
    model_version: str
    model_version_id: int | None
    correctness_prob_low: float | None
    correctness_prob_high: float | None
    time_low_seconds: float | None
    time_high_seconds: float | None
    fallback_reason: str | None
    contributions: dict[str, list[float]] | None


class PredictionsOut(BaseModel):
    """Predictions in the order asked."""

    user_id: UUID = Field(description="The student.")
    items: list[PredictionOut]
