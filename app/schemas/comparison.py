"""How well each version predicted what has since been completed."""

from datetime import date
from typing import Literal

from pydantic import BaseModel, Field


class Quality(BaseModel):
    """How good n predictions were; null where it is not defined, such as the AUC of answers that were all right."""

    n: int = Field(description="Predicted tasks that have been completed.")
    log_loss: float | None = Field(description="Of the probabilities, nats; 0.69 is a coin flip, less is better.")
    auc: float | None = Field(description="Chance that a right answer had been given more than a wrong one.")
    brier: float | None
    calibration_error: float | None = Field(description="Mean gap of promised and real share right, in ten bins.")
    rmse_log_time: float | None
    mae_seconds: float | None
    time_interval_coverage: float | None = Field(description="Share of times in their intervals; 0.8 is meant.")


class DayOut(Quality):
    day: date = Field(description="Of completion, UTC.")


class KindQuality(Quality):
    """All versions of one kind together."""

    kind: str = Field(description="embedding_v2, embedding_lstm, lnirt, or prior before there was any model.")
    role: Literal["served", "shadow"] = Field(description="The student saw its prediction, or it was only recorded.")
    by_day: list[DayOut]


class VersionQuality(KindQuality):
    """One version."""

    id: int | None = Field(description="Null for the prior.")


class Comparison(BaseModel):
    """The live quality of all versions that predicted something which was completed in these days."""

    days: int = Field(description="Whole days, UTC; today is the last of them.")
    text: str = Field(description="The outcome in a sentence or two.")
    kinds: list[KindQuality]
    versions: list[VersionQuality] = Field(description="The newest that predicted something; the prior comes last.")
