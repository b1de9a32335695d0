"""LNIRT's answers made honest on tasks that it was not fitted on; its own widths are kept in proportion."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from math import exp, log
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from app.domain.attempts import plausible
from app.ml.answers import Answer, Answers
from app.ml.calibration.calibration import CARRIED_ON, INTERCEPT_SD, TINY, log_odds, platt, time_level
from app.ml.calibration.intervals import NORMAL, Band
from app.ml.lnirt.ability import Predictive

Floats = NDArray[np.float64]

MOST_OLDER = 2_000  # tasks, beside the newest ones
USUAL_ROWS = 20  # what the normal distribution counts for beside the held-out residuals


@dataclass(frozen=True)
class LnirtCalibration:
    """Slope and intercept for the log odds; for the time a level and two curves over it, in LNIRT's own spreads."""

    slope: float = 1.0
    intercept: float = 0.0
    middle: float = 0.0  # standard deviations that LNIRT gave
    low: Sequence[float] | float = -NORMAL  # a number: one width for all times, as earlier releases wrote it
    high: Sequence[float] | float = NORMAL
    at: Sequence[float] = (0.0,)  # log seconds
    longest: float | None = None  # seconds

    @classmethod
    def fitted(
        cls, correct: NDArray[np.bool_], seconds: Floats, predicted: Predictive[Floats], student: NDArray[np.int32]
    ) -> "LnirtCalibration":
        """From n tasks: what happened, and what LNIRT had said; `student` (n,) is as in `Calibration.fitted`."""
        slope, intercept = platt(correct, log_odds(predicted.probability), student, INTERCEPT_SD)
        residuals = (np.log(plausible(seconds)) - predicted.log_seconds) / predicted.spread
        middle = CARRIED_ON * time_level(residuals, student, 1.0)
        band = Band.fitted(seconds, np.exp(predicted.log_seconds), predicted.spread, rows=USUAL_ROWS)
        return cls(slope, intercept, middle, band.low, band.high, band.at, band.longest)

    def answers(self, predicted: Predictive[Floats]) -> Answers:
        """The calibrated answers; an interval holds the answer itself."""
        seconds = np.exp(predicted.log_seconds)
        typical = seconds * np.exp(self.middle * predicted.spread)
        sooner, later = self._band.around(seconds, predicted.spread)
        p, low, high = expit(self.slope * log_odds(np.array(predicted[:3])) + self.intercept)
        return Answers(p, typical, low, high, np.minimum(sooner, typical), np.maximum(later, typical))

    def answer(self, predicted: Predictive[float]) -> Answer:
        """The same of one task, in plain numbers."""
        p, p_low, p_high = (self._chance(each) for each in predicted[:3])
        seconds = exp(predicted.log_seconds)
        typical = seconds * exp(self.middle * predicted.spread)
        sooner, later = self._band.around_one(predicted.log_seconds, predicted.spread)
        return Answer(p, typical, p_low, p_high, min(sooner, typical), max(later, typical))

    def _chance(self, p: float) -> float:
        p = min(max(p, TINY), 1 - TINY)
        return 1 / (1 + exp(-self.slope * log(p / (1 - p)) - self.intercept))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @cached_property
    def _band(self) -> Band:
        low, high = (tuple(np.atleast_1d(bound).tolist()) for bound in (self.low, self.high))
        return Band(tuple(self.at), low, high, self.longest)


def calibrating(student: NDArray[np.int32], newest: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    """Which of n tasks are to calibrate, and the students' codes for `LnirtCalibration.fitted`.

    `student` (n,) says whose they are; the `newest` were not fitted on. Beside them comes a sample of the older ones:
    through these, too, students are followed without being fitted. Who has no older task has code 0.
    """
    older = np.unique(np.linspace(0, newest[0] - 1, min(MOST_OLDER, int(newest[0]))).astype(np.intp))
    rows = np.concatenate([older, newest])
    known = np.isin(student[rows], student[: newest[0]])
    return rows, np.where(known, student[rows] + 1, 0).astype(np.int32)
