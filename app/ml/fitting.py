"""What the trainings of all networks share: how they fail, tell how far they are, and number the names they know."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.domain.attempts import Attempts
from app.ml import metrics
from app.ml.inputs import inputs_of, known_before

Floats = NDArray[np.float64]
Progress = Callable[[dict[str, Any]], None]


LEAST = 8  # attempts
FEW = 10  # newest rows: with these, an epoch must be two standard errors better than the constant


class TrainingFailed(ValueError):
    """No model came out; the message says why in one sentence."""


@dataclass(frozen=True, slots=True)
class Names:
    """The ids that have a vector of their own, in embedding order from index 1."""

    known: tuple[str, ...]
    places: NDArray[np.int32]  # position in the attempts' ids -> index in the embedding, 0 = unknown

    @classmethod
    def seen(cls, names: Sequence[str], rows: NDArray[np.int32]) -> "Names":
        """Only ids that the training part shows can have learnt anything; a row of -1 names none."""
        used = np.unique(rows[rows >= 0])
        places = np.zeros(len(names), np.int32)
        places[used] = np.arange(1, len(used) + 1)
        return cls(tuple(names[place] for place in used), places)

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


def convincing(constant: Floats, losses: Floats) -> NDArray[np.bool_]:
    """Of two networks, whether they beat the constant on n rows, (2, n) each: by a standard error, by several with few
    rows. Two lucky ones elect nobody."""
    gain = constant - losses
    n = gain.shape[1]
    error = np.sqrt(np.square(gain).mean(axis=1) / n)
    return np.asarray(gain.mean(axis=1) > error * (1 + FEW / n))


def report(newest: Attempts, p: Floats, seconds: Floats, constant: Floats) -> dict[str, Any]:
    """Scores on the n rows that the epochs were chosen by; `constant` holds the constant's losses there, (2, n).

    Raises TrainingFailed where a prediction is no finite number.
    """
    if not (np.isfinite(p).all() and np.isfinite(seconds).all() and (seconds > 0).all()):
        raise TrainingFailed("the trained model gives predictions that are no finite numbers")
    area = metrics.auc(newest.correct, p)
    losses = constant.mean(axis=1)
    return {
        "held_out_rows": len(newest),
        "auc": None if np.isnan(area) else area,
        "log_loss": metrics.log_loss(newest.correct, p),
        "brier": metrics.brier(newest.correct, p),
        "rmse_log_time": metrics.rmse_log_time(newest.seconds, seconds),
        "mae_seconds": metrics.mae_seconds(newest.seconds, seconds),
        "constant_log_loss": float(losses[0]),
        "constant_rmse_log_time": float(np.sqrt(losses[1])),
    }
