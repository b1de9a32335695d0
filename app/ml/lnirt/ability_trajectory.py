"""Where a student stands among the students that LNIRT knows."""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from app.ml.lnirt.posterior import Posterior

Z_80 = 1.2815515655446004  # 90 % quantile of the standard normal: 10-90 % holds four of five


@dataclass(frozen=True, slots=True)
class Place:
    """The share of the population's students below this one, 0-1; in four of five cases it is within low to high."""

    low: float
    middle: float
    high: float


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a student at some point."""

    ability: Place
    speed: Place


def standing(known: Posterior) -> Standing:
    """Ability and speed as places among the population's students, each by its own normal distribution."""
    among, known_now = known.population, known.summary()
    return Standing(
        _place(known_now.theta, known_now.theta_sd, among.mu_theta, among.var_theta**0.5),
        _place(known_now.zeta, known_now.zeta_sd, among.mu_zeta, among.var_zeta**0.5),
    )


def _place(mean: float, sd: float, mu: float, spread: float) -> Place:
    low, middle, high = ndtr((mean + np.array([-Z_80, 0, Z_80]) * sd - mu) / spread)
    return Place(float(low), float(middle), float(high))
