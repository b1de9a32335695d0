from typing import Literal

from pydantic import BaseModel, Field

Verdict = Literal["steady", "shifted", "strongly shifted"]


class LiveQuality(BaseModel):
    """How good the newest predictions of one kind of model turned out."""

    kind: str
    model_version_id: int | None = Field(description="Of these, the version that answered last; null for the prior.")
    versions: int = Field(description="How many versions of this kind these predictions came from.")
    n: int = Field(description="Completed tasks.")
    log_loss: float = Field(description="Nats; less is better.")
    log_loss_standard_error: float
    log_loss_of_base_rate: float = Field(description="Of always saying the share that was right.")
    log_loss_at_training: float | None = Field(description="Of that version, on tasks that it was not fitted on.")
    log_loss_at_training_standard_error: float | None
    mean_predicted: float
    observed: float = Field(description="Share of the tasks that were right.")
    calibration_error: float = Field(description="Expected calibration error, ten bins.")
    rmse_log_time: float
    time_interval_coverage: float | None = Field(description="Share of times within the 80 % interval.")
    text: str


class LiveOut(BaseModel):
    """The newest completed predictions; kinds with too few of them are left out."""

    n: int
    minimum: int = Field(description="Completed tasks of a kind, before anything is said.")
    kinds: list[LiveQuality] = Field(description="The kind with the most tasks first.")
    text: str


class InputDrift(BaseModel):
    """How far one input of the model has moved."""

    name: str
    words: str
    psi: float = Field(description="Population stability index against the tasks that the model learned from.")
    by_chance: float = Field(description="What the index may be where nothing has moved; more with fewer tasks.")
    verdict: Verdict
    decides: bool = Field(description="False for how many tasks were done before and how long ago.")


class DriftOut(BaseModel):
    """Whether what the model is asked still looks like what it learned from; nulls where nothing can be said."""

    n: int = Field(0, description="Newest predicted tasks that were looked at.")
    minimum: int = 100
    model_version_id: int | None = None
    verdict: Verdict | None = Field(None, description="Shifted from an index of 0.1 on, strongly from 0.25.")
    unseen_topics: float | None = Field(None, description="Share of the tasks on topics that it never saw.")
    unseen_items: float | None = Field(None, description="Of the tasks that name an item.")
    inputs: list[InputDrift] = Field([], description="Furthest moved first.")
    text: str
