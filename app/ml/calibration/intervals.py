"""Intervals of times: where the middle 80 % lie beside a typical time, as two curves over it.

Long tasks are not as uncertain as short ones, nor as much upwards as downwards. So the 10 and 90 % quantiles of the log
time's residuals are curves over the predicted time, straight between knots (quantile regression on linear B-splines,
Koenker and Bassett 1978, Econometrica 46, 33-50), with a penalty on bends and some rows that stand for a usual width.
"""

from dataclasses import dataclass
from functools import cached_property
from math import exp

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtri

from app.domain.attempts import plausible

Floats = NDArray[np.float64]

NORMAL = 1.2815515655446004  # 90 % quantile of the standard normal
OUTSIDE = 0.1  # of the times, at either end
KNOTS, KNOT_ROWS = 9, 50  # knots at the most, and rows that each one takes beyond the first
BEND, SLOPE = 3.0, 0.3  # what a curve's bends and slopes cost, in losses of single rows
ROUNDED = 0.05  # standard deviations over which the corner of the quantile loss is rounded
STAND_IN = ndtri((np.arange(20) + 0.5) / 20)  # residuals of a usual width, (20,)
CUT_SHARE, CUT_ROWS, CUT_AT = 0.02, 10, 0.995  # of the times within so much of the longest one: they were cut off there
REACHES = 0.95  # of the time at which tasks are cut off: an interval that comes so near reaches to it


@dataclass(frozen=True)
class Band:
    """The two bounds beside the log of the typical time, in spreads; straight between the knots, level beyond them."""

    at: tuple[float, ...] = (0.0,)  # log seconds, ascending
    low: tuple[float, ...] = (-NORMAL,)
    high: tuple[float, ...] = (NORMAL,)
    longest: float | None = None  # seconds at which tasks are cut off, if they are

    @classmethod
    def fitted(
        cls, seconds: Floats, predicted: Floats, spread: Floats | float = 1.0, *, usual: float = 1.0, rows: float = 20.0
    ) -> "Band":
        """From n held-out times and what was predicted of them, (n,) each, n >= 0.

        Residuals count in `spread`, log seconds; a normal distribution with standard deviation `usual` stands in for
        `rows` of them. The lower bound leaves out what the upper one does not: where a good part of the tasks is cut
        off at one time, nothing lies above.
        """
        logs = np.log(predicted)
        off: Floats = (np.log(plausible(seconds)) - logs) / spread
        residuals = _Residuals.of(logs, off, usual, rows)
        high = residuals.quantile(np.full(len(residuals.values), 1 - OUTSIDE))
        curve = tuple(residuals.at.tolist()), tuple(high.tolist()), tuple(high.tolist()), _cut_off(seconds)
        above = residuals.values > residuals.basis @ high
        above[: len(seconds)] = seconds > cls(*curve).around(predicted, spread)[1]
        low = residuals.quantile(np.where(above, 2 * OUTSIDE - 1, 2 * OUTSIDE))
        return cls(curve[0], tuple(np.minimum(low, high).tolist()), *curve[2:])

    def around(self, seconds: Floats, spread: Floats | float = 1.0) -> tuple[Floats, Floats]:
        """The bounds of n typical times, (n,) seconds each; what is not finite stays so."""
        at, low, high = self._curves
        logs = np.log(seconds)
        below = seconds * np.exp(spread * np.interp(logs, at, low))
        above = seconds * np.exp(spread * np.interp(logs, at, high))
        return below, above if self.longest is None else np.where(above > REACHES * self.longest, self.longest, above)

    def around_one(self, log_seconds: float, spread: float) -> tuple[float, float]:
        """The same of one typical time, in plain numbers."""
        at, low, high = self._curves
        below = exp(log_seconds + spread * float(np.interp(log_seconds, at, low)))
        above = exp(log_seconds + spread * float(np.interp(log_seconds, at, high)))
        cut = self.longest is not None and above > REACHES * self.longest
        return below, (self.longest or above) if cut else above

    @cached_property
    def _curves(self) -> tuple[Floats, Floats, Floats]:
        return np.array(self.at), np.array(self.low), np.array(self.high)


@dataclass(frozen=True)
class _Residuals:
    """Residuals (m,), of which the first ones are real and the others stand in; (m, k) shares of the knots in each."""

    at: Floats  # (k,)
    values: Floats
    basis: Floats
    weight: Floats
    sd: float

    @classmethod
    def of(cls, logs: Floats, values: Floats, usual: float, rows: float) -> "_Residuals":
        at = _knots(logs)
        middle, sd = _width(values, usual, rows)
        stand_in = np.tile(middle + sd * STAND_IN, len(at))
        basis = np.concatenate([_shares(logs, at), np.repeat(np.eye(len(at)), len(STAND_IN), axis=0)])
        weight = np.concatenate([np.ones(len(values)), np.full(len(stand_in), rows / len(stand_in))])
        return cls(at, np.concatenate([values, stand_in]), basis, weight, sd)

    def quantile(self, levels: Floats) -> Floats:
        """The curve (k,) below which as many rows lie as their levels (m,) add up to, at each knot.

        It has the least of Koenker's and Bassett's loss with a rounded corner.
        """
        from scipy.optimize import minimize  # a slow import: nobody who only answers needs it

        knots, corner = np.eye(len(self.at)), ROUNDED * self.sd
        bends, slopes = np.diff(knots, 2, axis=0), np.diff(knots, axis=0)
        stiff = (BEND * bends.T @ bends + SLOPE * slopes.T @ slopes) / self.sd**2

        def loss(curve: Floats) -> tuple[float, Floats]:
            off = self.values - self.basis @ curve
            each = corner * np.logaddexp(0, off / corner) - (1 - levels) * off
            pull = self.basis.T @ (self.weight * (expit(off / corner) - (1 - levels)))
            return float(self.weight @ each / self.sd + curve @ stiff @ curve), 2 * stiff @ curve - pull / self.sd

        start = np.full(len(self.at), np.quantile(self.values, np.clip(levels, 0, 1).mean()))
        return np.asarray(minimize(loss, start, jac=True, method="L-BFGS-B").x, np.float64)


def _knots(logs: Floats) -> Floats:
    """Where the curves may bend: with as many rows between two as between any others."""
    knots = min(KNOTS, 1 + len(logs) // KNOT_ROWS)
    return np.unique(np.quantile(logs, np.linspace(0, 1, knots))) if knots > 1 else np.zeros(1)


def _shares(logs: Floats, at: Floats) -> Floats:
    """Linear B-splines: how much each knot (k,) counts at each place (n,); (n, k)."""
    return np.stack([np.interp(logs, at, hat) for hat in np.eye(len(at))], axis=1)


def _width(values: Floats, usual: float, rows: float) -> tuple[float, float]:
    """Middle and standard deviation of n residuals, judged by their quantiles and pulled to 0 and the usual one."""
    low, middle, high = np.quantile(values, [OUTSIDE, 0.5, 1 - OUTSIDE]) if len(values) else np.zeros(3)
    real = len(values) / (len(values) + rows)
    var = real * ((high - low) / (2 * NORMAL)) ** 2 + (1 - real) * usual**2
    return float(real * middle), float(np.sqrt(var))


def _cut_off(seconds: Floats) -> float | None:
    """The longest of n times, where so many are as long that somebody must have cut them off."""
    longest = float(seconds.max(initial=0.0))
    same = int(np.count_nonzero(seconds >= CUT_AT * longest))
    return longest if CUT_ROWS <= same <= len(seconds) / 2 and same >= CUT_SHARE * len(seconds) else None
