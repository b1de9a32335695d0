"""Whether what the model is asked now still looks like what it learned from.

Each input is cut into ten parts of about equal size by the newest tasks that the model was fitted on. The population
stability index compares the shares of the newest predictions with those: the sum over the parts of
(now - then) * ln(now / then). Below 0.1 nothing much has moved, above 0.25 a lot has.

How many tasks a student has done only ever grows, so these inputs are shown but don't decide.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from app.crud import live
from app.domain.attempts import Attempts
from app.ml.drift_words import WORDS, sentence
from app.ml.inputs import INPUTS, inputs_of, known_before, newest_of
from app.schemas.live import DriftOut, InputDrift

Floats = NDArray[np.float64]

PARTS = 10
NEWEST_FITTED = 5_000  # rows: those before are too long ago to compare with
NEWEST_ASKED = 1_000
LEAST = 100  # tasks, on either side
SHIFTED, STRONGLY = 0.1, 0.25
NOT_LUCK = 3.5  # standard deviations, for there are 24 inputs
MOST_NAMES = 2_000  # topics, items: of more only the number is known
DIGITS = 8  # hexadecimal, of a name
CLOSE = 1e-6
DECIMALS = 7
GROWING = frozenset(name for name in INPUTS if name.endswith("task_count"))


def summary(fitted_on: Attempts) -> dict[str, Any]:
    """What the model learned from, in a few kilobytes: kept with the version."""
    rows = newest_of(known_before(fitted_on), NEWEST_FITTED)
    columns = inputs_of(rows)
    parts = {name: _parts(columns[:, place]) for place, name in enumerate(INPUTS)}
    named = fitted_on.item[fitted_on.item >= 0]
    return {
        "rows": len(columns),
        "parts": parts,
        "topics": _digests(fitted_on.topics[place] for place in np.unique(fitted_on.topic).tolist()),
        "items": _digests(fitted_on.items[place] for place in np.unique(named).tolist()),
    }


def _parts(column: Floats) -> dict[str, list[float]]:
    """Where the column is cut, and how many rows lie in each part; a value that many rows share is a part by itself."""
    cuts, times = np.unique(np.quantile(column, np.arange(1, PARTS) / PARTS, method="nearest"), return_counts=True)
    shared = (times > 1) | (len(np.unique(column)) <= PARTS)
    edges = np.sort(np.concatenate([cuts[~shared], cuts[shared] - CLOSE, cuts[shared] + CLOSE]))
    return {"edges": np.round(edges, DECIMALS).tolist(), "rows": _counted(column, edges).tolist()}


def _counted(column: Floats, edges: Floats) -> NDArray[np.int64]:
    return np.bincount(np.searchsorted(edges, column, side="right"), minlength=len(edges) + 1)


def _digests(names: Iterable[str]) -> str | None:
    """The names, so that one can be looked up but none be read; none where there are too many."""
    found = [_digest(name) for name in names]
    return "".join(sorted(found)) if len(found) <= MOST_NAMES else None


def _digest(name: str) -> str:
    return sha256(name.encode()).hexdigest()[:DIGITS]


@dataclass(frozen=True, slots=True)
class Shift:
    """How far one input has moved."""

    name: str
    psi: float
    by_chance: float  # so much two samples of the same may differ

    @property
    def grade(self) -> int:
        """0 steady, 1 shifted, 2 strongly shifted."""
        return 0 if self.psi <= self.by_chance else (self.psi >= SHIFTED) + (self.psi >= STRONGLY)

    @property
    def counts(self) -> bool:
        return self.name not in GROWING


def shifts(then: Mapping[str, Any], now: Floats) -> list[Shift]:
    """Every input's, the furthest moved first; `now` is (n, 24)."""
    known = [(place, name, then["parts"][name]) for place, name in enumerate(INPUTS) if name in then["parts"]]
    found = [_shift(name, parts, now[:, place]) for place, name, parts in known]
    return sorted(found, key=lambda shift: -shift.psi)


def _shift(name: str, parts: Mapping[str, Sequence[float]], now: Floats) -> Shift:
    before, after = np.asarray(parts["rows"], np.float64), _counted(now, np.asarray(parts["edges"], np.float64))
    occur = (before + after) > 0
    p, q = (_shares(counts[occur]) for counts in (before, after))
    psi = float(((q - p) * np.log(q / p)).sum())
    # Twice the information that tells the samples apart is chi-squared where nothing does.
    return Shift(name, psi, _by_chance(max(int(occur.sum()) - 1, 1)) * (1 / before.sum() + 1 / len(now)))


def _by_chance(freedom: int) -> float:
    """What chi-squared hardly ever exceeds (Wilson and Hilferty 1931)."""
    variance = 2 / (9 * freedom)
    return float(freedom * (1 - variance + NOT_LUCK * variance**0.5) ** 3)


def _shares(counts: NDArray[Any]) -> Floats:
    """Half a row more in each part, so that none is empty."""
    filled = counts + 0.5
    shares: Floats = filled / filled.sum()
    return shares


def drift(db: Session, version_id: int | None, then: Mapping[str, Any] | None) -> DriftOut:
    """The newest predictions against what this version, the answering one, learned from."""
    if version_id is None:
        return DriftOut(text="No model answers yet, so there is nothing to compare with.")
    if not then:
        return DriftOut(text=f"Version {version_id} was trained before it was kept what versions learn from.")
    now = live.inputs(db, len(INPUTS), NEWEST_ASKED)
    if min(len(now), then["rows"]) < LEAST:
        less = f"there are {len(now)}" if len(now) < LEAST else f"the model learned from {then['rows']}"
        return DriftOut(n=len(now), model_version_id=version_id, text=f"Drift speaks from {LEAST} tasks on; {less}.")
    topics, items = live.names(db, len(INPUTS), NEWEST_ASKED)
    return _told(
        version_id, shifts(then, now), len(now), _unseen(then["topics"], topics), _unseen(then["items"], items)
    )


def _told(version_id: int, found: list[Shift], n: int, topics: float | None, items: float | None) -> DriftOut:
    grade = max([shift.grade for shift in found if shift.counts], default=0)
    grade = max(grade, ((topics or 0) >= SHIFTED) + ((topics or 0) >= STRONGLY))
    return DriftOut(
        n=n,
        model_version_id=version_id,
        verdict=("steady", "shifted", "strongly shifted")[grade],
        unseen_topics=topics,
        unseen_items=items,
        inputs=[_out(shift) for shift in found],
        text=sentence(grade, [shift.name for shift in found if shift.counts and shift.grade == grade], n, topics),
    )


def _out(shift: Shift) -> InputDrift:
    return InputDrift(
        name=shift.name,
        words=WORDS[shift.name],
        psi=round(shift.psi, 4),
        by_chance=round(shift.by_chance, 4),
        verdict=("steady", "shifted", "strongly shifted")[shift.grade],
        decides=shift.counts,
    )


def _unseen(known: str | None, asked: Sequence[str]) -> float | None:
    """The share of names that the model never saw; none where it saw too many to keep, or none is asked."""
    if known is None or not asked:
        return None
    seen = {known[start : start + DIGITS] for start in range(0, len(known), DIGITS)}
    return sum(_digest(name) not in seen for name in asked) / len(asked)
