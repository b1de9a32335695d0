"""Several kinds answer together: a linear pool of their chances and of their log times."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.domain.kinds import BASE
from app.ml.answers import Answers

Floats = NDArray[np.float64]


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


def pool(parts: Sequence[tuple[Answers, Share]]) -> Answers:
    """What several kinds say together of n tasks; the shares need not add up to 1, a part may have failed."""
    if len(parts) == 1:
        return parts[0][0]
    chance, time = (np.array([getattr(share, what) for _, share in parts]) for what in ("chance", "time"))
    chance, time = (each / each.sum() if each.sum() else np.full(len(each), 1 / len(each)) for each in (chance, time))

    def linear(name: str) -> Floats:
        return np.asarray(sum(share * getattr(said, name) for (said, _), share in zip(parts, chance, strict=True)))

    def geometric(name: str) -> Floats:
        logs = (share * np.log(getattr(said, name)) for (said, _), share in zip(parts, time, strict=True))
        return np.exp(np.asarray(sum(logs), np.float64))

    return Answers(
        linear("probability"), geometric("seconds"), linear("probability_low"), linear("probability_high"),
        geometric("seconds_low"), geometric("seconds_high"),
    )  # fmt: skip


def in_words(found: Shares) -> str:
    """How much each contributes, for the log, the API and the row of a run."""
    names = {kind: "LNIRT" if kind == BASE else kind for kind in found}
    parts = [
        f"{names[kind]} {share.chance:.0%} of the chance and {share.time:.0%} of the time"
        for kind, share in sorted(found.items(), key=lambda pair: -pair[1].chance - pair[1].time)
        if share.has_part
    ]
    return "; ".join(parts)
