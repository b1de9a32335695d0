"""Several kinds answer together: a linear pool of their chances and of their log times."""

from collections.abc import Sequence
from math import exp, log
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from app.domain.kinds import BASE
from app.domain.shares import Share, Shares
from app.ml.answers import Answer, Answers

Floats = NDArray[np.float64]
T = TypeVar("T", float, Floats)
SECONDS = "seconds"  # how the names of times begin


def pool(parts: Sequence[tuple[Answers, Share]]) -> Answers:
    """What several kinds say together of n tasks; the shares need not add up to 1, a part may have failed."""
    chance, time = _parts([share for _, share in parts])
    columns = {name: [getattr(said, name) for said, _ in parts] for name in Answers.__slots__}
    logs = {name: [np.log(each) for each in columns[name]] for name in Answers.__slots__ if name.startswith(SECONDS)}
    return Answers(
        **{name: np.exp(_sum(logs[name], time)) if name in logs else _sum(columns[name], chance) for name in columns}
    )


def pool_one(parts: Sequence[tuple[Answer, Share]]) -> Answer:
    """The same of one task, in plain numbers, which is quicker."""
    chance, time = _parts([share for _, share in parts])
    found = {}
    for name in Answer.__slots__:
        values = [getattr(said, name) for said, _ in parts]
        is_time = name.startswith(SECONDS)
        found[name] = exp(_sum([log(each) for each in values], time)) if is_time else _sum(values, chance)
    return Answer(**found)


def _parts(shares: Sequence[Share]) -> tuple[list[float], list[float]]:
    """The shares of chance and time, adding up to 1 each."""
    found = []
    for values in ([share.chance for share in shares], [share.time for share in shares]):
        total = sum(values)
        found.append([value / total for value in values] if total else [1 / len(values)] * len(values))
    return found[0], found[1]


def _sum(values: Sequence[T], shares: Sequence[float]) -> T:
    total = values[0] * shares[0]
    for value, share in zip(values[1:], shares[1:], strict=True):
        total = total + value * share
    return total


def in_words(found: Shares) -> str:
    """How much each contributes, for the log, the API and the row of a run."""
    names = {kind: "LNIRT" if kind == BASE else kind for kind in found}
    parts = [
        f"{names[kind]} {share.chance:.0%} of the chance and {share.time:.0%} of the time"
        for kind, share in sorted(found.items(), key=lambda pair: -pair[1].chance - pair[1].time)
        if share.has_part
    ]
    return "; ".join(parts)
