"""LNIRT's parameters and what is believed of them beforehand.

Everything here is in working units: log times are centred; persons are standardised, theta = sd_theta * node, so that
one grid serves every step; and slopes go through a softplus, so that no step can make one negative. Slopes have prior
mean 1 and the sds of the population are free. `estimation.py` turns the result into R LNIRT's scale.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from scipy.special import expit

from app.ml.lnirt.data import Floats

SLOPE, INTERCEPT, TIME_SLOPE, INTENSITY = range(4)  # columns of `Parameters.x`
SHARPNESS = 4.0  # of the softplus: above a slope of 0.5 it is a straight line to within 7 %
SLOPE_VAR_PER_SHARE = 0.1  # most variance of slopes among K items, times K / N


@dataclass(frozen=True, slots=True)
class Prior:
    """What is believed of items before their answers; weak, and sharpened from the items themselves (`learn_prior`).

    Items x_k = (a, beta, f, lambda) ~ N(m + offset_k, cov) with m ~ N(mean, diag(mean_sd**2)); m is maximised out. The
    slopes' mean is held at 1, which sets the scale of persons. sigma2_k is inverse-gamma, worth `sigma2_weight` answers
    of variance `sigma2`. The covariance of (theta, zeta) is inverse-Wishart, worth `person_weight` uncorrelated persons
    of standard deviations `person_sd`: abilities that differ by 0.8 on the probit scale, times by a factor of exp(0.3).
    To begin with it allows items of any kind: success shares from 5 to 95 %, typical times that differ by a factor of
    two or so.
    """

    mean: Floats = field(default_factory=lambda: np.array([1.0, 0.0, 1.0, 0.0]))
    mean_sd: Floats = field(default_factory=lambda: np.array([0.01, 1.0, 0.01, 1.0]))
    cov: Floats = field(default_factory=lambda: np.diag([0.05, 0.7, 0.05, 0.4]))
    offset: Floats = field(default_factory=lambda: np.zeros(4))  # (K, 4): what an item's groups say of it
    sigma2: float = 0.25
    sigma2_weight: float = 4.0
    person_sd: tuple[float, float] = (0.8, 0.3)
    person_weight: float = 3.0


def with_identifiable_slopes(prior: Prior, n_persons: int, n_items: int) -> Prior:
    """The prior with the slopes' variances held to what so few students can tell.

    Slopes show in how students differ. A handful of students may as well be moved far from the population's mean, where
    slopes take over the differences of beta and lambda; the most probable parameters would lie there.
    """
    factor, slopes = np.ones(4), [SLOPE, TIME_SLOPE]
    most = SLOPE_VAR_PER_SHARE * n_persons / n_items
    factor[slopes] = np.sqrt(np.minimum(1.0, most / prior.cov[slopes, slopes]))
    return replace(prior, cov=prior.cov * np.outer(factor, factor))


@dataclass(frozen=True, slots=True)
class Parameters:
    """x: (K, 4), columns a, beta, f, lambda; log_sigma2: (K,); population: (3,) log sds and Fisher's z of rho.

    The slopes are alpha = softplus(a) and phi = softplus(f).
    """

    x: Floats
    log_sigma2: Floats
    population: Floats

    @property
    def alpha(self) -> Floats:
        return softplus(self.x[:, SLOPE])

    @property
    def phi(self) -> Floats:
        return softplus(self.x[:, TIME_SLOPE])

    @property
    def lambda_(self) -> Floats:
        return self.x[:, INTENSITY]

    @property
    def sigma2(self) -> Floats:
        return np.exp(self.log_sigma2)

    @property
    def sd(self) -> Floats:
        """(2,) standard deviations of theta and zeta."""
        return np.exp(self.population[:2])

    @property
    def rho(self) -> float:
        return float(np.tanh(self.population[2]))

    def vector(self) -> Floats:
        return np.concatenate([self.x.ravel(), self.log_sigma2, self.population])

    def like(self, vector: Floats) -> "Parameters":
        """The same shapes from a flat vector, kept inside generous bounds."""
        k = len(self.log_sigma2)
        x = vector[: 4 * k].reshape(k, 4).copy()
        x[:, [SLOPE, TIME_SLOPE]] = np.clip(x[:, [SLOPE, TIME_SLOPE]], -1, 10)
        return Parameters(x, np.clip(vector[4 * k : 5 * k], -10, 6), np.clip(vector[5 * k :], [-4, -6, -4], [3, 3, 4]))


def softplus(x: Floats) -> Floats:
    return np.logaddexp(0, SHARPNESS * x) / SHARPNESS


def softplus_slope(x: Floats) -> Floats:
    """Its derivative, in (0, 1)."""
    return np.asarray(expit(SHARPNESS * x))


@dataclass(frozen=True, slots=True)
class Grid:
    """Equally spaced ability nodes (Q,) in population sds and their log prior weights."""

    theta: Floats
    log_weight: Floats


def normal_grid(nodes: int, reach: float = 4.5) -> Grid:
    """Nodes from -reach to reach with weights proportional to the standard normal density."""
    theta = np.linspace(-reach, reach, nodes)
    log_weight = -0.5 * theta**2
    return Grid(theta, log_weight - np.log(np.exp(log_weight).sum()))


def log_prior(p: Parameters, prior: Prior, n_times: Floats) -> float:
    """Log prior density up to a constant; the mean of the items is maximised out. `n_times` (K,) as in Responses."""
    mean = item_mean(p.x, prior)
    off = p.x - prior.offset - mean
    items = np.sum(off @ np.linalg.inv(prior.cov) * off) + np.sum(((mean - prior.mean) / prior.mean_sd) ** 2)
    weight, free = prior.sigma2_weight - lost_degrees(n_times), 1 - p.rho**2
    variances = np.sum(weight * p.log_sigma2 + prior.sigma2_weight * prior.sigma2 * np.exp(-p.log_sigma2))
    persons = 2 * p.population[:2].sum() + np.log(free) + np.sum((prior.person_sd / p.sd) ** 2) / free
    return -0.5 * float(items + variances + prior.person_weight * persons)


def item_mean(x: Floats, prior: Prior) -> Floats:
    """The mean of the items' distribution that maximises its posterior, (4,), their groups' part taken off."""
    x = x - prior.offset
    precision, hold = np.linalg.inv(prior.cov), prior.mean_sd**-2
    return np.linalg.solve(np.diag(hold) + len(x) * precision, hold * prior.mean + precision @ x.sum(axis=0))


def lost_degrees(n_times: Floats) -> Floats:
    """Degrees of freedom that lambda and phi cost an item's residuals: near 2, less where the prior does the work.

    Without them sigma2 would be too small by 2/n, as any maximum-likelihood variance.
    """
    return 2 * n_times / (n_times + 2)
