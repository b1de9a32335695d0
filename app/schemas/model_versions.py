"""Versions of the models: listed, chosen, trained."""

from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.domain.kinds import KINDS
from app.schemas.base import ApiModel, Body
from app.schemas.model_status import RunOut

if TYPE_CHECKING:
    KindName = str
else:
    KindName = Literal[KINDS]


class VersionOut(ApiModel):
    """One trained model."""

    id: int
    kind: str = Field(description="One of the kinds, or one that an earlier release had.")
    state: Literal["candidate", "serving", "retired", "rejected"]
    reason: str | None = Field(description="Why it stands as it does, in a sentence.")
    answers_first: bool = Field(description="It answers the predictions; the others that serve stand in for it.")
    by_hand: bool = Field(description="A person chose it: a new version has to be clearly better to take its place.")
    n_tasks: int = Field(description="Finished tasks it was trained from.")
    data_from: datetime | None = Field(description="The first completion it was fitted on.")
    data_to: datetime | None = Field(description="The last one.")
    train_seconds: float | None
    scores: dict[str, Any] = Field(
        description="On the newest tasks, which it was not fitted on: log_loss with its standard error, auc, brier, "
        "calibration_error, rmse_log_time, mae_seconds, time_interval_coverage."
    )
    created_at: datetime
    pruned_at: datetime | None = Field(description="When its files were deleted; such a version can't serve again.")
    run_id: int | None = Field(description="The training run that made it.")


class VersionDetail(VersionOut):
    """One trained model, with what its training reported and its files."""

    report: dict[str, Any]
    files: dict[str, str] = Field(description="Name -> SHA-256, hexadecimal.")


class Promoted(VersionOut):
    """The version that answers now, and what was done."""

    message: str = Field(examples=["Version 12 of embedding_v2 was promoted by ada@example.com."])


class VersionPage(BaseModel):
    """Versions, newest first."""

    items: list[VersionOut]
    next: int | None = Field(description="Pass it as `before` for the next page; null on the last.")


class ChangeOut(ApiModel):
    """One change of who serves."""

    id: int
    at: datetime
    what: Literal["published", "promoted", "rolled back"]
    lineup: list[int] = Field(description="The versions that serve since then, the one that answers first.")
    made_by: str = Field(description='A run ("run 12"), an admin\'s address, or "command line".')
    reason: str


class Changes(BaseModel):
    """Who served and why, newest first."""

    items: list[ChangeOut]


class RunDetails(RunOut):
    """One training run, as admins see it."""

    trainer: str | None = Field(description="The process that took it, `host:process id`; null: none has yet.")
    from_scratch: bool = Field(description="Or it went on from the models there were.")
    n_read: int | None = Field(description="Finished tasks it worked with; `message` says why, where not all.")


class RunPage(BaseModel):
    """Training runs, asked for last first."""

    items: list[RunDetails]
    next: int | None = Field(description="Pass it as `before` for the next page; null on the last.")


class TrainingWish(Body):
    """What to train."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"kind": "embedding_v2"}]})

    kind: KindName | None = Field(None, description="Only this kind of model; all of them without it.")


class TrainingAsked(BaseModel):
    """The training will begin as soon as none is at work."""

    run_id: int
    message: str = Field(examples=["Training run 12 begins as soon as no other is at work."])
