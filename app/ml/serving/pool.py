"""Several kinds answer together: a linear pool of their chances and of their log times."""

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from app.domain.kinds import BASE
from app.domain.shares import Share, Shares
from app.ml.answers import Answer, Answers

T = TypeVar("T", Answer, Answers)
SECONDS = "seconds"  # how the names of times begin


def pool(parts: Sequence[tuple[T, Share]]) -> T:
    """What several kinds say together, of one task or of n; the shares need not add up to 1, a part may have failed.

    Of a single task it reckons in plain numbers, which is quicker.
    """
    of_answer = type(parts[0][0])
    exp, log = (np.exp, np.log) if of_answer is Answers else (math.exp, math.log)
    chance, time = (_normed([getattr(share, what) for _, share in parts]) for what in ("chance", "time"))
    found = dict[str, Any]()
    for name in of_answer.__slots__:
        values = [getattr(said, name) for said, _ in parts]
        if name.startswith(SECONDS):
            found[name] = exp(sum(log(value) * share for value, share in zip(values, time, strict=True)))
        else:
            found[name] = sum(value * share for value, share in zip(values, chance, strict=True))
    return of_answer(**found)


def _normed(shares: Sequence[float]) -> list[float]:
    """The same adding up to 1; equal ones where all are 0."""
    total = sum(shares)
    return [share / total if total else 1 / len(shares) for share in shares]


def in_words(found: Shares) -> str:
    """How much each contributes, for the log, the API and the row of a run."""
    names = {kind: "LNIRT" if kind == BASE else kind for kind in found}
    parts = [
        f"{names[kind]} {share.chance:.0%} of the chance and {share.time:.0%} of the time"
        for kind, share in sorted(found.items(), key=lambda pair: -pair[1].chance - pair[1].time)
        if share.has_part
    ]
    return "; ".join(parts)
