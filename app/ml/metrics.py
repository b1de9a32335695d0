"""How good predictions were: correctness (probabilities) and time (seconds). Everything (n,) in, one number out."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.domain.attempts import plausible

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

BINS = 10
TINY = 1e-15
ORDINARY = 3.0  # students in the middle, that one student counts for at most
LEAST_CAP = 5.0  # rows


@dataclass(frozen=True, slots=True)
class Scores:
    """How good n predictions were; None where it is not defined, such as the AUC of answers that were all right."""

    auc: float | None
    log_loss: float | None  # nats
    brier: float | None
    calibration_error: float | None
    rmse_log_time: float | None
    mae_seconds: float | None
    time_interval_coverage: float | None  # of the tasks that came with an interval


def summary(
    correct: Bools, p: Floats, seconds: Floats, predicted: Floats, low: Floats | None = None, high: Floats | None = None
) -> Scores:
    """All scores of n predictions, (n,) each; times and 10-90 % bounds that are not known (NaN) count for nothing."""
    if len(correct) == 0:
        return Scores(*[None] * 7)
    low, high = (np.full(len(p), math.nan) if bound is None else bound for bound in (low, high))
    timed = np.isfinite(seconds)
    bounded = timed & ~np.isnan(low) & ~np.isnan(high)
    found = (
        auc(correct, p),
        log_loss(correct, p),
        brier(correct, p),
        calibration_error(correct, p),
        rmse_log_time(seconds[timed], predicted[timed]) if timed.any() else math.nan,
        mae_seconds(seconds[timed], predicted[timed]) if timed.any() else math.nan,
        coverage(seconds[bounded], low[bounded], high[bounded]) if bounded.any() else math.nan,
    )
    return Scores(*(score if math.isfinite(score) else None for score in found))


def auc(correct: Bools, p: Floats) -> float:
    """Chance that a correct answer was given the higher probability, ties counting half; nan with one class only."""
    right = int(np.count_nonzero(correct))
    wrong = len(correct) - right
    if right == 0 or wrong == 0:
        return float("nan")
    _, place, size = np.unique(p, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(size) - (size - 1) / 2)[place]  # from 1, ties share their mean
    return float((ranks[correct].sum() - right * (right + 1) / 2) / (right * wrong))


def log_loss(correct: Bools, p: Floats) -> float:
    """Mean negative log-likelihood, nats."""
    return float(losses(correct, p).mean())


def losses(correct: Bools, p: Floats) -> Floats:
    """The negative log-likelihood of each, nats, (n,)."""
    said = np.where(correct, p, 1 - p)
    each: Floats = -np.log(np.clip(said, TINY, 1))
    return each


def brier(correct: Bools, p: Floats) -> float:
    """Mean squared error of the probabilities."""
    return float(np.square(p - correct).mean())


def calibration_error(correct: Bools, p: Floats) -> float:
    """Expected calibration error: |share correct - mean probability| in ten equal-width bins, weighted by rows."""
    place = np.minimum((p * BINS).astype(np.int64), BINS - 1)
    gaps = np.bincount(place, correct - p, minlength=BINS)
    return float(np.abs(gaps).sum() / len(p))


def reliability(correct: Bools, p: Floats, least: int = 1) -> list[tuple[float, float, int]]:
    """By tenths of the probability, where there are so many rows: mean probability, share correct, rows."""
    place = np.minimum((p * BINS).astype(np.int64), BINS - 1)
    rows = np.bincount(place, minlength=BINS)
    said, right = (np.bincount(place, values, BINS) for values in (p, correct))
    return [(float(said[k] / rows[k]), float(right[k] / rows[k]), int(rows[k])) for k in np.flatnonzero(rows >= least)]


def rmse_log_time(seconds: Floats, predicted: Floats) -> float:
    """Root mean squared error of natural log seconds."""
    return float(np.sqrt(np.square(np.log(predicted) - np.log(plausible(seconds))).mean()))


def mae_seconds(seconds: Floats, predicted: Floats) -> float:
    """Mean absolute error, seconds."""
    return float(np.abs(predicted - seconds).mean())


def coverage(seconds: Floats, low: Floats, high: Floats) -> float:
    """Share of the times within their intervals."""
    return float(((low <= seconds) & (seconds <= high)).mean())


def weights(student: NDArray[np.int32]) -> Floats:
    """Of n rows, adding up to 1; a student's rows together count for those of a few students in the middle at most."""
    rows = np.bincount(student)
    cap = max(ORDINARY * float(np.median(rows[rows > 0])), LEAST_CAP)
    weight = np.minimum(1.0, cap / rows[student])
    return np.asarray(weight / weight.sum(), np.float64)
