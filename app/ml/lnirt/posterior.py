"""One student's ability and speed, updated exactly by each answer, and what it predicts of the next task.

theta is known through log-weights on a grid; given theta, speed is Gaussian, and two sums say all about it:
information = sum phi^2 / sigma2 and pull = sum phi (lambda - log t) / sigma2. Every answer only adds to these, so their
order does not matter. Model and symbols: `lnirt.py` (van der Linden 2007); numbers are in R LNIRT's scale, times in
seconds, logs natural.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.special import log_ndtr, ndtr, ndtri

from app.ml.lnirt.data import Floats
from app.ml.lnirt.em import LOG_SQRT_2PI
from app.ml.lnirt.parameters import normal_grid

T = TypeVar("T", float, Floats)

FINER = 5  # the grid is read out this much finer: log-weights are smooth, however sharp the posterior gets


@dataclass(frozen=True)
class Population:
    """Ability and speed among students: bivariate normal. `nodes` is the size of every student's grid.

    How they move (app/ml/lnirt/ability.py): a further answer leaves the shares `ability_kept` and `speed_kept` of what
    the earlier ones said of a student; each log(1 + tasks) that they have done on the topic, and on the very exercise,
    more than the `usual` adds to the probit of a right answer and to the log seconds.
    """

    mu_theta: float
    mu_zeta: float
    var_theta: float
    var_zeta: float
    cov: float
    nodes: int = 31
    ability_kept: float = 1.0
    speed_kept: float = 1.0
    probit_topic: float = 0.0
    probit_item: float = 0.0
    time_topic: float = 0.0
    time_item: float = 0.0
    usual_topic: float = 0.0
    usual_item: float = 0.0

    @property
    def cor(self) -> float:
        return self.cov / float(np.sqrt(self.var_theta * self.var_zeta))

    @property
    def slope(self) -> float:
        """Regression of speed on ability."""
        return self.cov / self.var_theta

    @property
    def var_zeta_given_theta(self) -> float:
        return self.var_zeta - self.cov**2 / self.var_theta

    @cached_property
    def theta(self) -> Floats:
        """The grid, (nodes,)."""
        return np.asarray(self.mu_theta + np.sqrt(self.var_theta) * normal_grid(self.nodes).theta)

    @cached_property
    def log_weights(self) -> Floats:
        """Prior log-weights of the grid, (nodes,)."""
        return normal_grid(self.nodes).log_weight

    @cached_property
    def zeta(self) -> Floats:
        """Expected speed at each node of the grid, (nodes,)."""
        return np.asarray(self.mu_zeta + self.slope * (self.theta - self.mu_theta))

    @cached_property
    def zeta_squares(self) -> Floats:
        """(nodes,)"""
        return np.asarray(self.zeta**2)

    @cached_property
    def fine_squares(self) -> Floats:
        """theta^2 on the read-out grid, (M,)."""
        return np.asarray(self.fine[0] ** 2)

    @cached_property
    def fine(self) -> tuple[Floats, Floats]:
        """The read-out grid (M,) and the matrix (M, nodes) of the cubic spline from `theta` to it."""
        theta = np.linspace(self.theta[0], self.theta[-1], FINER * (self.nodes - 1) + 1)
        return theta, CubicSpline(self.theta, np.eye(self.nodes))(theta)


@dataclass(frozen=True, slots=True)
class ItemParameters:
    """P = Phi(alpha theta - beta), log T ~ N(lambda - phi zeta, sigma2), and how well they are known.

    The (co)variances of alpha and beta widen the probit: Phi((alpha theta - beta) / sqrt(1 + var(alpha theta - beta))).
    `time_var` is what not knowing lambda and phi adds to sigma2 for a student of the population.
    """

    alpha: float
    beta: float
    phi: float
    lambda_: float
    sigma2: float
    alpha_var: float = 0.0
    beta_var: float = 0.0
    alpha_beta_cov: float = 0.0
    time_var: float = 0.0

    def predictor(self, theta: Floats) -> Floats:
        """The probit of P at each theta, the item's own uncertainty folded in."""
        u = self.alpha * theta - self.beta
        if self.alpha_var == 0.0 == self.beta_var:
            return u
        return np.asarray(u / np.sqrt(1 + self.predictor_variance(theta)))

    def predictor_variance(self, theta: T) -> T:
        """Variance of alpha theta - beta through not knowing alpha and beta well."""
        return self.beta_var - 2 * self.alpha_beta_cov * theta + self.alpha_var * theta * theta


@dataclass(frozen=True, slots=True)
class Posterior:
    """What a student's answers say. `log_weights`: (nodes,), prior and marks, times not yet included."""

    population: Population
    log_weights: Floats
    information: float = 0.0
    pull: float = 0.0

    def to_array(self) -> Floats:
        """(nodes + 2,) float64: information, pull, log_weights. `.tobytes()` of it fits a database column."""
        return np.concatenate([[self.information, self.pull], self.log_weights])

    @classmethod
    def from_array(cls, array: Floats, population: Population) -> "Posterior":
        """The inverse; ValueError if the array was written for another grid or holds a non-finite number."""
        if array.shape != (population.nodes + 2,):
            raise ValueError(f"expected an array of shape ({population.nodes + 2},), got {array.shape}")
        if not np.isfinite(array).all():
            raise ValueError("expected finite numbers in a posterior")
        return cls(population, array[2:].copy(), float(array[0]), float(array[1]))

    def summary(self) -> "Summary":
        """Means and sds of ability and speed, and the weights they come from."""
        pop = self.population
        v = pop.var_zeta_given_theta
        precision = 1 / v + self.information
        expected = pop.zeta
        # Gaussian integral over speed at each node: N(zeta; expected, v) * exp(pull zeta - information zeta^2 / 2).
        speed = (expected / v + self.pull) / precision
        log_joint = self.log_weights + 0.5 * precision * speed**2 - 0.5 * expected**2 / v
        theta, spline = pop.fine
        fine = spline @ log_joint
        weights = np.exp(fine - fine.max())
        weights[[0, -1]] /= 2  # trapezoids: absurd answers pile up at the end of the grid
        weights /= weights.sum()
        mean = float(weights @ theta)
        var = max(float(weights @ (theta - mean) ** 2), 1e-12)
        carried = pop.slope / (v * precision)  # how much of theta's spread goes into speed
        zeta = speed[0] + carried * (mean - pop.theta[0])
        return Summary(weights, mean, var**0.5, zeta, (1 / precision + carried**2 * var) ** 0.5, carried, precision)


@dataclass(frozen=True, slots=True)
class Summary:
    """Posterior of one student: weights (M,) on the fine grid, moments, and speed given theta:
    N(zeta + carried (theta - mean theta), 1 / precision).
    """

    weights: Floats
    theta: float
    theta_sd: float
    zeta: float
    zeta_sd: float
    carried: float
    precision: float


def newcomer(population: Population) -> Posterior:
    """A student without answers."""
    return Posterior(population, population.log_weights)


def update(
    posterior: Posterior, item: ItemParameters, correct: bool | None, seconds: float | None, *, censored: bool = False
) -> Posterior:
    """The posterior after one more answer; None = not observed, time in seconds, > 0.

    Exact, but for a censored time (`censored`: it took longer than `seconds`): its normal tail is replaced by the
    Gaussian factor that has the same effect on the population's speed (moment matching), so that the order of answers
    still does not matter. `fit` integrates such times exactly.
    """
    changes: dict[str, object] = {}
    if correct is not None:
        u = item.predictor(posterior.population.theta)
        changes["log_weights"] = posterior.log_weights + log_ndtr(u if correct else -u)
    if seconds is not None:
        if not 0 < seconds < np.inf:
            raise ValueError(f"expected seconds > 0, got {seconds}")
        information, pull = (_tail if censored else _time)(posterior.population, item, float(np.log(seconds)))
        changes["information"] = posterior.information + information
        changes["pull"] = posterior.pull + pull
    return replace(posterior, **changes)  # type: ignore[arg-type]


def add_sums(
    posterior: Posterior, item: ItemParameters, *, right: int, wrong: int, times: int, log_seconds: float
) -> Posterior:
    """The posterior after `right` + `wrong` marks and `times` times whose logarithms add up to `log_seconds`."""
    u = item.predictor(posterior.population.theta)
    ratio = item.phi / (item.sigma2 + item.time_var)
    return replace(
        posterior,
        log_weights=posterior.log_weights + right * log_ndtr(u) + wrong * log_ndtr(-u),
        information=posterior.information + times * item.phi * ratio,
        pull=posterior.pull + ratio * (times * item.lambda_ - log_seconds),
    )


def _time(population: Population, item: ItemParameters, logt: float) -> tuple[float, float]:
    """What an observed log time adds to (information, pull)."""
    ratio = item.phi / (item.sigma2 + item.time_var)
    return item.phi * ratio, ratio * (item.lambda_ - logt)


def _tail(population: Population, item: ItemParameters, logt: float) -> tuple[float, float]:
    """The same for log T > logt: the Gaussian factor that turns the population's N(mu, var) of speed into a Gaussian
    with the first two moments of N(mu, var) Phi((lambda - phi zeta - logt) / sigma) (Rasmussen & Williams 2006, 3.9).
    """
    mu, var = population.mu_zeta, population.var_zeta
    total = np.sqrt(item.sigma2 + item.time_var + item.phi**2 * var)
    z = (item.lambda_ - item.phi * mu - logt) / total
    hazard = float(np.exp(-0.5 * z**2 - LOG_SQRT_2PI - log_ndtr(z)))
    mean = mu - item.phi * var * hazard / total
    after = var - (item.phi * var / total) ** 2 * hazard * (z + hazard)
    return float(1 / after - 1 / var), float(mean / after - mu / var)


def from_history(
    population: Population, items: list[ItemParameters], correct: list[bool | None], seconds: list[float | None]
) -> Posterior:
    """The posterior after all these answers at once, marks by one matrix step, times by two sums."""
    marked = [(item, mark) for item, mark in zip(items, correct, strict=True) if mark is not None]
    u = np.array([item.predictor(population.theta) * (1 if mark else -1) for item, mark in marked])
    log_weights = population.log_weights + (log_ndtr(u).sum(axis=0) if marked else 0.0)
    timed = [(item, np.log(s)) for item, s in zip(items, seconds, strict=True) if s is not None]
    phi = np.array([item.phi for item, _ in timed])
    precision = 1 / np.array([item.sigma2 + item.time_var for item, _ in timed])
    off = np.array([item.lambda_ - logt for item, logt in timed])
    return Posterior(population, log_weights, float(np.sum(phi**2 * precision)), float(np.sum(phi * precision * off)))


@dataclass(frozen=True, slots=True)
class Prediction:
    """What is expected of one task. The bounds hold the middle `coverage` of the probability's posterior and of the
    time's predictive distribution; `seconds` is its median, `mean_log_seconds` the mean of the log time to be observed.
    """

    probability: float
    probability_low: float
    probability_high: float
    seconds: float
    seconds_low: float
    seconds_high: float
    mean_log_seconds: float


def predict(
    posterior: Posterior, item: ItemParameters, *, coverage: float = 0.8, limit_seconds: float | None = None
) -> Prediction:
    """Posterior predictive of the next answer.

    The probability's interval comes from the posterior of alpha theta - beta: theta's quantiles, stretched by what is
    not known of the item. The time is a mixture over theta of normals in log T, with exact quantiles. With a
    `limit_seconds` at which tasks are cut off, the mass beyond lies on the limit; where the upper tail would end
    there, the interval reaches to the limit and leaves out its 1 - coverage at the bottom.
    """
    s, theta = _where_it_is(posterior)
    probability = float(s.weights @ ndtr(item.predictor(theta)))
    tail = (1 - coverage) / 2
    low, high = _probability_bounds(s, item, theta, tail)
    means = item.lambda_ - item.phi * (s.zeta + s.carried * (theta - s.theta))
    variance = item.sigma2 + item.time_var + item.phi**2 / s.precision
    logs, mean_log = _log_time(s, item, means, variance, tail, limit_seconds)
    seconds = np.exp(logs)
    if limit_seconds is not None:
        seconds[logs >= np.log(limit_seconds)] = limit_seconds  # to the last digit
    return Prediction(
        probability,
        min(low, probability),
        max(high, probability),
        float(seconds[1]),
        float(seconds[0]),
        float(seconds[2]),
        mean_log,
    )


def _where_it_is(posterior: Posterior) -> tuple[Summary, Floats]:
    """The summary and theta on that part of the fine grid that carries weight."""
    s = posterior.summary()
    carrying = np.flatnonzero(s.weights > 1e-9)
    part = slice(carrying[0], carrying[-1] + 1)
    return replace(s, weights=s.weights[part]), posterior.population.fine[0][part]


def _probability_bounds(s: Summary, item: ItemParameters, theta: Floats, tail: float) -> tuple[float, float]:
    cumulative = np.cumsum(s.weights) - 0.5 * s.weights
    bounds = np.interp([tail, 1 - tail], cumulative, theta)
    known = (item.alpha * s.theta_sd) ** 2
    stretch = np.sqrt(1 + item.predictor_variance(s.theta) / max(known, 1e-12))
    p = ndtr(item.alpha * (s.theta + stretch * (bounds - s.theta)) - item.beta)
    return float(p[0]), float(p[1])


def _log_time(
    s: Summary, item: ItemParameters, means: Floats, variance: float, tail: float, limit_seconds: float | None
) -> tuple[Floats, float]:
    """Lower bound, median and upper bound of the log time, and its mean; all of the time as it will be observed."""
    centre = float(s.weights @ means)
    spread = (variance + (item.phi * s.carried * s.theta_sd) ** 2) ** 0.5
    levels = np.array([tail, 0.5, 1 - tail])
    if limit_seconds is None:
        return _mixture_quantiles(s.weights, means, variance, levels, centre, spread), centre
    limit = float(np.log(limit_seconds))
    z = (limit - centre) / spread
    below, density = float(ndtr(z)), float(np.exp(-0.5 * z**2 - LOG_SQRT_2PI))
    if below < 1 - tail:
        levels[0] = 2 * tail
    logs = np.minimum(_mixture_quantiles(s.weights, means, variance, levels, centre, spread), limit)
    return logs, centre * below - spread * density + limit * (1 - below)


def _mixture_quantiles(
    weights: Floats, means: Floats, variance: float, levels: Floats, centre: float, spread: float
) -> Floats:
    """Quantiles of a mixture of normals of one variance: Newton from the normal with the mixture's own moments."""
    sd = variance**0.5
    x = centre + spread * ndtri(levels)
    for _ in range(2):
        z = (x[:, None] - means) / sd
        density = np.exp(-0.5 * z**2) @ weights / (sd * np.exp(LOG_SQRT_2PI))
        x = x + np.clip((levels - ndtr(z) @ weights) / density, -sd, sd)
    return np.asarray(x)
