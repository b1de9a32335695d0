"""What a model says is made honest on tasks that it was not fitted on: probabilities, the typical time, and how sure.

Probabilities are calibrated on the logit scale (Platt 1999: slope and intercept, so that temperature scaling is the
case without intercept), with a prior that keeps them as they are while there are few tasks. Times are shifted towards
the median, and their interval spans the 10 and 90 % quantiles, of the held-out residuals on the log scale.
"""

from dataclasses import asdict, dataclass
from functools import cached_property
from math import exp
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, expit, logit

from app.domain.attempts import plausible
from app.ml.answers import Answers

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

TINY = 1e-6
SLOPE_SD = 0.3  # prior standard deviation of log slope
INTERCEPT_SD = 0.1  # of the intercept, logits
CARRIED_ON = 0.5  # of a level that the newest tasks show: it drifts, and is not the same for everybody
UNSURE = 1.0  # logits: how far the bounds are while there are too few held-out rows to tell
BINS = 10
BIN_ROWS = 30  # held-out rows in a bin of the reliability, at the least
LOW, HIGH = 0.1, 0.9
USUAL_SPREAD = 0.6  # log seconds: standard deviation assumed beside few residuals
USUAL_ROWS = 50  # what that counts for


@dataclass(frozen=True)
class Calibration:
    """How raw answers become calibrated ones."""

    slope: float = 1.0
    intercept: float = 0.0
    shift: float = 0.0  # log seconds
    time_low: float = -1.2816 * USUAL_SPREAD  # log seconds beside the shifted answer
    time_high: float = 1.2816 * USUAL_SPREAD
    at: tuple[float, ...] = ()  # calibrated logits, ascending; between them the two bounds are interpolated
    p_low: tuple[float, ...] = ()  # log odds of the bound less the logit, 10 %
    p_high: tuple[float, ...] = ()

    @classmethod
    def fitted(
        cls, correct: Bools, p: Floats, seconds: Floats, predicted: Floats, *, intercept_sd: float = INTERCEPT_SD
    ) -> "Calibration":
        """From n held-out tasks: what happened, and what the model had said."""
        slope, intercept = _platt(correct, _logit(p), intercept_sd)
        residuals = np.log(plausible(seconds)) - np.log(predicted)
        low, middle, high = _quantiles(residuals)
        bounds = _reliability(correct, slope * _logit(p) + intercept)
        shift = CARRIED_ON * middle
        return cls(slope, CARRIED_ON * intercept, shift, low - shift, high - shift, *bounds)

    def answers(self, p: Floats, seconds: Floats) -> Answers:
        """Calibrated answers with their bounds, n each; what is not finite stays so."""
        return self.answers_of_scores(_logit(p), seconds)

    def answers_of_scores(self, scores: Floats, seconds: Floats) -> Answers:
        """The same from logits instead of probabilities."""
        scores, typical = self.slope * scores + self.intercept, seconds * self._factors[0]
        at, low, high = self._bounds
        p = np.array([scores, scores + np.interp(scores, at, low), scores + np.interp(scores, at, high)])
        expit(p, out=p)
        return Answers(p[0], typical, p[1], p[2], typical * self._factors[1], typical * self._factors[2])

    @cached_property
    def _factors(self) -> tuple[float, float, float]:
        """What a time is multiplied by, and then for its bounds."""
        return exp(self.shift), exp(self.time_low), exp(self.time_high)

    @cached_property
    def _bounds(self) -> tuple[Floats, Floats, Floats]:
        """Where the bounds of the logits are known, and what is added there."""
        if not self.at:
            return np.zeros(1), np.full(1, -UNSURE), np.full(1, UNSURE)
        return np.array(self.at), np.array(self.p_low), np.array(self.p_high)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, kept: dict[str, Any]) -> "Calibration":
        """Back from `to_dict`, through JSON or not."""
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in kept.items()}
        return cls(**values)


def _logit(p: Floats) -> Floats:
    return np.asarray(logit(np.clip(p, TINY, 1 - TINY)), np.float64)


def _platt(correct: Bools, scores: Floats, intercept_sd: float) -> tuple[float, float]:
    """Slope and intercept with the greatest posterior; 1 and 0 without rows."""
    from scipy.optimize import minimize  # a slow import: nobody who only answers needs it

    sign = 2.0 * correct - 1

    def cost(x: Floats) -> float:
        said = sign * (np.exp(x[0]) * scores + x[1])
        prior = (x[0] / SLOPE_SD) ** 2 / 2 + (x[1] / intercept_sd) ** 2 / 2
        return float(np.logaddexp(0, -said).sum() + prior)

    found = minimize(cost, np.zeros(2), method="L-BFGS-B", bounds=[(-1.5, 1.5), (-3, 3)])
    return float(np.exp(found.x[0])), float(found.x[1])


def _quantiles(residuals: Floats) -> tuple[float, float, float]:
    """10, 50 and 90 % of the residuals, pulled to a usual spread around their median while they are few."""
    if len(residuals) == 0:
        return -1.2816 * USUAL_SPREAD, 0.0, 1.2816 * USUAL_SPREAD
    middle = float(np.median(residuals)) * len(residuals) / (len(residuals) + USUAL_ROWS)
    weight = len(residuals) / (len(residuals) + USUAL_ROWS)
    low, high = np.quantile(residuals, [LOW, HIGH])
    usual = 1.2816 * USUAL_SPREAD
    return (
        float(weight * low + (1 - weight) * (middle - usual)),
        middle,
        float(weight * high + (1 - weight) * (middle + usual)),
    )


def _reliability(correct: Bools, scores: Floats) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    """10 and 90 % of the share right among tasks that were given about this score (Beta with Jeffreys' prior)."""
    bins = min(BINS, len(scores) // BIN_ROWS)
    if bins == 0:
        return (), (), ()
    at, lows, highs = [], [], []
    for part in np.array_split(np.argsort(scores, kind="stable"), bins):
        right, n = np.count_nonzero(correct[part]), len(part)
        middle = float(_logit(np.array([expit(scores[part]).mean()]))[0])
        low, high = logit(betaincinv(right + 0.5, n - right + 0.5, [LOW, HIGH]))
        at.append(middle)
        lows.append(float(min(low - middle, 0)))
        highs.append(float(max(high - middle, 0)))
    return tuple(at), tuple(lows), tuple(highs)
