from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.domain.fields import Text200
from app.schemas.base import Body
from app.schemas.live import DriftOut, LiveOut


class ServingOut(BaseModel):
    """Who answers predictions in this process now."""

    model_version: str = Field(
        description="The network with the greatest part in the answers (embedding_v2, embedding_lstm), v1.0 where "
        "LNIRT answers alone, as before the first training, and prior while nobody has finished a task."
    )
    model_version_id: int | None = Field(description="Null before the first training.")
    since: datetime | None
    trained_on_tasks: int | None
    contributions: dict[str, list[float]] | None = Field(
        description="What each kind that answers has of the chance and of the time, 0-1, by the kind's name."
    )
    held_out: dict[str, Any] | None = Field(description="Scores on the newest tasks, which it was not fitted on.")


class CounterOut(BaseModel):
    """How far it is to the next training."""

    since_training: int = Field(description="Finished tasks, of anybody, that no training has taken yet.")
    retrain_every: int
    trained_on: int = Field(description="Finished tasks that the last training learned from.")
    text: str


class RunOut(BaseModel):
    """One training run."""

    id: int
    asked_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    outcome: str = Field(description="asked, running, published, rejected, failed, interrupted or merged.")
    kinds: list[str] | None = Field(description="The kinds that were to be trained; null for all of them.")
    n_tasks: int | None
    progress: dict[str, Any]
    message: str | None


class PauseOut(BaseModel):
    """Why no training begins by itself."""

    since: datetime | None
    by: str | None = Field(description="`an admin`, `command line`, or `the service`.")
    reason: str | None


class PauseWish(Body):
    """Why trainings are to pause."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "Exams are on."}]})

    reason: Text200 | None = Field(None, description="Shown to whoever asks why.")


class PauseChanged(BaseModel):
    paused: bool
    message: str


class DemonstrationOut(BaseModel):
    """Students who were made up, by the sample or the guided run, and are still there."""

    students: int
    tasks: int = Field(description="Finished or open.")


class ModelStatus(BaseModel):
    """Who serves, since when, on how many tasks, and how training stands."""

    serving: ServingOut
    degraded: bool = Field(description="A model should serve but can't.")
    reason: str | None
    counter: CounterOut
    training: RunOut | None = Field(description="The run at work, if any.")
    waiting: int = Field(description="Runs that wait for their turn.")
    trainers: int = Field(description="Processes that train, on whatever machine, seen within the last minute.")
    trainer_missing: bool = Field(description="Trainings wait for a trainer, and none has been seen lately.")
    last_run: RunOut | None
    live: LiveOut = Field(description="What students were told lately, against what then happened.")
    drift: DriftOut = Field(description="What the model is asked lately, against what it learned from.")
    warning: str | None = Field(
        description="Set where a training takes ten times as long as the one before, or waits as long for its turn, "
        "where trainings wait for a trainer and none was seen, and while the store of the models can't be asked."
    )
    paused: PauseOut | None = Field(description="Set while trainings wait for `POST /model/resume`.")
    failures_in_a_row: int = Field(description="Trainings that failed since the last one that came to models.")
    retry_in_seconds: float | None = Field(description="After a failure: how long the next training waits.")
    demonstration: DemonstrationOut | None = Field(description="Set while some of the students are made up.")
    text: str = Field(description="All of it in a sentence or two.")
