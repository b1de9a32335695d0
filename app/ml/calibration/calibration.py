"""What a model says is made honest on tasks that it was not fitted on: probabilities, the typical time, and how sure.

Probabilities are calibrated on the logit scale (Platt 1999), with priors that keep them as they are while there are few
tasks. The slope leaves their mean where it was. A level, of the log odds and of the log time, is carried on as far as
those students have it in common who were answered before, too (`common_level`): strong newcomers say nothing of others.
The interval of a time spans the 10 and 90 % quantiles of held-out times with about this prediction
(app/ml/calibration/intervals.py).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from math import exp
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, expit, logit

from app.domain.attempts import plausible
from app.ml.answers import Answers
from app.ml.calibration.intervals import NORMAL, Band
from app.ml.metrics import weights

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Codes = NDArray[np.int32]

TINY = 1e-6
SLOPE_SD = 0.1  # prior standard deviation of log slope
INTERCEPT_SD = 0.1  # of the level that students have in common, logits
TIME_LEVEL_SD = 0.1  # of that of the time, log seconds
STUDENTS_SD = 0.4  # logits: how far the levels of single students usually lie apart
STUDENTS_TIME_SD = 0.2  # log seconds
USUAL_STUDENTS = 5.0  # what the usual variance between students counts for
CARRIED_ON = 0.5  # of a level that the newest tasks show, for it drifts
UNSURE = 1.0  # logits: how far the bounds are while there are too few held-out rows to tell
BINS = 10
BIN_ROWS = 30  # held-out rows in a bin of the reliability, at the least
LOW, HIGH = 0.1, 0.9
SLIP = 3.0  # standard deviations of residuals, beyond which a time says nothing more of the level
USUAL_SPREAD = 0.6  # log seconds: standard deviation assumed beside few residuals
USUAL_ROWS = 50  # what that counts for
USUAL: dict[str, float] = {"usual": USUAL_SPREAD, "rows": USUAL_ROWS}
USUAL_BAND = Band(low=(-NORMAL * USUAL_SPREAD,), high=(NORMAL * USUAL_SPREAD,))


@dataclass(frozen=True)
class Calibration:
    """How raw answers become calibrated ones."""

    slope: float = 1.0
    intercept: float = 0.0
    shift: float = 0.0  # log seconds
    time: Band = USUAL_BAND  # beside the answer that is not shifted
    at: tuple[float, ...] = ()  # calibrated logits, ascending; between them the two bounds are interpolated
    p_low: tuple[float, ...] = ()  # log odds of the bound less the logit, 10 %
    p_high: tuple[float, ...] = ()

    @classmethod
    def fitted(
        cls, correct: Bools, p: Floats, seconds: Floats, predicted: Floats, student: Codes, intercept_sd: float
    ) -> "Calibration":
        """From n held-out tasks: what happened, and what the model had said.

        `student` (n,) says whose task it was, above 0, or is 0 where the model had learnt nothing of the student. The
        prior of the level that students have in common has the standard deviation `intercept_sd`, logits.
        """
        slope, intercept = platt(correct, log_odds(p), student, intercept_sd)
        shift = CARRIED_ON * time_level(np.log(plausible(seconds)) - np.log(predicted), student, USUAL_SPREAD)
        band = Band.fitted(seconds, predicted, **USUAL)
        return cls(slope, intercept, shift, band, *_reliability(correct, slope * log_odds(p) + intercept))

    def answers_of_scores(self, scores: Floats, seconds: Floats) -> Answers:
        """Calibrated answers with their bounds, from n logits and times; what is not finite stays so."""
        scores, typical = self.slope * scores + self.intercept, seconds * exp(self.shift)
        sooner, later = self.time.around(seconds)
        at, low, high = self._bounds
        p = np.array([scores, scores + np.interp(scores, at, low), scores + np.interp(scores, at, high)])
        expit(p, out=p)
        return Answers(p[0], typical, p[1], p[2], np.minimum(sooner, typical), np.maximum(later, typical))

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
        """Back from `to_dict`, through JSON or not; an earlier release wrote one width for all times."""
        values = _tuples(kept)
        if "time" not in values:
            low, high = values.pop("time_low"), values.pop("time_high")
            return cls(**values, time=Band((0.0,), (values["shift"] + low,), (values["shift"] + high,)))
        return cls(**{**values, "time": Band(**_tuples(values["time"]))})


def _tuples(kept: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in kept.items()}


def log_odds(p: Floats) -> Floats:
    return np.asarray(logit(np.clip(p, TINY, 1 - TINY)), np.float64)


def platt(correct: Bools, scores: Floats, student: Codes, level_sd: float) -> tuple[float, float]:
    """Slope and intercept for the logits of n held-out tasks; 1 and 0 without tasks.

    Both are those of the students with a code above 0: who is new may be strong or weak, which says nothing of others.
    The slope alone leaves the mean probability as it is; to that comes the share CARRIED_ON of the level, which has the
    prior standard deviation `level_sd`.
    """
    known = student > 0
    slope = _slope(correct[known], scores[known], student[known])
    neutral = _keeping_the_mean(scores, slope)
    p = expit(slope * scores + neutral)
    level = common_level(
        student[known], (correct - p)[known], (p * (1 - p))[known], usual_sd=STUDENTS_SD, level_sd=level_sd
    )
    return slope, neutral + CARRIED_ON * level


def time_level(residuals: Floats, student: Codes, spread: float) -> float:
    """The level of n residuals of log times that the students with a code above 0 have in common.

    Times that are far off count as less far; `spread` is the residuals' usual standard deviation, and their unit if it
    is not log seconds.
    """
    known, codes, unit = residuals[student > 0], student[student > 0], spread / USUAL_SPREAD
    if len(known) == 0:
        return 0.0
    middle = np.median(known)
    scale = 1.4826 * float(np.median(np.abs(known - middle)))
    var = (len(known) * scale**2 + USUAL_ROWS * spread**2) / (len(known) + USUAL_ROWS)
    near = np.clip(known, middle - SLIP * np.sqrt(var), middle + SLIP * np.sqrt(var))
    usual, level_sd = STUDENTS_TIME_SD * unit, TIME_LEVEL_SD * unit
    return common_level(codes, near / var, np.full(len(near), 1 / var), usual_sd=usual, level_sd=level_sd)


def common_level(student: Codes, scores: Floats, information: Floats, *, usual_sd: float, level_sd: float) -> float:
    """Mean level of the students of n rows, shrunk to 0 by a prior of standard deviation `level_sd`; 0 without rows.

    A random-effects mean, in which nobody counts for more than a student: each student's own level is d_s with variance
    v_s, the levels differ between students by tau^2 (DerSimonian and Laird 1986, Controlled Clinical Trials 7,
    177-188), so a student counts 1 / (v_s + tau^2): never more than 1 / tau^2, however many tasks they bring. tau^2 is
    shrunk towards a usual one, for a few students can't tell it.

    `scores` and `information` (n,) are each row's first and negative second derivative of its log-likelihood at level
    0: for log odds y - p and p (1 - p), for a residual r of variance s^2 r / s^2 and 1 / s^2. `student` (n,) names
    whose row it is. `usual_sd` is how far students' own levels usually lie apart.
    """
    _, whose = np.unique(student, return_inverse=True)
    weight: Floats = np.maximum(np.bincount(whose, information), 1e-12)
    own: Floats = np.bincount(whose, scores) / weight
    counts = 1 / (1 / weight + _between(own, weight, usual_sd**2))
    return float(counts @ own / (counts.sum() + level_sd**-2))


def _between(own: Floats, weight: Floats, usual: float) -> float:
    """Variance between students beyond what chance makes of their levels: method of moments, shrunk to a usual one."""
    students, total = len(own), weight.sum()
    if students < 2:
        return usual
    q = float(weight @ np.square(own - weight @ own / total))
    moments = (q - (students - 1)) / (total - np.square(weight).sum() / total)
    return float((students * max(moments, 0.0) + USUAL_STUDENTS * usual) / (students + USUAL_STUDENTS))


def _slope(correct: Bools, scores: Floats, student: Codes) -> float:
    """The slope with the greatest posterior beside any intercept; 1 without rows. No student outweighs several."""
    from scipy.optimize import minimize  # a slow import: nobody who only answers needs it

    if len(scores) == 0:
        return 1.0
    sign, weight = 2.0 * correct - 1, weights(student)
    weight = weight / weight.max()

    def cost(x: Floats) -> float:
        said = sign * (np.exp(x[0]) * scores + x[1])
        return float(weight @ np.logaddexp(0, -said) + np.square(x / [SLOPE_SD, 1.0]).sum() / 2)

    found = minimize(cost, np.zeros(2), method="L-BFGS-B", bounds=[(-1.5, 1.5), (-3, 3)])
    return float(np.exp(found.x[0]))


def _keeping_the_mean(scores: Floats, slope: float) -> float:
    """The intercept beside this slope that leaves the mean probability of n logits as it was (Newton's steps)."""
    intercept, mean = 0.0, expit(scores).sum()
    for _ in range(8 if len(scores) else 0):
        p = expit(slope * scores + intercept)
        intercept += float((mean - p.sum()) / max((p * (1 - p)).sum(), TINY))
    return intercept


def _reliability(correct: Bools, scores: Floats) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    """10 and 90 % of the share right among tasks that were given about this score (Beta with Jeffreys' prior)."""
    bins = min(BINS, len(scores) // BIN_ROWS)
    if bins == 0:
        return (), (), ()
    at, lows, highs = [], [], []
    for part in np.array_split(np.argsort(scores, kind="stable"), bins):
        right, n = np.count_nonzero(correct[part]), len(part)
        middle = float(log_odds(np.array([expit(scores[part]).mean()]))[0])
        low, high = logit(betaincinv(right + 0.5, n - right + 0.5, [LOW, HIGH]))
        at.append(middle)
        lows.append(float(min(low - middle, 0)))
        highs.append(float(max(high - middle, 0)))
    return tuple(at), tuple(lows), tuple(highs)
