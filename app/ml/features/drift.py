"""Whether what the model is asked now still looks like what it learned from.

Each input is cut into ten parts of about equal size by the newest tasks that the model was fitted on. The population
stability index compares the shares of the newest predictions with those: the sum over the parts of
(now - then) * ln(now / then). Below 0.1 nothing much has moved, above 0.25 a lot has.

Everybody's past grows, and that alone changes the inputs: like is compared with like, each task with those that were
learned from students with about as long a past. How many tasks were done and how long ago is shown, but doesn't
decide. And the tasks of one student resemble each other: what two samples may differ by chance follows from how much
students differ.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.domain.attempts import Attempts
from app.ml.features.history import COUNT_UNITS
from app.ml.features.inputs import INPUTS, inputs_at

Floats = NDArray[np.float64]

PARTS = 10
NEWEST_FITTED = 50_000  # rows: those before are too long ago to compare with
LOOKED_AT = 5_000  # of them, evenly spaced
SHIFTED, STRONGLY = 0.1, 0.25
PASTS = (1, 5, 10, 20, 40, 80, 160)  # tasks finished before: where one length of a past ends and the next begins
LEAST_ALIKE = 20  # rows with about as long a past; with fewer the nearest length stands in
LUCK = 5.0  # times what is expected by chance: hardly ever exceeded, even with 24 inputs
MOST_NAMES = 500  # topics, items: of more only the number is known
DIGITS = 8  # hexadecimal, of a name
CLOSE = 1e-6
DECIMALS = 7
# They grow, or follow the hour of the day: all students begin and end a lesson together.
ONLY_SHOWN = frozenset(name for name in INPUTS if name.endswith("_count") or name.startswith(("log_since", "session")))


def summary(fitted_on: Attempts) -> dict[str, Any]:
    """What the model learned from, in a few kilobytes: kept with the version."""
    newest = min(len(fitted_on), NEWEST_FITTED)
    rows = np.arange(len(fitted_on) - newest, len(fitted_on), -(-newest // LOOKED_AT))
    columns = inputs_at(fitted_on, rows).astype(np.float64)
    asked = Asked(columns, fitted_on.student[rows])
    return {
        "rows": len(columns),
        "students": asked.students,
        "parts": {name: _parts(asked, columns[:, place]) for place, name in enumerate(INPUTS)},
        "topics": _digests(fitted_on.topics[place] for place in np.flatnonzero(np.bincount(fitted_on.topic)).tolist()),
        "items": _digests(
            fitted_on.items[place] for place in np.flatnonzero(np.bincount(fitted_on.item + 1)[1:]).tolist()
        ),
    }


def _parts(asked: "Asked", column: Floats) -> dict[str, Any]:
    """Where the column is cut, and the rows in each part by length of past; a value that many share is a part."""
    cuts, times = np.unique(np.quantile(column, np.arange(1, PARTS) / PARTS, method="nearest"), return_counts=True)
    shared = (times > 1) | (len(np.unique(column)) <= PARTS)
    edges = np.round(np.sort(np.concatenate([cuts[~shared], cuts[shared] - CLOSE, cuts[shared] + CLOSE])), DECIMALS)
    parts = np.searchsorted(edges, column, side="right")
    rows = asked.by_past(parts, len(edges) + 1).tolist()
    return {"edges": edges.tolist(), "rows": rows, "noise": round(asked.noise(parts, len(edges) + 1), DECIMALS)}


class Asked:
    """Inputs of n tasks and whose they are."""

    def __init__(self, inputs: Floats, students: NDArray[Any]) -> None:
        self.inputs = inputs
        self._student = np.unique(students, return_inverse=True)[1].reshape(-1)
        tasks = np.rint(inputs[:, INPUTS.index("overall_task_count")] * COUNT_UNITS[0])
        self._past = np.searchsorted(PASTS, tasks, side="right")

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def students(self) -> float:
        """How many, if all had done as many tasks."""
        return float(len(self) ** 2 / np.square(np.bincount(self._student).astype(np.float64)).sum())

    def by_past(self, parts: NDArray[np.int64], n: int) -> NDArray[np.int64]:
        """How many rows lie in each part, by length of past, (8, n)."""
        return _table(self._past, parts, len(PASTS) + 1, n)

    def noise(self, parts: NDArray[np.int64], n: int) -> float:
        """What the index is expected to be for other students of the same kind: the variance of the shares among the
        students, each over its share. With one task a student that is (parts - 1) / tasks, as in any sample."""
        of_student = _table(self._student, parts, int(self._student.max()) + 1, n).astype(np.float64)
        weight = of_student.sum(axis=1) / len(self)
        share = of_student.sum(axis=0) / len(self)
        apart = of_student / of_student.sum(axis=1, keepdims=True) - share
        variance = np.square(weight[:, None] * apart).sum(axis=0)
        few = len(weight) / max(len(weight) - 1, 0.5)
        there = share > 0
        return float(min((variance[there] / share[there]).sum() * few, n - 1))


def _table(rows: NDArray[Any], columns: NDArray[Any], n_rows: int, n_columns: int) -> NDArray[np.int64]:
    return np.bincount(rows * n_columns + columns, minlength=n_rows * n_columns).reshape(n_rows, n_columns)


def _digests(names: Iterable[str]) -> str | None:
    """The names, so that one can be looked up but none be read; none where there are too many."""
    found = [digest(name) for name in names]
    return "".join(sorted(found)) if len(found) <= MOST_NAMES else None


def digest(name: str) -> str:
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
        return 0 if self.psi <= self.by_chance else grade_of(self.psi)

    @property
    def counts(self) -> bool:
        return self.name not in ONLY_SHOWN


def grade_of(size: float) -> int:
    """Of an index or a share, as in `Shift.grade`."""
    return (size >= SHIFTED) + (size >= STRONGLY)


def shifts(then: Mapping[str, Any], now: Asked) -> list[Shift]:
    """Every input's, the furthest moved first."""
    known = [(name, then["parts"][name]) for name in INPUTS if name in then["parts"]]
    return sorted((_shift(name, parts, now, then["students"]) for name, parts in known), key=lambda shift: -shift.psi)


def _shift(name: str, then: Mapping[str, Any], now: Asked, students: float) -> Shift:
    before = np.asarray(then["rows"], np.float64)
    parts = np.searchsorted(then["edges"], now.inputs[:, INPUTS.index(name)], side="right")
    after = now.by_past(parts, before.shape[1])
    expected, worth = _alike(before, after.sum(axis=1) / len(now))
    p, q = _shares(expected * worth), _shares(after.sum(axis=0))
    psi = float(((q - p) * np.log(q / p)).sum())
    noise = then["noise"] * before.sum() / worth
    as_then = then["noise"] * students / now.students  # a few students may look more alike than students are
    return Shift(name, psi, LUCK * (noise + max(now.noise(parts, before.shape[1]), as_then)))


def _alike(before: Floats, pasts: Floats) -> tuple[Floats, float]:
    """The shares that were to be expected of tasks with pasts of these lengths, and how many rows they are worth."""
    rows = before.sum(axis=1)
    enough = np.flatnonzero(rows >= min(LEAST_ALIKE, rows.max()))
    nearest = enough[np.abs(np.arange(len(rows))[:, None] - enough).argmin(axis=1)]
    weights = np.bincount(nearest, pasts, minlength=len(rows))[enough]
    shares: Floats = weights @ (before[enough] / rows[enough, None])
    return shares, float(1 / (np.square(weights) / rows[enough]).sum())


def _shares(counts: NDArray[Any]) -> Floats:
    """Half a row more in each part, so that none is empty."""
    return np.asarray((counts + 0.5) / (counts + 0.5).sum())
