"""Ability and speed of students as they finish tasks: evidence ages, a slip weighs little, a new pace is followed.

What an answer says of a student is that of `posterior.py`. Here students move: each further answer leaves only a
share of what the earlier ones said (power discounting: Smith 1979, J. R. Stat. Soc. B 41, 375-387), a share that is
estimated from the data. A time counts for at most so many standard deviations around what was expected of this
student (Huber 1964, Ann. Math. Stat. 35, 73-101), and from FAR on for less and less (redescending: Hampel 1974, J.
Am. Stat. Assoc. 69, 383-393). A second one in a row beyond them, to the same side, is no slip but another pace: it
counts for more, and what was known of the speed before, by the population too, for less. So the information of a
state may be negative; with what the population says it is always positive.

All of it for many students at once, one answer of each at a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, log1p, sqrt
from operator import attrgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, logit, ndtr

from app.ml.lnirt.posterior import ItemParameters, Population, Posterior

Floats = NDArray[np.float64]
COLUMNS = attrgetter("alpha", "beta", "alpha_var", "beta_var", "alpha_beta_cov", "phi", "sigma2", "time_var", "lambda_")
BOUND = 2.0  # standard deviations that a time counts for
FAR, ABSURD = 4.0, 8.0  # standard deviations: from FAR on a time counts for less, as a slip from ABSURD on for nothing
PACE_BOUND = 4.0  # the same of a second time in a row beyond them, to the same side
FOLLOWED = 0.25  # share of what was known of the speed, by the population too, that such a second time leaves
INFORMATION, PULL, SURPRISE = 0, 1, 2  # columns of a state, before the log-weights of the grid
STATE = 3
REMEMBERED = 1_000  # answers of a student that are read again at the most
FORGOTTEN = 1e-4  # share of an answer that no longer counts
AT_ONCE = 4_096  # predictions: what is worked on stays in the processor's cache
LEVELS = np.array([0.1, 0.9])
TINY = 1e-6  # of a probability


@dataclass(frozen=True, slots=True)
class Answered:
    """n answers, those of a student one after another in the order in which they came."""

    columns: Floats  # (9, n) of their items, practised
    correct: NDArray[np.bool_]  # (n,)
    log_seconds: Floats  # (n,)

    def __len__(self) -> int:
        return len(self.correct)


def columns_of(items: Sequence[ItemParameters]) -> Floats:
    """Parameters of K items, (9, K) as in COLUMNS."""
    return np.array([COLUMNS(item) for item in items], np.float64).reshape(-1, 9).T


def predictor(columns: Floats, theta: Floats) -> Floats:
    """The probit of P(right) at each theta, the items' own uncertainty folded in; `columns` (9, ...) broadcasts."""
    alpha, beta, alpha_var, beta_var, cov = columns[:5]
    return np.asarray((alpha * theta - beta) / np.sqrt(1 + beta_var - 2 * cov * theta + alpha_var * theta**2))


def practised(population: Population, columns: Floats, practice: Floats) -> Floats:
    """The items' columns (9, n) as they are for students who have done so many tasks on the topic and on the very
    exercise, `practice` (2, n): practice makes a task easier or quicker (learning factors: Pavlik, Cen & Koedinger
    2009, Proc. AIED, 531-538)."""
    p = population
    topic, item = np.log1p(practice) - np.array([[p.usual_topic], [p.usual_item]])
    moved = columns.copy()
    moved[1] -= p.probit_topic * topic + p.probit_item * item
    moved[8] += p.time_topic * topic + p.time_item * item
    return moved


def newcomers(population: Population, n: int = 1) -> Floats:
    """States of students without answers, (n, nodes + 3)."""
    return np.tile(np.concatenate([np.zeros(STATE), population.log_weights]), (n, 1))


def follow(population: Population, answered: Answered, counts: NDArray[np.intp], begin: Floats) -> Floats:
    """The state after each answer, (n, nodes + 3), of s students who gave `counts` (s,) of them each.

    `begin` (s, nodes + 3) is where they stand before.
    """
    after = np.empty((len(answered), begin.shape[1]))
    ranked = np.argsort(-counts, kind="stable")  # those who go on stay in front
    first, state = (np.cumsum(counts) - counts)[ranked], begin[ranked].copy()
    going = np.searchsorted(-counts[ranked], -np.arange(counts.max(initial=0)))  # students with more answers than t
    for step, s in enumerate(going):
        rows = first[:s] + step
        _answer(population, answered, rows, state[:s])
        after[rows] = state[:s]
    return after


def _answer(population: Population, answered: Answered, rows: NDArray[np.intp], state: Floats) -> None:
    """One answer more of each of s students; their states (s, nodes + 3) are changed in place."""
    columns = answered.columns[:, rows]
    phi, sigma2, time_var, expected = columns[5:]
    noise = sigma2 + time_var
    information, pull, weights = state[:, INFORMATION], state[:, PULL], state[:, STATE:]
    if population.ability_kept < 1:
        weights -= (1 - population.ability_kept) * (weights - population.log_weights)
    sign = np.where(answered.correct[rows], 1.0, -1.0)[:, None]
    weights += log_ndtr(sign * predictor(columns[:, :, None], population.theta))
    precision = 1 / population.var_zeta + information
    centre = expected - phi * (population.mu_zeta / population.var_zeta + pull) / precision
    spread = np.sqrt(noise + phi * phi / precision)
    off = (answered.log_seconds[rows] - centre) / spread
    side = np.sign(off) * (np.abs(off) > BOUND)
    again = (side != 0) & (side == state[:, SURPRISE])
    kept, bound = np.where(again, FOLLOWED, population.speed_kept), np.where(again, PACE_BOUND, BOUND)
    counts = np.where(again, 1.0, np.clip((ABSURD - np.abs(off)) / (ABSURD - FAR), 0, 1))
    held = centre + np.clip(off, -bound, bound) * spread
    given_up = again * (1 - FOLLOWED) / population.var_zeta  # of what the population says
    state[:, INFORMATION] = kept * information - given_up + counts * phi * phi / noise
    state[:, PULL] = kept * pull - given_up * population.mu_zeta + counts * phi * (expected - held) / noise
    state[:, SURPRISE] = side


def remembered(population: Population) -> int:
    """How many of a student's newest answers still count for anything."""
    kept = max(population.ability_kept, population.speed_kept)
    return REMEMBERED if kept >= 1 else min(REMEMBERED, int(np.ceil(np.log(FORGOTTEN) / np.log(kept))))


def posterior(population: Population, state: Floats) -> Posterior:
    """What a state (nodes + 3,) says of the student."""
    return Posterior(population, state[STATE:], float(state[INFORMATION]), float(state[PULL]))


@dataclass(frozen=True, slots=True)
class Predictions:
    """Posterior predictive of n tasks, (n,) each: probability with its 10-90 %, log seconds with the sd of the time."""

    probability: Floats
    low: Floats
    high: Floats
    log_seconds: Floats
    spread: Floats

    @classmethod
    def joined(cls, parts: "Sequence[Predictions]") -> "Predictions":
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__slots__))


def predict(population: Population, states: Floats, columns: Floats) -> Predictions:
    """What n students, states (n, nodes + 3), may expect of an item each, columns (9, n) as in COLUMNS.

    The time is the normal distribution with the mean and the variance of its mixture over theta. The probability's
    interval is theta's, stretched by what is not known of the item.
    """
    if len(states) > AT_ONCE:
        ends = range(AT_ONCE, len(states), AT_ONCE)
        pairs = zip(np.split(states, ends), np.split(columns, ends, axis=1), strict=True)
        return Predictions.joined([predict(population, *pair) for pair in pairs])
    theta, spline = population.fine
    v, expected, slope = population.var_zeta_given_theta, population.zeta, population.slope
    precision = 1 / v + states[:, INFORMATION, None]  # (n, 1)
    speed = (expected / v + states[:, PULL, None]) / precision  # (n, nodes)
    joint = states[:, STATE:] + 0.5 * (precision * speed**2 - expected**2 / v)
    weights = joint @ spline.T
    np.exp(weights - weights.max(axis=1, keepdims=True), out=weights)
    weights[:, [0, -1]] /= 2  # trapezoids: absurd answers pile up at the end of the grid
    weights /= weights.sum(axis=1, keepdims=True)
    mean = weights @ theta
    var = np.maximum(weights @ theta**2 - mean**2, 1e-12)
    right = (weights * ndtr(predictor(columns[:, :, None], theta))).sum(axis=1)
    low, high = _bounds(weights, theta, mean, var, columns)
    carried = slope / (v * precision[:, 0])  # how much of theta's spread goes into speed
    phi, sigma2, time_var, intensity = columns[5:]
    zeta = speed[:, 0] + carried * (mean - population.theta[0])
    spread = np.sqrt(sigma2 + time_var + phi**2 * (1 / precision[:, 0] + carried**2 * var))
    return Predictions(right, np.minimum(low, right), np.maximum(high, right), intensity - phi * zeta, spread)


class Said(NamedTuple):
    """The same of one task, as plain numbers."""

    probability: float
    low: float
    high: float
    log_seconds: float
    spread: float


def predict_one(population: Population, state: Floats, column: Sequence[float]) -> Said:
    """`predict` of one student (nodes + 3,) and one item (9,), in half of its time: a request waits for it."""
    p = population
    theta, spline, squares = p.fine[0], p.fine[1], p.fine_squares
    v, slope = p.var_zeta_given_theta, p.slope
    precision = 1 / v + float(state[INFORMATION])
    speed = (p.zeta / v + float(state[PULL])) / precision
    joint = state[STATE:] + 0.5 * (precision * speed * speed - p.zeta_squares / v)
    weights = spline @ joint
    weights -= weights.max()
    np.exp(weights, out=weights)
    weights[0] *= 0.5
    weights[-1] *= 0.5
    weights /= weights.sum()
    mean = float(weights @ theta)
    var = max(float(weights @ squares) - mean * mean, 1e-12)
    alpha, beta, alpha_var, beta_var, cov, phi, sigma2, time_var, intensity = column
    u = alpha * theta - beta
    if alpha_var:
        u /= np.sqrt(1 + beta_var - 2 * cov * theta + alpha_var * squares)
    else:
        u /= sqrt(1 + beta_var)
    right = float(weights @ ndtr(u))
    within = np.cumsum(weights) - 0.5 * weights
    stretch = sqrt(1 + (beta_var - 2 * cov * mean + alpha_var * mean * mean) / max(alpha * alpha * var, 1e-12))
    bounds = np.interp(LEVELS, within, theta)
    low, high = ndtr(alpha * (mean + stretch * (bounds - mean)) - beta).tolist()
    carried = slope / (v * precision)
    zeta = float(speed[0]) + carried * (mean - float(p.theta[0]))
    spread = sqrt(sigma2 + time_var + phi * phi * (1 / precision + carried * carried * var))
    return Said(right, min(low, right), max(high, right), intensity - phi * zeta, spread)


def practised_one(population: Population, column: Sequence[float], on_topic: float, on_item: float) -> list[float]:
    """`practised` of one item (9,)."""
    p, moved = population, list(column)
    topic, item = log1p(on_topic) - p.usual_topic, log1p(on_item) - p.usual_item
    moved[1] -= p.probit_topic * topic + p.probit_item * item
    moved[8] += p.time_topic * topic + p.time_item * item
    return moved


def base_inputs(said: Predictions) -> Floats:
    """Log odds and log seconds, (n, 2)."""
    return np.column_stack([logit(np.clip(said.probability, TINY, 1 - TINY)), said.log_seconds])


def base_input(said: Said) -> Floats:
    """The same of one task, (1, 2)."""
    p = min(max(said.probability, TINY), 1 - TINY)
    return np.array([[log(p / (1 - p)), said.log_seconds]])


def _bounds(weights: Floats, theta: Floats, mean: Floats, var: Floats, columns: Floats) -> tuple[Floats, Floats]:
    """10 and 90 % of the probability, (n,) each."""
    alpha, beta, alpha_var, beta_var, cov = columns[:5]
    within = np.cumsum(weights, axis=1) - 0.5 * weights
    stretch = np.sqrt(1 + (beta_var - 2 * cov * mean + alpha_var * mean**2) / np.maximum(alpha**2 * var, 1e-12))
    rows = np.arange(len(weights))
    found = []
    for level in LEVELS:
        after = np.clip((within < level).sum(axis=1), 1, len(theta) - 1)
        before, step = within[rows, after - 1], theta[1] - theta[0]
        share = np.clip((level - before) / np.maximum(within[rows, after] - before, 1e-300), 0, 1)
        bound = theta[after - 1] + share * step
        found.append(ndtr(alpha * (mean + stretch * (bound - mean)) - beta))
    return found[0], found[1]
