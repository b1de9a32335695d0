"""Where a student stands among the students that LNIRT knows, and the way there, answer by answer.

A posterior is a sum over answers (lnirt_posterior.py), so the one before some answers is that of now less what they
added, and adding them again step by step gives the path. LNIRT takes ability and speed as the same all along: what
moves is what is known of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtr

from app.ml.lnirt_posterior import ItemParameters, Population, Posterior, newcomer

Floats = NDArray[np.float64]
COLUMNS = attrgetter("alpha", "beta", "alpha_var", "beta_var", "alpha_beta_cov", "phi", "sigma2", "time_var", "lambda_")
Z_80 = 1.2815515655446004  # 90 % quantile of the standard normal: 10-90 % holds four of five


@dataclass(frozen=True, slots=True)
class Answered:
    """n answers in the order in which they came."""

    items: Sequence[ItemParameters]  # that occur
    item: NDArray[np.intp]  # (n,) position in items
    correct: NDArray[np.bool_]  # (n,)
    seconds: Floats  # (n,) > 0


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


def path(now: Posterior, answered: Answered, ends: Sequence[int], *, are_all: bool) -> list[Posterior]:
    """The posterior before these answers, and after the first `ends[0]`, `ends[1]`, ... of them.

    `now` holds all of the student's answers, these n the newest of them, or every one of them (`are_all`).
    `ends` rises and is at most n. Returns len(ends) + 1 posteriors; with ends[-1] = n the last one is `now`.
    """
    added = _sums(answered, now.population)
    before = newcomer(now.population).to_array() if are_all else now.to_array() - added[-1]
    return [Posterior.from_array(before + added[end], now.population) for end in (0, *ends)]


def _sums(answered: Answered, population: Population) -> Floats:
    """What the first 0, 1, ... n answers add to a posterior's array, (n + 1, nodes + 2)."""
    right, wrong, information, pull, centre = _by_item(answered.items, population)
    item, marks = answered.item, np.where(answered.correct[:, None], right[answered.item], wrong[answered.item])
    pulled = pull[item] * (centre[item] - np.log(answered.seconds))
    each = np.column_stack([information[item], pulled, marks])
    return np.concatenate([np.zeros((1, each.shape[1])), np.cumsum(each, axis=0)])


def _by_item(items: Sequence[ItemParameters], population: Population) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Of K items: log P(right) and log P(wrong) at each node of the grid, (K, nodes); and, (K,), what a time adds to
    the information, by how much it pulls for each log second below the usual, and the usual log time.
    """
    columns = np.array([COLUMNS(item) for item in items]).reshape(len(items), 9).T
    alpha, beta, alpha_var, beta_var, cov = columns[:5, :, None]
    theta = population.theta
    u = (alpha * theta - beta) / np.sqrt(1 + beta_var - 2 * cov * theta + alpha_var * theta**2)  # as `predictor`
    phi, sigma2, time_var, centre = columns[5:]
    ratio = phi / (sigma2 + time_var)
    return log_ndtr(u), log_ndtr(-u), phi * ratio, ratio, centre


def standing(posterior: Posterior) -> Standing:
    """Ability and speed as places among the population's students, each by its own normal distribution."""
    known, among = posterior.summary(), posterior.population
    return Standing(
        _place(known.theta, known.theta_sd, among.mu_theta, among.var_theta**0.5),
        _place(known.zeta, known.zeta_sd, among.mu_zeta, among.var_zeta**0.5),
    )


def _place(mean: float, sd: float, mu: float, spread: float) -> Place:
    low, middle, high = ndtr((mean + np.array([-Z_80, 0, Z_80]) * sd - mu) / spread)
    return Place(float(low), float(middle), float(high))
