"""Ability and speed of students as they finish tasks: evidence ages, a slip weighs little, a new pace is followed.

Ability theta is known through log-weights on a grid. Given theta, speed zeta is Gaussian, and two sums say all about
it: information = sum phi^2 / sigma2 and pull = sum phi (lambda - log t) / sigma2. Of a student who stays as they are,
each answer only adds to these. But students move: each further answer leaves only a share of what the earlier ones said
(power discounting: Smith 1979, J. R. Stat. Soc. B 41, 375-387), a share that is estimated from the data.

A time counts for at most so many standard deviations around what was expected of this student (Huber 1964, Ann. Math.
Stat. 35, 73-101), and from FAR on for less and less (redescending: Hampel 1974, J. Am. Stat. Assoc. 69, 383-393). A
second one in a row beyond them, to the same side, is no slip but another pace: it counts for more, and what was known
of the speed before, by the population too, for less. So the information of a state may be negative; with what the
population says it is always positive.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import copysign, log, sqrt
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, logit, ndtr

from app.ml.lnirt.population import ItemParameters, Population

Floats = NDArray[np.float64]
T = TypeVar("T", float, Floats)
Columns = TypeVar("Columns", list[float], Floats)
BOUND = 2.0  # standard deviations that a time counts for
FAR, ABSURD = 4.0, 8.0  # standard deviations: from FAR on a time counts for less, as a slip from ABSURD on for nothing
PACE_BOUND = 4.0  # the same of a second time in a row beyond them, to the same side
FOLLOWED = 0.25  # share of what was known of the speed, by the population too, that such a second time leaves
INFORMATION, PULL, SURPRISE = 0, 1, 2  # columns of a state, before the log-weights of the grid
STATE = 3
REMEMBERED = 1_000  # answers of a student that are read again at the most
FORGOTTEN = 1e-4  # share of an answer that no longer counts
BLOCK_PREDICTIONS = 4_096  # predictions: what is worked on stays in the processor's cache
Z_80 = 1.2815515655446004  # 90 % quantile of the standard normal: 10-90 % holds four of five
LEVELS = np.array([0.1, 0.9])
TINY = 1e-6  # of a probability


@dataclass(frozen=True, slots=True)
class Responses:
    """n answers, those of a student one after another in the order in which they came."""

    columns: Floats  # (9, n) of their items, practised
    correct: NDArray[np.bool_]  # (n,)
    log_seconds: Floats  # (n,)


class Predictive(NamedTuple, Generic[T]):
    """Posterior predictive of a task, or of n as (n,): probability with its 10-90 %, log seconds and their sd."""

    probability: T
    low: T
    high: T
    log_seconds: T
    spread: T


class AbilityEstimate(NamedTuple):
    """A state read out: weights (M,) of abilities on the fine grid, mean and sd of ability (theta) and speed (zeta)."""

    weights: Floats
    theta: float
    theta_sd: float
    zeta: float
    zeta_sd: float


class Place(NamedTuple):
    """The share of the population's students below this one, 0-1; in four of five cases it is within low to high."""

    low: float
    middle: float
    high: float


class Standing(NamedTuple):
    """Where a student stands at some point among the population's students."""

    ability: Place
    speed: Place


def columns_of(items: Sequence[ItemParameters]) -> Floats:
    """Parameters of K items, (9, K) in the order of ItemParameters."""
    return np.array(items, np.float64).reshape(-1, 9).T


def practised(population: Population, columns: Columns, practice: Sequence[float] | Floats) -> Columns:
    """The columns (9,) or (9, n) as they are for students who have done so many tasks on the topic and on the very
    exercise, `practice` (2,) or (2, n): practice makes a task easier or quicker (learning factors: Pavlik, Cen &
    Koedinger 2009, Proc. AIED, 531-538)."""
    p = population
    topic, item = np.log1p(practice[0]) - p.usual_topic, np.log1p(practice[1]) - p.usual_item
    moved = columns.copy()
    moved[1] -= p.probit_topic * topic + p.probit_item * item
    moved[3] += p.time_topic * topic + p.time_item * item
    return moved


def newcomers(population: Population, n: int = 1) -> Floats:
    """States of students without answers, (n, nodes + 3)."""
    return np.tile(np.concatenate([np.zeros(STATE), population.log_weights]), (n, 1))


def follow(population: Population, responses: Responses, counts: NDArray[np.intp], begin: Floats) -> Floats:
    """The state after each answer, (n, nodes + 3), of s students who gave `counts` (s,) of them each.

    `begin` (s, nodes + 3) is where they stand before. All students' next answers are taken in together; what marks say
    does not depend on what came before them, so that is worked out first.
    """
    after = np.empty((len(responses.correct), begin.shape[1]))
    for at in range(0, len(after), BLOCK_PREDICTIONS):
        part = slice(at, at + BLOCK_PREDICTIONS)
        sign = np.where(responses.correct[part], 1.0, -1.0)[:, None]
        after[part, STATE:] = log_ndtr(sign * predictor(responses.columns[:, part, None], population.theta))
    if len(counts) == 1:
        _follow_one(population, responses, begin[0], after)
        return after
    ranked = np.argsort(-counts, kind="stable")  # those who go on stay in front
    first, state = (np.cumsum(counts) - counts)[ranked], begin[ranked].copy()
    going = np.searchsorted(-counts[ranked], -np.arange(counts.max(initial=0)))  # students with more answers than t
    for step, s in enumerate(going):
        rows = first[:s] + step
        _update(population, responses, rows, after[rows, STATE:], state[:s])
        after[rows] = state[:s]
    return after


def _follow_one(population: Population, responses: Responses, begin: Floats, after: Floats) -> None:
    """What `_update` does with a single student's answers, in plain numbers: a request waits for it. `after`
    (n, nodes + 3) holds what their marks say, and then the state after each."""
    prior, drawn = 1 / population.var_zeta, population.mu_zeta / population.var_zeta
    forgotten, weights = 1 - population.ability_kept, begin[STATE:]
    information, pull, surprise = begin[:STATE].tolist()
    columns, times = responses.columns, responses.log_seconds.tolist()
    items = zip(columns[2].tolist(), columns[3].tolist(), (columns[4] + columns[8]).tolist(), times, strict=True)
    for row, (phi, expected, noise, log_seconds) in zip(after, items, strict=True):
        row[STATE:] += weights - forgotten * (weights - population.log_weights) if forgotten else weights
        weights = row[STATE:]
        precision = prior + information
        centre = expected - phi * (drawn + pull) / precision
        spread = sqrt(noise + phi * phi / precision)
        off = (log_seconds - centre) / spread
        side = copysign(1.0, off) if abs(off) > BOUND else 0.0
        if side and side == surprise:
            kept, bound, counts, given_up = FOLLOWED, PACE_BOUND, 1.0, 1 - FOLLOWED
        else:
            kept, bound, given_up = population.speed_kept, BOUND, 0.0
            counts = min(max((ABSURD - abs(off)) / (ABSURD - FAR), 0.0), 1.0)
        held = centre + min(max(off, -bound), bound) * spread
        information = kept * information - given_up * prior + counts * phi * phi / noise
        pull = kept * pull - given_up * drawn + counts * phi * (expected - held) / noise
        surprise = side
        row[:STATE] = information, pull, surprise


def _update(population: Population, responses: Responses, rows: NDArray[np.intp], marks: Floats, state: Floats) -> None:
    """Take in one answer more of each of s students, whose marks say this (s, nodes); their states (s, nodes + 3) are
    changed in place."""
    columns = responses.columns[:, rows]
    phi, expected, noise = columns[2], columns[3], columns[4] + columns[8]
    information, pull, weights = state[:, INFORMATION], state[:, PULL], state[:, STATE:]
    if population.ability_kept < 1:
        weights -= (1 - population.ability_kept) * (weights - population.log_weights)
    weights += marks
    precision = 1 / population.var_zeta + information
    centre = expected - phi * (population.mu_zeta / population.var_zeta + pull) / precision
    spread = np.sqrt(noise + phi * phi / precision)
    off = (responses.log_seconds[rows] - centre) / spread
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


def predictor(columns: Floats | Sequence[float], theta: Floats) -> Floats:
    """The probit of P(right) at each theta, the items' own uncertainty folded in; `columns` (9, ...) broadcasts."""
    return np.asarray((columns[0] * theta - columns[1]) / np.sqrt(1 + _doubt(columns, theta)))


def _doubt(columns: Floats | Sequence[float], theta: T) -> T:
    """Variance of alpha theta - beta through not knowing alpha and beta well."""
    alpha_var, beta_var, cov = columns[5:8]
    return beta_var - 2 * cov * theta + alpha_var * theta * theta


def estimate(population: Population, state: Floats) -> AbilityEstimate:
    """What a state (nodes + 3,) says of the student.

    At each node speed is a Gaussian integral, N(zeta; expected, v) exp(pull zeta - information zeta^2 / 2).
    """
    p = population
    v, (linear, square) = p.var_zeta_given_theta, p.speed_terms
    precision = 1 / v + float(state[INFORMATION])
    speed = (linear + float(state[PULL])) / precision
    weights = p.fine[1] @ (state[STATE:] + 0.5 * (precision * speed * speed - square))
    weights -= weights.max()
    np.exp(weights, out=weights)
    weights[0] *= 0.5  # trapezoids: absurd answers pile up at the end of the grid
    weights[-1] *= 0.5
    total, first, second = (p.powers @ weights).tolist()
    mean = first / total
    var = max(second / total - mean * mean, 1e-12)
    carried = p.slope / (v * precision)  # how much of theta's spread goes into speed
    zeta = float(speed[0]) + carried * (mean - float(p.theta[0]))
    return AbilityEstimate(weights / total, mean, sqrt(var), zeta, sqrt(1 / precision + carried * carried * var))


def standing(population: Population, state: Floats) -> Standing:
    """Ability and speed of a state (nodes + 3,) as places among the students, each by its own normal distribution."""
    p, known = population, estimate(population, state)
    return Standing(
        _place(known.theta - p.mu_theta, known.theta_sd, sqrt(p.var_theta)),
        _place(known.zeta - p.mu_zeta, known.zeta_sd, sqrt(p.var_zeta)),
    )


def _place(above: float, sd: float, spread: float) -> Place:
    return Place(*ndtr((above + np.array([-Z_80, 0, Z_80]) * sd) / spread).tolist())


def predict_one(population: Population, state: Floats, column: Sequence[float]) -> Predictive[float]:
    """`predict` of one student (nodes + 3,) and one item (9,), in half of its time: a request waits for it."""
    weights, mean, sd, zeta, zeta_sd = estimate(population, state)
    theta = population.fine[0]
    alpha, beta, phi, intensity, sigma2, *_, time_var = column
    right = float(weights @ ndtr(predictor(column, theta)))
    bounds = np.interp(LEVELS, weights.cumsum() - 0.5 * weights, theta)
    stretch = sqrt(1 + _doubt(column, mean) / max((alpha * sd) ** 2, 1e-12))
    low, high = ndtr(alpha * (mean + stretch * (bounds - mean)) - beta).tolist()
    spread = sqrt(sigma2 + time_var + (phi * zeta_sd) ** 2)
    return Predictive(right, min(low, right), max(high, right), intensity - phi * zeta, spread)


def predict(population: Population, states: Floats, columns: Floats) -> Predictive[Floats]:
    """What n students, states (n, nodes + 3), may expect of an item each, columns (9, n).

    The time is the normal distribution with the mean and the variance of its mixture over theta. The probability's
    interval is theta's, stretched by what is not known of the item.
    """
    if len(states) > BLOCK_PREDICTIONS:
        starts = range(0, len(states), BLOCK_PREDICTIONS)
        parts = [
            predict(population, states[at : at + BLOCK_PREDICTIONS], columns[:, at : at + BLOCK_PREDICTIONS])
            for at in starts
        ]
        return Predictive(*map(np.concatenate, zip(*parts, strict=True)))
    theta, spline = population.fine
    v, (linear, square) = population.var_zeta_given_theta, population.speed_terms
    precision = 1 / v + states[:, INFORMATION, None]  # (n, 1)
    speed = (linear + states[:, PULL, None]) / precision  # (n, nodes)
    joint = states[:, STATE:] + 0.5 * (precision * speed**2 - square)
    weights = joint @ spline.T
    np.exp(weights - weights.max(axis=1, keepdims=True), out=weights)
    weights[:, [0, -1]] /= 2
    weights /= weights.sum(axis=1, keepdims=True)
    mean = weights @ theta
    var = np.maximum(weights @ theta**2 - mean**2, 1e-12)
    right = (weights * ndtr(predictor(columns[:, :, None], theta))).sum(axis=1)
    low, high = _bounds(weights, theta, mean, var, columns)
    carried = population.slope / (v * precision[:, 0])
    phi, intensity, sigma2, *_, time_var = columns[2:]
    zeta = speed[:, 0] + carried * (mean - population.theta[0])
    spread = np.sqrt(sigma2 + time_var + phi**2 * (1 / precision[:, 0] + carried**2 * var))
    return Predictive(right, np.minimum(low, right), np.maximum(high, right), intensity - phi * zeta, spread)


def _bounds(weights: Floats, theta: Floats, mean: Floats, var: Floats, columns: Floats) -> list[Floats]:
    """10 and 90 % of the probability, (n,) each."""
    alpha, beta = columns[:2]
    within = np.cumsum(weights, axis=1) - 0.5 * weights
    stretch = np.sqrt(1 + _doubt(columns, mean) / np.maximum(alpha**2 * var, 1e-12))
    rows = np.arange(len(weights))
    found = []
    for level in LEVELS:
        after = np.clip((within < level).sum(axis=1), 1, len(theta) - 1)
        before, step = within[rows, after - 1], theta[1] - theta[0]
        share = np.clip((level - before) / np.maximum(within[rows, after] - before, 1e-300), 0, 1)
        bound = theta[after - 1] + share * step
        found.append(ndtr(alpha * (mean + stretch * (bound - mean)) - beta))
    return found


def base_inputs(predicted: Predictive[Floats]) -> Floats:
    """Log odds and log seconds, (n, 2)."""
    return np.column_stack([logit(np.clip(predicted.probability, TINY, 1 - TINY)), predicted.log_seconds])


def base_input(predicted: Predictive[float]) -> Floats:
    """The same of one task, (1, 2)."""
    p = min(max(predicted.probability, TINY), 1 - TINY)
    return np.array([[log(p / (1 - p)), predicted.log_seconds]])
