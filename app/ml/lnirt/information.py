"""What the data know of the items: observed information, and the prior that the items share.

Louis (1982), J. Royal Stat. Soc. B 44, 226-233, for the information that is missing because persons are not observed.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.sparse import csr_array

from app.ml.lnirt.data import Floats, Ints, ResponseMatrix
from app.ml.lnirt.em import Expected, item_score, node_scores, probits
from app.ml.lnirt.groups import mixed_model
from app.ml.lnirt.parameters import (
    INTENSITY,
    INTERCEPT,
    SLOPE,
    TIME_SLOPE,
    Grid,
    Parameters,
    Prior,
    item_mean,
    softplus_slope,
)

CHUNK = 50_000  # answers at a time: 50,000 x 31 nodes are 12 MB
PRIOR_WEIGHT = 6.0  # items that the weak prior's covariance is worth against the covariance seen


def observed_information(answers: ResponseMatrix, e: Expected, p: Parameters, grid: Grid, max_answers: int) -> Floats:
    """Information (K, 4, 4) about each item's x, without the prior, its other parameters being known.

    Louis (1982): the information the complete data would have, less the posterior variance of each answer's score.
    Beyond `max_answers` answers that variance is taken from the first persons only and scaled up.
    Blocks of different items are not coupled, as R LNIRT's identification fixes the sample's own mean and spread.
    """
    _, complete = item_score(e, p, grid)
    lost = np.zeros_like(complete)
    lost[:, :2, :2] = _lost_on_marks(answers, e, p, grid, max_answers)
    lost[:, 2:, 2:] = _lost_on_times(answers, e, p, max_answers)
    return _subtract(complete, lost)


def _subtract(complete: Floats, lost: Floats) -> Floats:
    """complete - lost, keeping at least a tenth of `complete` in every direction (rare answers make `lost` noisy)."""
    ridge = complete + 1e-9 * np.eye(4)
    root = np.linalg.cholesky(ridge)
    inverse = np.linalg.inv(root)
    shares, axes = np.linalg.eigh(inverse @ lost @ inverse.transpose(0, 2, 1))
    axes = root @ axes
    return np.asarray((axes * (1 - np.clip(shares, 0, 0.9))[:, None, :]) @ axes.transpose(0, 2, 1))


def _first_persons(table: csr_array, max_answers: int) -> int:
    """The number of persons that hold about the first `max_answers` answers."""
    return min(int(np.searchsorted(table.indptr, max_answers)) + 1, int(table.shape[0]))


def _lost_on_marks(answers: ResponseMatrix, e: Expected, p: Parameters, grid: Grid, max_answers: int) -> Floats:
    """(K, 2, 2): sum over answers of the posterior covariance of the score in (a, beta)."""
    up, down, _, _ = node_scores(probits(p, grid), e.log_right, e.log_wrong)
    level = -np.concatenate([up, down])  # (2K, Q): of right, then of wrong answers
    slope = -level * p.sd[0] * grid.theta * np.tile(softplus_slope(p.x[:, SLOPE]), 2)[:, None]
    marks = answers.marks
    rows = _first_persons(marks, max_answers)
    used, weights = marks[:rows], e.persons.weights[:rows]
    counts = used.T @ weights
    means = [_mean_scores(used, weights, score) for score in (slope, level)]
    lost = np.empty((2 * answers.n_items, 2, 2))
    for i, left in enumerate((slope, level)):
        for j, right in enumerate((slope, level)):
            squares = np.bincount(used.indices, used.data * means[i] * means[j], len(lost))
            lost[:, i, j] = (counts * left * right).sum(axis=1) - squares
    seen = _both(np.bincount(used.indices, used.data, len(lost)).astype(float))
    everything = _both(np.bincount(marks.indices, marks.data, len(lost)).astype(float))
    return _both(lost) * (everything / np.maximum(seen, 1))[:, None, None]


def _both(values: Floats) -> Floats:
    """Right and wrong answers (2K, ...) together, (K, ...)."""
    k = len(values) // 2
    return np.asarray(values[:k] + values[k:])


def _mean_scores(used: csr_array, weights: Floats, scores: Floats) -> Floats:
    """Posterior mean of each answer's score, in the order of `used.indices`."""
    person = np.repeat(np.arange(used.shape[0]), np.diff(used.indptr))
    parts = [slice(begin, begin + CHUNK) for begin in range(0, len(person), CHUNK)]
    means = [np.einsum("nq,nq->n", weights[person[part]], scores[used.indices[part]]) for part in parts]
    return np.concatenate(means) if means else np.zeros(0)


def _lost_on_times(answers: ResponseMatrix, e: Expected, p: Parameters, max_answers: int) -> Floats:
    """(K, 2, 2): the same for (f, lambda), the posterior of speed taken as Gaussian; censored times as observed."""
    k = answers.n_items
    rows = _first_persons(answers.timed, max_answers)
    used = answers.timed[:rows]
    row = np.repeat(np.arange(rows), np.diff(used.indptr))
    item, y = used.indices, answers.logt[:rows].data / used.data
    lam, precision = p.lambda_, 1 / p.sigma2
    mean = e.persons.zeta[row]
    variance = (e.persons.zeta2 - e.persons.zeta**2)[row]
    f = (p.phi * p.sd[1])[item]
    df = p.sd[1] * softplus_slope(p.x[:, TIME_SLOPE])
    tilt = y - lam[item] + 2 * f * mean  # derivative of zeta * (y - lambda + phi zeta) at the mean
    parts = variance * tilt**2 + 2 * f**2 * variance**2, -f * variance * tilt, f**2 * variance
    total = [np.bincount(item, used.data * part, k) for part in parts]
    ratio = answers.n_times / np.maximum(np.bincount(item, used.data, k), 1) * precision**2
    lost = np.empty((k, 2, 2))
    lost[:, 0, 0] = df**2 * total[0] * ratio
    lost[:, 0, 1] = lost[:, 1, 0] = df * total[1] * ratio
    lost[:, 1, 1] = total[2] * ratio
    return lost


def learn_prior(information: Floats, p: Parameters, prior: Prior, weak: Prior, groups: Sequence[Ints] = ()) -> Prior:
    """The items' common distribution, as EM for a hierarchical normal model sees it (empirical Bayes).

    Each item enters with its own uncertainty; the weak prior counts as PRIOR_WEIGHT items more, so that
    five items give no certainty. sigma2 of an unseen item is the harmonic mean of the others'. `groups` holds each
    item's place among the groups of one level, (K,) a level: intercept and intensity are expected around theirs.
    """
    x, cov = p.x, prior.cov
    data = np.linalg.inv(cov) @ (x - prior.offset - item_mean(x, prior))[:, :, None]  # the answers' gradient at x
    offset, around = _of_groups(x, data[:, :, 0], information, weak, groups)
    evidence = information @ (x - offset)[:, :, None] + data
    mean, k = item_mean(x, replace(prior, offset=offset)), len(x)
    for _ in range(30):
        precision = np.linalg.inv(cov)
        posterior = np.linalg.inv(information + precision)
        centre = (posterior @ (evidence + (precision @ mean)[:, None]))[:, :, 0]
        mean = item_mean(centre, replace(prior, cov=cov, offset=np.zeros(4)))
        off = centre - mean
        cov = (off.T @ off + posterior.sum(axis=0) + PRIOR_WEIGHT * around) / (k + PRIOR_WEIGHT)
    weight = weak.sigma2_weight
    sigma2 = (k + weight) / (np.exp(-p.log_sigma2).sum() + weight / weak.sigma2)
    return replace(prior, cov=cov, offset=offset, sigma2=max(float(sigma2), 1e-4))


def _of_groups(
    x: Floats, data: Floats, information: Floats, weak: Prior, groups: Sequence[Ints]
) -> tuple[Floats, Floats]:
    """What the groups say of each item's x, (K, 4), and the covariance (4, 4) believed of items around that."""
    offset, around = np.zeros_like(x), weak.cov.copy()
    if len(groups):
        columns = [INTERCEPT, INTENSITY]
        precision = np.maximum(information[:, columns, columns], 1e-6)
        estimate = x[:, columns] + data[:, columns] / precision
        found = mixed_model(estimate, precision, weak.cov[columns, columns], groups)
        offset[:, columns] = found.offset
        around[columns, columns] = found.spread + found.offset_var.mean(axis=0)
    return offset, around
