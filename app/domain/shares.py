"""How much each kind of model has to say of what is answered."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.domain.tasks import Contributions


@dataclass(frozen=True, slots=True)
class Share:
    """What one kind has of the chance and of the time, 0-1."""

    chance: float = 0.0
    time: float = 0.0

    @property
    def has_part(self) -> bool:
        return self.chance > 0 or self.time > 0


Shares = Mapping[str, Share]
ALL = Share(1.0, 1.0)


def as_contributions(shares: Shares) -> dict[str, list[float]]:
    """Write shares as they stand on a task."""
    return {kind: [share.chance, share.time] for kind, share in shares.items()}


def of_contributions(kept: Contributions) -> dict[str, Share]:
    """Read what `as_contributions` wrote."""
    return {kind: Share(*each) for kind, each in kept.items()}
