"""How much each kind of model has to say of what is answered."""

from collections.abc import Mapping
from dataclasses import dataclass


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
