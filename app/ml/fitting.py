"""What the trainings of all networks share: how they fail, tell how far they are, and number the names they know."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.domain.attempts import Attempts
from app.ml import metrics
from app.ml.networks.calibration import INTERCEPT_SD, Calibration
from app.ml.inputs import inputs_of, known_before

Floats = NDArray[np.float64]
Progress = Callable[[dict[str, Any]], None]


LEAST = 8  # attempts
MOST_HELD_OUT = 5_000  # rows
AGAIN = 0.05  # share held out, from which it is worth while to learn from these rows too
MOST_STUDENTS, MOST_ITEMS = 2_000, 4_000  # that have a vector of their own, those with most tasks
REPLAY = 8  # older tasks for each new one, when a training goes on
LEAST_LEARNT = 128  # tasks together, where there are so many
MOST_LEARNT = 20_000
FEW = 10  # newest rows: with these, an epoch must be two standard errors better than the constant


NOBODY = np.zeros(0, np.int32)


class TrainingFailed(ValueError):
    """No model came out; the message says why in one sentence."""


@dataclass(frozen=True, slots=True)
class Names:
    """The ids that have a vector of their own, in embedding order from index 1."""

    known: tuple[str, ...]
    places: NDArray[np.int32]  # position in the attempts' ids -> index in the embedding, 0 = unknown

    @classmethod
    def seen(cls, names: Sequence[str], rows: NDArray[np.int32], most: int | None = None) -> "Names":
        """Only ids that the training part shows can have learnt anything, those with most rows if there are more than
        `most`; a row of -1 names none."""
        used, counts = np.unique(rows[rows >= 0], return_counts=True)
        if most is not None and len(used) > most:
            used = np.sort(used[np.argsort(-counts, kind="stable")[:most]])
        places = np.zeros(len(names), np.int32)
        places[used] = np.arange(1, len(used) + 1)
        return cls(tuple(names[place] for place in used), places)

    @classmethod
    def of_known(cls, known: Sequence[str]) -> "Names":
        """Of a model that was kept; `among` says where they stand in other attempts."""
        return cls(tuple(known), np.zeros(0, np.int32))

    def among(self, names: Sequence[str], rows: NDArray[np.int32] = NOBODY, most: int | None = None) -> "Names":
        """The same, and behind them what these rows name besides, until there are `most`."""
        index = {name: place for place, name in enumerate(self.known, start=1)}
        fresh = [names[place] for place in np.unique(rows[rows >= 0]) if names[place] not in index]
        known = (*self.known, *fresh[: None if most is None else max(0, most - len(self.known))])
        index = {name: place for place, name in enumerate(known, start=1)}
        return Names(known, np.array([index.get(name, 0) for name in names], np.int32))

    def of(self, rows: NDArray[np.int32]) -> NDArray[np.int32]:
        """Index in the embedding of each row's id; -1 counts as unknown."""
        return np.append(self.places, np.int32(0))[rows]


def checked_inputs(attempts: Attempts) -> Floats:
    """What was known of each of n attempts, (n, 24); raises TrainingFailed where there is nothing to learn from."""
    if len(attempts) < LEAST:
        raise TrainingFailed(f"expected at least {LEAST} attempts, got {len(attempts)}")
    wrong = ~(np.isfinite(attempts.seconds) & (attempts.seconds > 0))
    if wrong.any():
        raise TrainingFailed(f"expected times above 0 seconds, got {attempts.seconds[wrong][0]}")
    inputs = inputs_of(known_before(attempts))
    if not np.isfinite(inputs).all():
        raise TrainingFailed("expected finite inputs")
    return inputs


def some_students(attempts: Attempts, most: int, seed: int) -> NDArray[np.bool_]:
    """The rows of students drawn at random, about `most` of n; (n,)."""
    order = np.random.default_rng(seed).permutation(len(attempts.students))
    rows = np.cumsum(np.bincount(attempts.student, minlength=len(order))[order])
    return np.isin(attempts.student, order[: np.searchsorted(rows, most, side="right") + 1])


def replayed(fresh: NDArray[np.bool_], seed: int) -> NDArray[np.intp]:
    """Which of n attempts a training that goes on learns from: the fresh ones and a sample of the others, ascending."""
    random = np.random.default_rng([seed, len(fresh)])
    new, old = np.flatnonzero(fresh), np.flatnonzero(~fresh)
    if len(new) > MOST_LEARNT // (1 + REPLAY):
        new = random.choice(new, MOST_LEARNT // (1 + REPLAY), replace=False)
    wanted = max(REPLAY * len(new), LEAST_LEARNT - len(new))
    return np.sort(np.concatenate([new, random.choice(old, min(wanted, len(old)), replace=False)]))


def convincing(constant: Floats, losses: Floats) -> NDArray[np.bool_]:
    """Of two networks, whether they beat the constant on n rows, (2, n) each: by a standard error, by several with few
    rows. Two lucky ones elect nobody."""
    gain = constant - losses
    n = gain.shape[1]
    error = np.sqrt(np.square(gain).mean(axis=1) / n)
    return np.asarray(gain.mean(axis=1) > error * (1 + FEW / n))


@dataclass(frozen=True, slots=True)
class HeldOut:
    """k tasks that were answered before they were learnt from, oldest first: what calibrates. (k,) each."""

    p: Floats = field(default_factory=lambda: np.zeros(0))
    predicted: Floats = field(default_factory=lambda: np.zeros(0))  # seconds
    correct: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    seconds: Floats = field(default_factory=lambda: np.zeros(0))

    def calibration(self, intercept_sd: float = INTERCEPT_SD) -> Calibration:
        return Calibration.fitted(self.correct, self.p, self.seconds, self.predicted, intercept_sd=intercept_sd)

    def and_then(self, newer: "HeldOut", most: int) -> "HeldOut":
        """These and newer ones, the newest `most` of them."""
        return HeldOut(*(np.concatenate([getattr(self, n), getattr(newer, n)])[-most:] for n in self.__slots__))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """For `np.savez`."""
        return {f"held_out.{name}": getattr(self, name) for name in self.__slots__}

    @classmethod
    def of_arrays(cls, kept: Mapping[str, NDArray[Any]]) -> "HeldOut":
        """Back from `arrays`."""
        return cls(*(kept[f"held_out.{name}"] for name in cls.__slots__))


def report(tried: HeldOut, constant: Floats) -> dict[str, Any]:
    """Scores on the n rows that the epochs were chosen by; `constant` holds the constant's losses there, (2, n).

    Raises TrainingFailed where a prediction is no finite number.
    """
    if not (np.isfinite(tried.p).all() and np.isfinite(tried.predicted).all() and (tried.predicted > 0).all()):
        raise TrainingFailed("the trained model gives predictions that are no finite numbers")
    area = metrics.auc(tried.correct, tried.p)
    losses = constant.mean(axis=1)
    return {
        "held_out_rows": len(tried.p),
        "auc": None if np.isnan(area) else area,
        "log_loss": metrics.log_loss(tried.correct, tried.p),
        "brier": metrics.brier(tried.correct, tried.p),
        "rmse_log_time": metrics.rmse_log_time(tried.seconds, tried.predicted),
        "mae_seconds": metrics.mae_seconds(tried.seconds, tried.predicted),
        "constant_log_loss": float(losses[0]),
        "constant_rmse_log_time": float(np.sqrt(losses[1])),
    }
