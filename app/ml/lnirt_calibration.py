"""LNIRT's answers made honest on tasks that it was not fitted on; its own widths are kept in proportion."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from app.domain.attempts import plausible
from app.ml.answers import Answer
from app.ml.lnirt_posterior import Prediction
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
    def fitted(cls, correct: NDArray[np.bool_], seconds: Floats, said: Sequence[Prediction]) -> "LnirtCalibration":
        """From n held-out tasks: what happened, and what LNIRT had said."""
        ones = np.ones(len(said))
        platt = Calibration.fitted(correct, np.array([each.probability for each in said]), ones, ones)
        residuals = (np.log(plausible(seconds)) - np.log([each.seconds for each in said])) / [
            _spread(each) for each in said
        ]
        weight = len(said) / (len(said) + USUAL_ROWS)
        low, middle, high = weight * np.quantile(residuals, [0.1, 0.5, 0.9])
        usual = (1 - weight) * NORMAL
        return cls(platt.slope, platt.intercept, float(middle), float(low - usual), float(high + usual))

    def answer(self, said: Prediction) -> Answer:
        """The calibrated answer; its interval holds the answer itself."""
        spread, middle = _spread(said), np.log(said.seconds)
        seconds = float(np.exp(middle + self.middle * spread))
        return Answer(
            self._chance(said.probability),
            seconds,
            self._chance(said.probability_low),
            self._chance(said.probability_high),
            float(np.exp(middle + min(self.low, self.middle) * spread)),
            float(np.exp(middle + max(self.high, self.middle) * spread)),
        )

    def to_dict(self) -> dict[str, float]:
        return asdict(self)

    def _chance(self, p: float) -> float:
        return float(expit(self.slope * logit(min(max(p, 1e-6), 1 - 1e-6)) + self.intercept))


def _spread(said: Prediction) -> float:
    """Standard deviation of the log time."""
    return float(np.log(said.seconds_high) - np.log(said.seconds_low)) / (2 * NORMAL)
