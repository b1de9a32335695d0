"""What the data know of the items: observed information, and the prior that the items share.

Louis (1982), J. Royal Stat. Soc. B 44, 226-233, for the information that is missing because persons are not observed.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.sparse import csr_array

from app.ml.lnirt.data import Floats, Ints, ResponseMatrix, Responses, added
from app.ml.lnirt.em import Curves, Expected, Persons, item_score, node_scores, posteriors
from app.ml.lnirt.groups import mixed_model
from app.ml.lnirt.parameters import (
    INTENSITY,
    INTERCEPT,
    SLOPE,
    TIME_SLOPE,
    Parameters,
    Prior,
    item_mean,
    softplus_slope,
)

CHUNK = 50_000  # answers at a time: 50,000 x 31 nodes are 12 MB
PRIOR_WEIGHT = 6.0  # items that the weak prior's covariance is worth against the covariance seen


def observed_information(answers: Responses, e: Expected, curves: Curves, max_answers: int) -> Floats:
    """Information (K, 4, 4) about each item's x, without the prior, its other parameters being known.

    Louis (1982): the information the complete data would have, less the posterior variance of each answer's score.
    Beyond `max_answers` answers that variance is taken from the first persons only and scaled up.
    Blocks of different items are not coupled, as R LNIRT's identification fixes the sample's own mean and spread.
    """
    _, complete = item_score(e, curves)
    k, first = answers.n_items, int(np.searchsorted(np.cumsum(answers.answered), max_answers)) + 2
    on_marks, on_times = added(answers.each(_lost, curves, first)).reshape(2, k, 5).transpose(0, 2, 1)
    lost = np.zeros_like(complete)
    scale = answers.marks.reshape(2, k).sum(axis=0) / np.maximum(on_marks[4], 1)
    lost[:, :2, :2] = (on_marks[:4] * scale).T.reshape(k, 2, 2)
    scale = answers.n_times / np.maximum(on_times[4], 1)
    lost[:, 2:, 2:] = (on_times[:4] * scale).T.reshape(k, 2, 2)
    return _subtract(complete, lost)


def _subtract(complete: Floats, lost: Floats) -> Floats:
    """complete - lost, keeping at least a tenth of `complete` in every direction (rare answers make `lost` noisy)."""
    ridge = complete + 1e-9 * np.eye(4)
    root = np.linalg.cholesky(ridge)
    inverse = np.linalg.inv(root)
    shares, axes = np.linalg.eigh(inverse @ lost @ inverse.transpose(0, 2, 1))
    axes = root @ axes
    return np.asarray((axes * (1 - np.clip(shares, 0, 0.9))[:, None, :]) @ axes.transpose(0, 2, 1))


def _lost(answers: ResponseMatrix, curves: Curves, first: int) -> Floats:
    """Of those among the `first` persons of all that are in this shard, (2, K, 5): the sum over answers of the
    posterior covariance (2, 2) of the score in (a, beta), and their number; the same of times in (f, lambda)."""
    rows = min(max(first - answers.first, 0), answers.n_persons)
    if rows == 0:
        return np.zeros((2, answers.n_items, 5))
    persons = posteriors(answers, curves)
    return np.stack(
        [_lost_on_marks(answers.marks[:rows], persons, curves), _lost_on_times(answers, rows, persons, curves.p)]
    )


def _lost_on_marks(used: csr_array, persons: Persons, curves: Curves) -> Floats:
    p, k = curves.p, len(curves.log_right)
    up, down, _, _ = node_scores(curves)
    level = -np.concatenate([up, down])  # (2K, Q): of right, then of wrong answers
    slope = -level * p.sd[0] * curves.grid.theta * np.tile(softplus_slope(p.x[:, SLOPE]), 2)[:, None]
    weights = persons.weights[: used.shape[0]]
    counts = used.T @ weights
    means = [_mean_scores(used, weights, score) for score in (slope, level)]
    lost = []
    for i, left in enumerate((slope, level)):
        for j, right in enumerate((slope, level)):
            squares = np.bincount(used.indices, used.data * means[i] * means[j], 2 * k)
            lost.append((counts * left * right).sum(axis=1) - squares)
    lost.append(np.bincount(used.indices, used.data, 2 * k))
    return np.asarray([values[:k] + values[k:] for values in lost]).T  # right and wrong answers together


def _mean_scores(used: csr_array, weights: Floats, scores: Floats) -> Floats:
    """Posterior mean of each answer's score, in the order of `used.indices`."""
    person = np.repeat(np.arange(used.shape[0]), np.diff(used.indptr))
    parts = [slice(begin, begin + CHUNK) for begin in range(0, len(person), CHUNK)]
    means = [np.einsum("nq,nq->n", weights[person[part]], scores[used.indices[part]]) for part in parts]
    return np.concatenate(means) if means else np.zeros(0)


def _lost_on_times(answers: ResponseMatrix, rows: int, persons: Persons, p: Parameters) -> Floats:
    """The posterior of speed taken as Gaussian; censored times as observed."""
    k, used = answers.n_items, answers.timed[:rows]
    row = np.repeat(np.arange(rows), np.diff(used.indptr))
    item, y = used.indices, answers.logt[:rows].data / used.data
    lam, precision = p.lambda_, 1 / p.sigma2
    mean = persons.zeta[row]
    variance = (persons.zeta2 - persons.zeta**2)[row]
    f = (p.phi * p.sd[1])[item]
    df = p.sd[1] * softplus_slope(p.x[:, TIME_SLOPE])
    tilt = y - lam[item] + 2 * f * mean  # derivative of zeta * (y - lambda + phi zeta) at the mean
    parts = variance * tilt**2 + 2 * f**2 * variance**2, -f * variance * tilt, f**2 * variance
    both, mixed, level = (np.bincount(item, used.data * part, k) * precision**2 for part in parts)
    return np.stack([df**2 * both, df * mixed, df * mixed, level, np.bincount(item, used.data, k)], axis=1)


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
