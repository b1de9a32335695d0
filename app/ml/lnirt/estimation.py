"""LNIRT: the joint model of right and wrong answers and of the time they take, for small data.

For student i and item k, times in seconds, natural logs:

    P(right) = Phi(alpha_k theta_i - beta_k)        log T_ik ~ N(lambda_k - phi_k zeta_i, sigma2_k)
    (theta_i, zeta_i) ~ N(mu, Sigma)                zeta is speed: larger is faster

The hierarchical framework and the log-normal time model are van der Linden (2007), Psychometrika 72, 287-308; with the
time discrimination phi, this form is that of the R package LNIRT (Fox, Klein Entink & van der Linden 2007, J. Stat.
Software 20(7); Fox, Klotzke & Simsek 2023, PeerJ Comput. Sci. 9:e1232), which samples what is optimized here: the joint
marginal likelihood (Glas & van der Linden 2010). The scale is R's (ident = 2): mean theta = mean zeta = 0 over the
students of the fit, geometric mean of alpha and of phi = 1, variances free. `docs/lnirt.md` has priors and figures.
"""

import csv
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from app.core.files import open_private
from app.core.memory import give_back
from app.ml.lnirt.ability import INFORMATION, PULL, STATE
from app.ml.lnirt.data import Codes, Floats, Ints, ResponseMatrix, Responses, sparse_answers
from app.ml.lnirt.em import Curves, posteriors
from app.ml.lnirt.groups import codes_of
from app.ml.lnirt.information import learn_prior, observed_information
from app.ml.lnirt.optimizer import Optimum, optimize
from app.ml.lnirt.parameters import (
    INTERCEPT,
    SLOPE,
    TIME_SLOPE,
    Parameters,
    Prior,
    item_mean,
    lost_degrees,
    normal_grid,
    softplus,
    softplus_slope,
    with_identifiable_slopes,
)
from app.ml.lnirt.population import ItemParameters, Population

NODES = 31  # of ability in a student's posterior; a fit uses up to FINEST times finer grids where those are sharp
FINEST = 14
SPACING = 1.7  # of a fit's nodes, in posterior sds of its best known students: sums then miss integrals by 0.2 %
MOMENTS = 4  # of ability and speed
ROUGH_ANSWERS = 100_000  # answers from which the information is taken meanwhile
DEFAULT_SECONDS = 60.0  # the centre of lambda when no time was observed at all


@dataclass(frozen=True, slots=True)
class LnirtFit:
    """A fitted model: K items, N students. Standard errors and sds are on the scale of their numbers.

    `theta`, `zeta` are posterior means with the item parameters at their estimates. `prior_*` describe an item not yet
    seen, on the same scale: mean (4,) and covariance (4, 4) of (alpha, beta, phi, lambda), and sigma2.
    """

    items: NDArray[Any]  # (K,) labels
    persons: NDArray[Any]  # (N,) labels
    alpha: Floats  # (K,) from here to item_cov
    beta: Floats
    phi: Floats
    lambda_: Floats
    sigma2: Floats
    alpha_se: Floats
    beta_se: Floats
    phi_se: Floats
    lambda_se: Floats
    sigma2_se: Floats
    item_cov: Floats  # (K, 4, 4) of (alpha, beta, phi, lambda)
    theta: Floats  # (N,) from here to states
    zeta: Floats
    theta_sd: Floats
    zeta_sd: Floats
    states: Floats  # (N, nodes + 3) what is known of each student, as in ability.py
    population: Population
    prior_mean: Floats
    prior_cov: Floats
    offset: Floats  # (K, 4) what an item's groups add to `prior_mean`
    prior_sigma2: float
    trace: Floats  # the log posterior after each step of the last optimization, never falling
    converged: bool

    def item(self, index: int) -> ItemParameters:
        """Parameters of `items[index]` with their uncertainty."""
        mean = np.array([self.alpha[index], self.beta[index], self.phi[index], self.lambda_[index]])
        return ItemParameters.estimated(mean, self.item_cov[index], float(self.sigma2[index]), self.population)

    def write_csv(self, folder: Path) -> None:
        """Write items.csv, persons.csv and population.csv, their owner's only, into `folder`, which is created."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        names = ["alpha", "beta", "phi", "lambda", "sigma2"]
        values = [self.alpha, self.beta, self.phi, self.lambda_, self.sigma2]
        errors = [self.alpha_se, self.beta_se, self.phi_se, self.lambda_se, self.sigma2_se]
        _write(folder / "items.csv", ["item", *names, *(f"{n}_se" for n in names)], [self.items, *values, *errors])
        people = [self.persons, self.theta, self.zeta, self.theta_sd, self.zeta_sd]
        _write(folder / "persons.csv", ["person", "theta", "zeta", "theta_sd", "zeta_sd"], people)
        p = self.population
        params = ["mu_theta", "mu_zeta", "var_theta", "var_zeta", "cov_theta_zeta", "cor_theta_zeta"]
        estimates = [p.mu_theta, p.mu_zeta, p.var_theta, p.var_zeta, p.cov, p.cor]
        _write(folder / "population.csv", ["param", "estimate"], [params, estimates])


def _write(path: Path, header: list[str], columns: Sequence[Iterable[Any]]) -> None:
    with open_private(path) as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(zip(*columns, strict=True))


def fit(
    person: Sequence[Hashable] | NDArray[Any],
    item: Sequence[Hashable] | NDArray[Any],
    correct: ArrayLike,
    seconds: ArrayLike,
    *,
    censored: ArrayLike | None = None,
    groups: Sequence[Ints] = (),
    tolerance: float = 2e-4,
    max_steps: int = 300,
    with_states: bool = True,
) -> LnirtFit:
    """Fit the model to n answers in long form, each array of shape (n,); a student may meet an item again.

    `person`, `item`: labels of any kind. `correct`: 1, 0 or NaN. `seconds`: > 0 or NaN; each may be missing without
    the other. `censored`: True where the task was cut off at `seconds`, so that the full time is only known to be
    longer. Marginal MAP by EM over a grid of abilities; given ability, speed is integrated out in closed form. Of
    students with censored times, speed is integrated out numerically with the exact tail probability (error below
    1e-6 of the log posterior); only their saved posteriors are reduced to two matching moments of speed.
    `groups`: of each level (topic, difficulty, ...) the group of every distinct item, (K,) integers in their order;
    items are then expected around their groups' sum.
    `with_states`: whether the states of students are kept, 272 bytes each; else there are none, (N, 0).
    Stops when an EM step would change no working parameter by more than `tolerance`.

    Raises ValueError where lengths differ, nothing was observed, or a value is outside the above.
    """
    give_back()  # what came before: there may be very many answers
    persons, person_code = _codes(person)
    items, item_code = _codes(item)
    marks, logt, cut = _checked(len(person_code), len(item_code), correct, seconds, censored)
    del correct, seconds  # there may be very many: no column is here twice for longer than it takes
    centre = float(np.nanmean(logt)) if not np.isnan(logt).all() else float(np.log(DEFAULT_SECONDS))
    logt -= centre
    answers = sparse_answers(person_code, item_code, marks, logt, cut, len(persons), len(items))
    del person_code, item_code, marks, logt, cut
    give_back()
    run, prior, information = _fit(answers, groups, tolerance, max_steps)
    return _on_r_scale((items, persons), answers, run, prior, information, centre, with_states)


def _codes(labels: Sequence[Hashable] | NDArray[Any]) -> tuple[NDArray[Any], Codes]:
    """Distinct labels and each row's index among them; sorted where numpy can sort them, else as they came."""
    if isinstance(labels, np.ndarray) and labels.dtype.kind in "iu" and len(labels) and labels.min() >= 0:
        seen = np.bincount(labels) > 0 if labels.max() <= 2 * len(labels) else None
        if seen is not None:  # codes already: nothing has to be sorted
            code = labels if seen.all() else (np.cumsum(seen, dtype=np.int32) - 1)[labels]
            return np.flatnonzero(seen), code
    if isinstance(labels, np.ndarray) and labels.dtype.kind in "iufUSb":
        distinct, code = np.unique(labels, return_inverse=True)
        return distinct, code.astype(np.int64)
    index, code = codes_of(labels)
    distinct = np.fromiter(index, int if all(type(label) is int for label in index) else object, len(index))
    return distinct, code  # as they are: numpy would pad texts and unpack tuples


def _checked(
    n: int, n_items: int, correct: ArrayLike, seconds: ArrayLike, censored: ArrayLike | None
) -> tuple[NDArray[np.float32] | NDArray[np.bool_], Floats, NDArray[np.bool_]]:
    """Marks, log times and the censoring flags, each (n,), or a sentence that says what is wrong."""
    marks, times = np.asarray(correct), np.asarray(seconds, dtype=float)
    if marks.dtype != np.bool_:  # which stay as they are: there may be very many
        marks = marks.astype(float)
    cut = np.broadcast_to(False, n) if censored is None else np.asarray(censored, dtype=bool)
    if not {n_items, marks.size, times.size, cut.size} == {n} or not marks.shape == times.shape == cut.shape == (n,):
        raise ValueError("expected person, item, correct, seconds and censored to be flat and equally long")
    if not (np.isnan(marks) | (marks == 0) | (marks == 1)).all():
        raise ValueError("expected correct to be 0, 1 or NaN")
    if not (np.isnan(times) | ((times > 0) & np.isfinite(times))).all():
        raise ValueError("expected seconds to be > 0 and finite, or NaN")
    if (np.isnan(marks) & np.isnan(times)).all():
        raise ValueError("expected at least one answer")
    return marks if marks.dtype == np.bool_ else marks.astype(np.float32), np.log(times), cut


def _fit(answers: Responses, groups: Sequence[Ints], tolerance: float, max_steps: int) -> tuple[Optimum, Prior, Floats]:
    """Learns the items' prior by two rough optimizations, then optimizes with that prior held still."""
    size = answers.n_persons, answers.n_items
    weak = prior = with_identifiable_slopes(Prior(), *size)
    start = _start(answers, weak)
    finer = _finer(1.25 / np.sqrt(np.maximum(answers.answered, 1)))
    for _ in range(2):
        rough = normal_grid(20 * finer + 1)
        run = optimize(answers, start, prior, rough, tolerance=0.01, steps=25)
        start = run.parameters
        information = observed_information(answers, run.expected, run.curves, ROUGH_ANSWERS)
        prior = with_identifiable_slopes(learn_prior(information, start, prior, weak, groups), *size)
        sharpest = 0.7 / float(np.quantile(start.alpha, 0.95) * start.sd[0])  # a probit this wide needs nodes, too
        unsure = np.concatenate([*answers.each(_ability_sds, run.curves)])
        finer = max(finer, _finer(np.minimum(unsure, sharpest)))
    grid = normal_grid(finer * (NODES - 1) + 1)
    run = optimize(answers, start, prior, grid, tolerance=tolerance, steps=max_steps)
    information = observed_information(answers, run.expected, run.curves, 10 * ROUGH_ANSWERS)
    return run, prior, information


def _ability_sds(answers: ResponseMatrix, curves: Curves) -> Floats:
    """Posterior standard deviations of a shard's abilities, (N,)."""
    persons = posteriors(answers, curves)
    return np.asarray(np.sqrt(np.maximum(persons.theta2 - persons.theta**2, 0)))


def _finer(sd: Floats) -> int:
    """How many times finer than a student's a fit's grid must be, from posterior sds of ability (N,), in sds."""
    nodes = 9 / (SPACING * max(float(np.quantile(sd, 0.05)), 1e-3))
    return int(np.clip(np.ceil(nodes / (NODES - 1)), 1, FINEST))


def _start(answers: Responses, prior: Prior) -> Parameters:
    """Items from their share right and mean log time, everything else from the prior."""
    k, counts = answers.n_items, answers.marks
    x = np.tile(prior.mean, (k, 1))
    x[:, INTERCEPT] = -1.2 * ndtri((counts[:k] + 1) / (counts[:k] + counts[k:] + 2))
    x[:, 3] = answers.time_sums[1] / (answers.time_sums[0] + 1)
    return Parameters(x, np.full(k, np.log(prior.sigma2)), np.array([*np.log(prior.person_sd), 0.0]))


def _on_r_scale(
    labels: tuple[NDArray[Any], NDArray[Any]],
    answers: Responses,
    run: Optimum,
    prior: Prior,
    information: Floats,
    centre: float,
    with_states: bool,
) -> LnirtFit:
    """Move to mean theta = mean zeta = 0 and geometric means 1; no probability and no time changes."""
    p, every = run.parameters, (len(run.curves.grid.theta) - 1) // (NODES - 1)  # of the nodes one is a student's
    width = MOMENTS + STATE + NODES if with_states else MOMENTS
    known, end = np.empty((answers.n_persons, width)), 0  # filled by and by: there may be very many
    for part in answers.each(_known, run.curves, every):
        known[end : (end := end + len(part))] = part[:, :width]
    (theta, zeta, theta_sd, zeta_sd), states = known[:, :MOMENTS].T.copy(), known[:, MOMENTS:]
    unit = np.exp([np.log(p.alpha).mean(), np.log(p.phi).mean()])
    sd = p.sd * unit
    at = theta.mean(), zeta.mean()  # sample means, in population sds
    stretch, of_slopes = np.ones((len(p.x), 4)), [SLOPE, TIME_SLOPE]
    stretch[:, of_slopes] = softplus_slope(p.x[:, of_slopes]) / unit
    item_cov = np.linalg.inv(information + np.linalg.inv(prior.cov)) * stretch[:, :, None] * stretch[:, None, :]
    error = np.sqrt(item_cov[:, range(4), range(4)])
    freedom = answers.n_times + prior.sigma2_weight - lost_degrees(answers.n_times)
    mu_theta, mu_zeta = (-sd * at).tolist()
    var_theta, var_zeta = (sd**2).tolist()
    population = Population(mu_theta, mu_zeta, var_theta, var_zeta, float(p.rho * sd.prod()), NODES)
    alpha, phi = p.alpha / unit[0], p.phi / unit[1]
    beta, lambda_ = p.x[:, INTERCEPT] - alpha * sd[0] * at[0], p.lambda_ + centre - phi * sd[1] * at[1]
    mean = item_mean(p.x, prior)
    scale = np.array([unit[0], 1, unit[1], 1])
    slopes = softplus(mean[of_slopes]) / unit
    prior_beta, prior_lambda = mean[1] - slopes[0] * sd[0] * at[0], mean[3] + centre - slopes[1] * sd[1] * at[1]
    if with_states:
        states[:, PULL] = (states[:, PULL] - states[:, INFORMATION] * at[1]) / sd[1]
        states[:, INFORMATION] /= sd[1] ** 2
    return LnirtFit(
        items=labels[0],
        persons=labels[1],
        alpha=alpha,
        beta=beta,
        phi=phi,
        lambda_=lambda_,
        sigma2=p.sigma2,
        alpha_se=error[:, 0],
        beta_se=error[:, 1],
        phi_se=error[:, 2],
        lambda_se=error[:, 3],
        sigma2_se=p.sigma2 * np.sqrt(2 / freedom),
        item_cov=item_cov,
        theta=(theta - at[0]) * sd[0],
        zeta=(zeta - at[1]) * sd[1],
        theta_sd=theta_sd * sd[0],
        zeta_sd=zeta_sd * sd[1],
        states=states,
        population=population,
        prior_mean=np.array([slopes[0], prior_beta, slopes[1], prior_lambda]),
        prior_cov=prior.cov / np.outer(scale, scale),
        offset=np.broadcast_to(prior.offset, p.x.shape).copy(),
        prior_sigma2=prior.sigma2,
        trace=np.array(run.trace),
        converged=run.converged,
    )


def _known(answers: ResponseMatrix, curves: Curves, every: int) -> Floats:
    """What is known of a shard's N persons, (N, 4 + 3 + nodes): means and sds of ability and speed, then their states
    with the log-weights of every `every`-th node.

    Where times were censored, information and pull are the two numbers that give speed its posterior mean and variance.
    """
    s = posteriors(answers, curves)
    information, pull = s.information, s.pull
    if answers.censored is not None:
        i, rho = answers.censored.persons, curves.p.rho
        v = 1 - rho**2
        var_theta, var_zeta = (s.theta2 - s.theta**2)[i], (s.zeta2 - s.zeta**2)[i]
        precision = (1 + np.sqrt(1 + 4 * var_zeta * (rho / v) ** 2 * var_theta)) / (2 * var_zeta)
        information[i] = np.maximum(precision - 1 / v, 0)
        pull[i] = s.zeta[i] * (information[i] + 1 / v) - rho / v * s.theta[i]
    sds = (np.sqrt(np.maximum(squares - mean**2, 0)) for mean, squares in ((s.theta, s.theta2), (s.zeta, s.zeta2)))
    nothing = np.zeros(answers.n_persons)
    return np.column_stack([s.theta, s.zeta, *sds, information, pull, nothing, s.log_marks[:, ::every]])
