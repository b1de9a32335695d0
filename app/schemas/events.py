"""What `GET /events` tells."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, Field

from app.schemas.base import ApiModel
from app.schemas.model_status import CounterOut, RunOut


class TrainingState(BaseModel):
    """How training stands; the data of `event: training`."""

    counter: CounterOut
    run: RunOut | None = Field(description="At work; `progress` has its step, epoch and epochs.")
    last_run: RunOut | None
    is_paused: bool


class DiscardedOut(ApiModel):
    """That an open task was discarded; the data of `event: discarded`."""

    id: UUID
    at: datetime


class End(BaseModel):
    """That nothing more is told, and coming again is of no use; the data of `event: end`."""

    reason: str
