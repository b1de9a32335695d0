"""Marginal MAP-EM for the log-normal response time IRT model: the likelihood and one EM step, in the units of
`parameters.py`.

Sources: the model is van der Linden (2007), Psychometrika 72, 287-308, with the time discrimination phi of Klein
Entink, Fox & van der Linden (2009), Psychometrika 74, 21-48; its marginal likelihood is Glas & van der Linden (2010),
British J. Math. Stat. Psych. 63, 603-626; EM over ability nodes is Bock & Aitkin (1981), Psychometrika 46, 443-459;
times at a limit are Tobin's (1958), Econometrica 26, 24-36.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import numpy as np
from scipy.special import log_ndtr

from app.ml.lnirt.data import Censored, Floats, ResponseMatrix
from app.ml.lnirt.parameters import (
    INTENSITY,
    INTERCEPT,
    SLOPE,
    TIME_SLOPE,
    Grid,
    Parameters,
    Prior,
    item_mean,
    lost_degrees,
    softplus,
    softplus_slope,
)

NEWTON_STEPS = 8
PERSONS_AT_ONCE = 256  # of those with censored times: 256 x 31 x 11 numbers stay in the processor's cache
LOG_SQRT_2PI = 0.5 * np.log(2 * np.pi)
SPEED_NODES = np.arange(-5.0, 5.01, 1.0)  # in posterior sds; of a normal, the trapezoid rule then misses 1e-7


@dataclass(frozen=True, slots=True)
class Curves:
    """Parameters of K items and of the population, and the log chances that follow at Q nodes of ability: all that an
    E-step asks a shard with."""

    p: Parameters
    grid: Grid
    log_right: Floats  # (K, Q)
    log_wrong: Floats  # (K, Q)

    @classmethod
    def of(cls, p: Parameters, grid: Grid) -> "Curves":
        u = probits(p, grid)
        return cls(p, grid, log_ndtr(u), log_ndtr(-u))


@dataclass(frozen=True, slots=True)
class Persons:
    """The posterior of every person of a shard given the item parameters (working units)."""

    weights: Floats  # (N, Q) of the ability nodes
    theta: Floats  # (N,) mean
    theta2: Floats  # (N,) mean square
    zeta: Floats
    zeta2: Floats
    cross: Floats  # (N,) mean of theta * zeta
    information: Floats  # (N,) sum of phi^2 / sigma2 over times: Gaussian precision of the times about zeta
    pull: Floats  # (N,) sum of phi (lambda - log t) / sigma2
    log_marks: Floats  # (N, Q) log-weights before any time is taken in
    log_evidence: float


@dataclass(frozen=True, slots=True)
class Expected:
    """What an E-step finds out about a shard, or about all: sums over their persons."""

    log_evidence: float
    right: Floats  # (K, Q) expected number of right answers at each node
    wrong: Floats
    times: Floats  # (6, K) expected n, sum y, sum y^2, sum zeta, sum zeta^2, sum y zeta over the times of an item
    persons: Floats  # (6,) their number, theta, zeta, theta^2, zeta^2, theta zeta

    def plus(self, other: "Expected") -> "Expected":
        return Expected(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))


def e_step(answers: ResponseMatrix, curves: Curves) -> Expected:
    """The expected sufficient statistics of every item and of the population, of one shard."""
    persons, gained, censored = _posteriors(answers, curves)
    p, k = curves.p, answers.n_items
    n, s1, s2 = answers.time_sums
    lam = p.lambda_
    evidence = (
        persons.log_evidence
        + gained
        - 0.5 * float(np.sum(n * (2 * LOG_SQRT_2PI + p.log_sigma2) + (s2 - 2 * lam * s1 + n * lam**2) / p.sigma2))
    )
    counts = answers.marks.T @ persons.weights
    seen = answers.timed.T @ np.stack([persons.zeta, persons.zeta2], axis=1)
    times = np.stack([n, s1, s2, seen[:, 0], seen[:, 1], answers.logt.T @ persons.zeta])
    if censored is not None:
        times += censored
    each = persons.theta, persons.zeta, persons.theta2, persons.zeta2, persons.cross
    people = np.array([answers.n_persons, *(values.sum() for values in each)], np.float64)
    return Expected(evidence, counts[:k], counts[k:], times, people)


def total(parts: Iterable[Expected]) -> Expected:
    """All shards' together, added up in their order."""
    return reduce(Expected.plus, parts)


def posteriors(answers: ResponseMatrix, curves: Curves) -> Persons:
    """The posterior of every person of a shard."""
    return _posteriors(answers, curves)[0]


def _posteriors(answers: ResponseMatrix, curves: Curves) -> tuple[Persons, float, Floats | None]:
    """Also what the log evidence gains by censored times, and their share of `Expected.times`."""
    p, grid = curves.p, curves.grid
    log_weights = answers.marks @ np.concatenate([curves.log_right, curves.log_wrong]) + grid.log_weight
    f, lam, sigma2 = p.phi * p.sd[1], p.lambda_, p.sigma2
    sums = answers.timed @ np.stack([f**2 / sigma2, f * lam / sigma2], axis=1)
    information, pull = sums[:, 0], sums[:, 1] - answers.logt @ (f / sigma2)
    persons = _integrate(log_weights, information, pull, p.rho, grid)
    if answers.censored is None:
        return persons, 0.0, None
    return persons, *_integrate_censored(answers.censored, persons, p, grid)


def probits(p: Parameters, grid: Grid) -> Floats:
    """alpha theta - beta, of whose Phi is P(right), (K, Q)."""
    return np.asarray((p.alpha * p.sd[0])[:, None] * grid.theta - p.x[:, INTERCEPT, None])


def _integrate(log_weights: Floats, information: Floats, pull: Floats, rho: float, grid: Grid) -> Persons:
    """Integrate speed out exactly: zeta | theta ~ N(rho theta, v), v = 1 - rho^2, so that with precision
    1/v + information every node has the evidence of a Gaussian integral, quadratic in theta.
    """
    v = 1 - rho**2
    precision = 1 / v + information
    linear = pull * rho / (v * precision)
    square = 0.5 * rho**2 / v * (1 / (v * precision) - 1)
    log_joint = log_weights + np.stack([linear, square], axis=1) @ np.stack([grid.theta, grid.theta**2])
    top = log_joint.max(axis=1)
    weights = np.exp(log_joint - top[:, None])
    total = weights.sum(axis=1)
    weights /= total[:, None]
    moments = weights @ np.stack([grid.theta, grid.theta**2], axis=1)
    theta, theta2 = moments[:, 0], moments[:, 1]
    c = rho / v
    zeta = (c * theta + pull) / precision
    zeta2 = 1 / precision + (c**2 * theta2 + 2 * c * theta * pull + pull**2) / precision**2
    cross = (c * theta2 + theta * pull) / precision
    evidence = np.sum(top + np.log(total) + 0.5 * pull**2 / precision - 0.5 * np.log(v * precision))
    return Persons(weights, theta, theta2, zeta, zeta2, cross, information, pull, log_weights, float(evidence))


def _integrate_censored(cut: Censored, persons: Persons, p: Parameters, grid: Grid) -> tuple[float, Floats]:
    """Persons with censored times, changed in place: a quadrature over speed, too, around where each posterior lies.

    A censored time contributes Phi((lambda - phi zeta - log limit) / sigma). Returns what the log evidence gains, and
    the censored answers' share of `Expected.times`, from the moments of the truncated normal.
    """
    at, log_marks = cut.persons, persons.log_marks[cut.persons]
    mean, sd = _whereabouts(cut, persons, p, grid)
    zeta = mean[:, None] + sd[:, None] * SPEED_NODES  # (m, R)
    u, log_tail = _censored_tail(cut, p, zeta)
    log_time = cut.by_person @ log_tail + persons.pull[at, None] * zeta - 0.5 * persons.information[at, None] * zeta**2
    weights, speed, cross, log_total = _quadrature(log_marks, log_time, zeta, p.rho, grid)
    step = sd * (SPEED_NODES[1] - SPEED_NODES[0])
    evidence = np.sum(log_total + np.log(step)) - len(at) * (LOG_SQRT_2PI + 0.5 * np.log(1 - p.rho**2))
    plain = _integrate(log_marks, persons.information[at], persons.pull[at], p.rho, grid).log_evidence
    persons.weights[at], persons.theta[at], persons.theta2[at] = weights, weights @ grid.theta, weights @ grid.theta**2
    persons.zeta[at], persons.zeta2[at] = (speed * zeta).sum(axis=1), (speed * zeta**2).sum(axis=1)
    persons.cross[at] = cross
    return float(evidence) - plain, _censored_sums(cut, p, zeta, u, log_tail, speed)


def _whereabouts(cut: Censored, persons: Persons, p: Parameters, grid: Grid) -> tuple[Floats, Floats]:
    """About where the posterior of speed lies, mode and sd (m,): Newton steps on the log-concave product of the tails,
    the observed times and what the marks say of speed.
    """
    at, log_marks = cut.persons, persons.log_marks[cut.persons]
    weights = np.exp(log_marks - log_marks.max(axis=1, keepdims=True))
    moments = (weights @ np.stack([grid.theta, grid.theta**2], axis=1)) / weights.sum(axis=1, keepdims=True)
    expected = p.rho * moments[:, 0]
    precision = 1 / (1 - p.rho**2 + p.rho**2 * (moments[:, 1] - moments[:, 0] ** 2))
    steepness = (p.phi * p.sd[1])[cut.item] / np.exp(0.5 * p.log_sigma2[cut.item])
    zeta, curvature = persons.zeta[at], precision + persons.information[at]
    for _ in range(NEWTON_STEPS):
        u, log_tail = _censored_tail(cut, p, zeta[:, None])
        hazard = np.exp(-0.5 * u**2 - LOG_SQRT_2PI - log_tail)[:, 0]
        slope = cut.by_person @ (steepness * hazard)
        curvature = precision + persons.information[at] + cut.by_person @ (steepness**2 * hazard * (hazard + u[:, 0]))
        rise = precision * (expected - zeta) + persons.pull[at] - persons.information[at] * zeta - slope
        zeta = zeta + rise / curvature
    return zeta, 1 / np.sqrt(curvature)


def _quadrature(
    log_weights: Floats, log_time: Floats, zeta: Floats, rho: float, grid: Grid
) -> tuple[Floats, Floats, Floats, Floats]:
    """Sum over ability (Q) and speed nodes (R) of m persons, zeta | theta ~ N(rho theta, v) between them.

    Returns the weights of ability (m, Q) and of speed (m, R), the mean of theta zeta (m,) and the log of the sum (m,).
    """
    v = 1 - rho**2
    by_theta, by_zeta = log_weights - 0.5 * rho**2 / v * grid.theta**2, log_time - 0.5 / v * zeta**2
    weights, speed = np.empty_like(log_weights), np.empty_like(zeta)
    cross, log_total = np.empty(len(zeta)), np.empty(len(zeta))
    for begin in range(0, len(zeta), PERSONS_AT_ONCE):
        part = slice(begin, begin + PERSONS_AT_ONCE)
        joint = (rho / v * grid.theta)[:, None] * zeta[part, None, :]  # (persons, Q, R)
        joint += by_theta[part, :, None]
        joint += by_zeta[part, None, :]
        top = joint.max(axis=(1, 2), keepdims=True)
        joint -= top
        np.exp(joint, out=joint)
        total = joint.sum(axis=(1, 2), keepdims=True)
        joint /= total
        weights[part], speed[part] = joint.sum(axis=2), joint.sum(axis=1)
        cross[part] = np.einsum("mqr,q,mr->m", joint, grid.theta, zeta[part], optimize=True)
        log_total[part] = (top + np.log(total))[:, 0, 0]
    return weights, speed, cross, log_total


def _censored_tail(cut: Censored, p: Parameters, zeta: Floats) -> tuple[Floats, Floats]:
    """(lambda - phi zeta - limit) / sigma at every person's speed nodes, (n, R), and the log of Phi of it."""
    sd = np.exp(0.5 * p.log_sigma2[cut.item])
    above = (p.x[cut.item, INTENSITY] - cut.limit) / sd
    u = above[:, None] - (p.phi[cut.item] * p.sd[1] / sd)[:, None] * zeta[cut.row]
    return u, log_ndtr(u)


def _censored_sums(cut: Censored, p: Parameters, zeta: Floats, u: Floats, log_tail: Floats, speed: Floats) -> Floats:
    """(6, K): 1, E y, E y^2, E zeta, E zeta^2, E y zeta of the censored log times y."""
    sd = np.exp(0.5 * p.log_sigma2[cut.item])[:, None]
    z, w, limit = zeta[cut.row], speed[cut.row], cut.limit[:, None]
    mean = limit + u * sd
    hazard = np.exp(-0.5 * u**2 - LOG_SQRT_2PI - log_tail)
    y = mean + sd * hazard
    y2 = mean**2 + sd**2 + sd * hazard * (limit + mean)
    values = [np.ones(len(w)), *((w * part).sum(axis=1) for part in (y, y2, z, z**2, y * z))]
    return np.stack([np.bincount(cut.item, weights=value, minlength=len(p.x)) for value in values])


def m_step(e: Expected, curves: Curves, prior: Prior, n_times: Floats) -> Parameters:
    """M-step, from the sums over all persons: one Newton step for each item's x, then sigma2 and the covariance of the
    persons in closed form.

    The persons' mean is freed for a moment, too, and then moved into the items (parameter-expanded EM, Liu, Rubin &
    Wu 1998, Biometrika 85, 755-770): where persons are known well, EM would creep along that direction.
    """
    p = curves.p
    gradient, information = item_score(e, curves)
    precision = np.linalg.inv(prior.cov)
    gradient -= (p.x - prior.offset - item_mean(p.x, prior)) @ precision
    step = np.linalg.solve(information + precision, gradient[:, :, None])[:, :, 0]
    x = p.like(np.concatenate([(p.x + np.clip(step, -1, 1)).ravel(), p.log_sigma2, p.population])).x
    n, y, y2, z, z2, yz = e.times
    f, lam = softplus(x[:, TIME_SLOPE]) * p.sd[1], x[:, INTENSITY]
    squares = y2 - 2 * lam * y + n * lam**2 + 2 * f * (yz - lam * z) + f**2 * z2
    weight = prior.sigma2_weight
    sigma2 = (np.maximum(squares, 0) + weight * prior.sigma2) / (n + weight - lost_degrees(n_times))
    mean, spread = _population(e.persons, x, p, prior)
    x[:, [INTERCEPT, INTENSITY]] -= softplus(x[:, [SLOPE, TIME_SLOPE]]) * mean
    return p.like(np.concatenate([x.ravel(), np.log(sigma2), spread]))


def item_score(e: Expected, curves: Curves) -> tuple[Floats, Floats]:
    """Gradient (K, 4) and complete-data information (K, 4, 4) of the expected log likelihood in x."""
    p, grid = curves.p, curves.grid
    up, down, up2, down2 = node_scores(curves)
    score, weight = e.right * up + e.wrong * down, e.right * up2 + e.wrong * down2
    theta = p.sd[0] * grid.theta
    n, y, _, z, z2, yz = e.times
    da, df = softplus_slope(p.x[:, SLOPE]), softplus_slope(p.x[:, TIME_SLOPE]) * p.sd[1]
    f, lam, sigma2 = p.phi * p.sd[1], p.lambda_, p.sigma2
    gradient = [
        da * (score @ theta),
        -score.sum(axis=1),
        -df * (yz - lam * z + f * z2) / sigma2,
        (y - n * lam + f * z) / sigma2,
    ]
    information = np.zeros((len(n), 4, 4))
    information[:, 0, 0] = da**2 * (weight @ theta**2)
    information[:, 0, 1] = information[:, 1, 0] = -da * (weight @ theta)
    information[:, 1, 1] = weight.sum(axis=1)
    information[:, 2, 2] = df**2 * z2 / sigma2
    information[:, 2, 3] = information[:, 3, 2] = -df * z / sigma2
    information[:, 3, 3] = n / sigma2
    return np.stack(gradient, axis=1), information


def node_scores(curves: Curves) -> tuple[Floats, Floats, Floats, Floats]:
    """First derivatives in u of log Phi(u) and log Phi(-u), then minus the second ones (both positive)."""
    u = probits(curves.p, curves.grid)
    log_density = -0.5 * u**2 - LOG_SQRT_2PI
    up, down = np.exp(log_density - curves.log_right), -np.exp(log_density - curves.log_wrong)
    return up, down, up * (up + u), down * (down + u)


def _population(persons: Floats, x: Floats, p: Parameters, prior: Prior) -> tuple[Floats, Floats]:
    """Mean (2,) of (theta, zeta), then log sds and Fisher's z of their covariance, that maximise the expected density.

    Only the prior of the items stands against a mean: it asks for x - D mean to be likely items.
    """
    n, theta, zeta, theta2, zeta2, cross = persons.tolist()
    at = np.array([theta, zeta]) / n * p.sd
    seen = np.array([[theta2, cross], [cross, zeta2]]) * np.outer(p.sd, p.sd)
    mean = _mean(n, at, x, p, prior)
    believed = prior.person_weight * np.diag(np.square(prior.person_sd))
    around = seen - n * (np.outer(mean, at) + np.outer(at, mean) - np.outer(mean, mean))
    cov = (around + believed) / (n + prior.person_weight)
    sd = np.sqrt(np.diag(cov))
    return mean, np.array([*np.log(sd), np.arctanh(cov[0, 1] / sd.prod())])


def _mean(n: float, at: Floats, x: Floats, p: Parameters, prior: Prior) -> Floats:
    """The mean (2,) of n persons at `at` on average; quadratic in it and in the items' mean (4,) beside it."""
    own = x - prior.offset
    shift = np.zeros((len(x), 4, 2))  # D: what x loses for each unit of the persons' mean
    shift[:, INTERCEPT, 0], shift[:, INTENSITY, 1] = softplus(x[:, SLOPE]), softplus(x[:, TIME_SLOPE])
    items, hold = np.linalg.inv(prior.cov), np.diag(prior.mean_sd**-2)
    inner = p.rho * p.sd.prod()
    persons = n * np.linalg.inv(np.array([[p.sd[0] ** 2, inner], [inner, p.sd[1] ** 2]]))
    both = items @ shift.sum(axis=0)
    shared = persons + np.einsum("kai,ab,kbj->ij", shift, items, shift, optimize=True)
    left = np.block([[shared, both.T], [both, len(x) * items + hold]])
    of_persons = persons @ at + np.einsum("kai,ab,kb->i", shift, items, own, optimize=True)
    right = np.concatenate([of_persons, items @ own.sum(axis=0) + hold @ prior.mean])
    return np.asarray(np.linalg.solve(left, right)[:2])
