"""LNIRT's answers made honest on tasks that it was not fitted on; its own widths are kept in proportion."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from app.domain.attempts import plausible
from app.ml.answers import Answer, Answers
from app.ml.intervals import NORMAL, Band
from app.ml.lnirt_posterior import Prediction
from app.ml.networks.calibration import CARRIED_ON, INTERCEPT_SD, TINY, platt, time_level

Floats = NDArray[np.float64]

MOST_OLDER = 2_000  # tasks, beside the newest ones
WANTED = attrgetter("probability", "probability_low", "probability_high", "seconds", "seconds_low", "seconds_high")
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
        cls,
        correct: NDArray[np.bool_],
        seconds: Floats,
        said: Sequence[Prediction],
        student: NDArray[np.int32] | None = None,
        *,
        carried: float = CARRIED_ON,
    ) -> "LnirtCalibration":
        """From n tasks: what happened, and what LNIRT had said.

        `student` (n,) is as in `Calibration.fitted`. Of the level, `carried` is carried on: all of it where the tasks
        are of all times, less where they are the newest.
        """
        student = np.arange(1, len(said) + 1, dtype=np.int32) if student is None else student
        columns = _Columns.of(said)
        slope, intercept = platt(correct, columns.scores[0], student, INTERCEPT_SD, carried)
        residuals = (np.log(plausible(seconds)) - np.log(columns.seconds)) / columns.spread
        middle = carried * time_level(residuals, student, 1.0)
        band = Band.fitted(seconds, columns.seconds, columns.spread, rows=USUAL_ROWS)
        return cls(slope, intercept, middle, band.low, band.high, band.at, band.longest)

    def answer(self, said: Prediction) -> Answer:
        """The calibrated answer; its interval holds the answer itself."""
        return self.answers([said])[0]

    def answers(self, said: Sequence[Prediction]) -> Answers:
        """The same for n of them."""
        columns = _Columns.of(said)
        typical = columns.seconds * np.exp(self.middle * columns.spread)
        sooner, later = self._band.around(columns.seconds, columns.spread)
        p, low, high = (expit(self.slope * each + self.intercept) for each in columns.scores)
        return Answers(p, typical, low, high, np.minimum(sooner, typical), np.maximum(later, typical))

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


@dataclass(frozen=True, slots=True)
class _Columns:
    """n predictions: log odds and their bounds (3, n), seconds (n,), and the log time's standard deviation (n,)."""

    scores: Floats
    seconds: Floats
    spread: Floats

    @classmethod
    def of(cls, said: Sequence[Prediction]) -> "_Columns":
        p, low, high, seconds, sooner, later = np.array([WANTED(each) for each in said]).reshape(-1, 6).T
        odds: Floats = logit(np.clip([p, low, high], TINY, 1 - TINY))
        return cls(odds, seconds, np.log(later / sooner) / (2 * NORMAL))
