"""What an explanation holds; the API's schema (app/schemas/explanation.py) has the fields' descriptions."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

HALF_A_POINT, HALF_A_SECOND = 0.005, 0.5  # less is rounded to nothing


@dataclass(frozen=True, slots=True)
class Foreseen:
    """A prediction within the service's limits."""

    correctness_prob: float
    estimated_time_seconds: float


@dataclass(frozen=True, slots=True)
class Effect:
    """How far something moved the probability and the seconds, and that in words."""

    correctness_effect: float
    time_effect_seconds: float
    text: str

    @property
    def is_seen(self) -> bool:
        """Whether it is 0 neither in points of a hundred nor in seconds."""
        return abs(self.correctness_effect) >= HALF_A_POINT or abs(self.time_effect_seconds) >= HALF_A_SECOND


@dataclass(frozen=True, slots=True)
class FeatureEffect(Effect):
    """Of one of the eleven features; values in shares, seconds or tasks."""

    feature: str
    value: float
    average: float


@dataclass(frozen=True, slots=True)
class PartEffect(Effect):
    """Of one part of the task, on LNIRT's prediction."""

    part: str


@dataclass(frozen=True, slots=True)
class KindAnswer:
    """What one kind of model says of the task, before the service's limits, and its shares of what is answered."""

    kind: str
    version_id: int
    answered: bool
    chance_share: float
    time_share: float
    correctness_prob: float
    estimated_time_seconds: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """The prediction, set against that for an average student; the effects add up to the difference."""

    task_id: UUID
    model_version: str | None
    model_version_id: int | None
    prediction: Foreseen
    kinds: Sequence[KindAnswer]
    text: str
    explained_by_version_id: int | None = None
    average_student: Foreseen | None = None
    features: Sequence[FeatureEffect] = ()
    parts: Sequence[PartEffect] = ()
    known: int = 0  # tasks of the student that it was made from

    @property
    def is_moved(self) -> bool:
        """Whether anything moved it so far that one sees it."""
        return any(each.is_seen for each in (*self.features, *self.parts))
