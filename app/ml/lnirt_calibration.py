"""LNIRT's answers made honest on tasks that it was not fitted on; its own widths are kept in proportion."""

from dataclasses import asdict, dataclass
from math import exp, log

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from app.domain.attempts import plausible
from app.ml.answers import Answer, Answers
from app.ml.lnirt_ability import Predictions, Said
from app.ml.networks.calibration import Calibration

Floats = NDArray[np.float64]

NORMAL = 1.2815515655446004  # 90 % quantile of the standard normal
USUAL_ROWS = 20  # what the normal distribution counts for beside the held-out residuals


@dataclass(frozen=True, slots=True)
class LnirtCalibration:
    """Platt's slope and intercept for the probability; for the time, quantiles of residuals in LNIRT's own spreads."""

    slope: float = 1.0
    intercept: float = 0.0
    middle: float = 0.0  # standard deviations that LNIRT gave
    low: float = -NORMAL
    high: float = NORMAL

    @classmethod
    def fitted(cls, correct: NDArray[np.bool_], seconds: Floats, said: Predictions) -> "LnirtCalibration":
        """From n held-out tasks: what happened, and what LNIRT had said."""
        ones = np.ones(len(correct))
        platt = Calibration.fitted(correct, said.probability, ones, ones)
        residuals = (np.log(plausible(seconds)) - said.log_seconds) / said.spread
        weight = len(correct) / (len(correct) + USUAL_ROWS)
        low, middle, high = weight * np.quantile(residuals, [0.1, 0.5, 0.9])
        usual = (1 - weight) * NORMAL
        return cls(platt.slope, platt.intercept, float(middle), float(low - usual), float(high + usual))

    def answers(self, said: Predictions) -> Answers:
        """The calibrated answers; an interval holds the answer itself."""
        steps = np.array([[self.middle], [min(self.low, self.middle)], [max(self.high, self.middle)]])
        seconds, low, high = np.exp(said.log_seconds + steps * said.spread)
        p, p_low, p_high = self._chances(np.array([said.probability, said.low, said.high]))
        return Answers(p, seconds, p_low, p_high, low, high)

    def answer(self, said: Said) -> Answer:
        """The same of one task."""
        p, p_low, p_high = (self._chance(each) for each in (said.probability, said.low, said.high))
        low, high = min(self.low, self.middle), max(self.high, self.middle)
        seconds, least, most = (exp(said.log_seconds + step * said.spread) for step in (self.middle, low, high))
        return Answer(p, seconds, p_low, p_high, least, most)

    def to_dict(self) -> dict[str, float]:
        return asdict(self)

    def _chance(self, p: float) -> float:
        p = min(max(p, 1e-6), 1 - 1e-6)
        return 1 / (1 + exp(-self.slope * log(p / (1 - p)) - self.intercept))

    def _chances(self, p: Floats) -> Floats:
        return np.asarray(expit(self.slope * logit(np.clip(p, 1e-6, 1 - 1e-6)) + self.intercept))
