"""LNIRT of a small class: all that is unknown at once, by Laplace's approximation.

With a few hundred answers there is no telling how well exercises separate students, so all slopes are 1, and a task is

    P(right) = Phi(theta_i - b)      log T ~ N(l - zeta_i, sigma2)      b, l = mean + topic + level + cell + exercise

Students and each part are drawn from normal distributions whose variances are learnt from the answers, beside what is
believed of them beforehand. Right and wrong: penalised quasi-likelihood (Breslow and Clayton 1993, J. Am. Stat. Assoc.
88, 9-25) by Fisher's scoring; times: the same, linear; the variances by EM steps (Dempster, Laird and Rubin 1977).
`estimation.py` finds the items with the students integrated out; this knows how unsure both are together, which is what
counts while there are few answers.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import log_ndtr

from app.domain.attempts import DIFFICULTIES, Attempts, plausible
from app.ml.lnirt.data import Floats, Ints
from app.ml.lnirt.em import LOG_SQRT_2PI
from app.ml.lnirt.item_bank import SLIP, Effects, ItemBank, cell_label
from app.ml.lnirt.population import ItemParameters, Population

STUDENT, TOPIC, LEVEL, CELL, ITEM = range(1, 6)  # parts of a predictor beside the mean, which is 0
SPREAD = np.array([0.35, 0.35, 0.18, 0.35, 0.04, 0.15])  # variances on the probit scale that are believed beforehand
TIME_SPREAD = np.array([1.0, 0.2, 0.1, 0.1, 0.03, 0.08])  # of log seconds
LEVEL_EASE, LEVEL_TIME = (0.35, 0.0, -0.35), (-0.15, 0.0, 0.15)  # what easy, medium and hard mean beforehand
SIGMA2 = 0.2  # log seconds^2: of a time around what is expected of it
SIGMA2_WEIGHT = 4.0  # times that this is worth
WEIGHT = 6.0  # members of a part that its believed variance is worth
USUAL_SPREAD = 0.8  # log seconds: standard deviation of times that are all alike so far
LEAST_SPREAD = 0.3  # the same around what is usual for student and exercise
USUAL_ROUNDS, USUAL_ANSWERS = 4, 2.0  # to find what is usual; answers that the mean of all is worth beside one's own
BLOCK = 1 << 18  # answers that are looked at together: there may be very many
FREEDOM = 5.0  # of Student's t for log times
WIDER = 1.33  # variance of the normal whose middle 80 % are those of Student's t
STEPS, SCORING_STEPS = 6, 4
CENTRE = float(np.log(60.0))  # of log seconds, before there are any
MOST_ROWS, MOST_EFFECTS = 1_000, 1_000  # of a class that is small


@dataclass(frozen=True, slots=True)
class Design:
    """Which effects n answers touch: each row of `x` (n, p) holds ones; `part` (p,) says what an effect belongs to."""

    x: csr_array
    part: Ints
    starts: Ints  # where the effects of each part begin

    @classmethod
    def of(cls, attempts: Attempts) -> "Design":
        a, n_topics = attempts, len(attempts.topics)
        sizes = [1, len(a.students), n_topics, len(DIFFICULTIES), n_topics * len(DIFFICULTIES), len(a.items)]
        members = np.column_stack([np.zeros(len(a), np.int64), a.student, a.topic, a.difficulty, cells_of(a), a.item])
        starts = np.cumsum([0, *sizes])
        member = np.where(members < 0, -1, members + starts[:-1])
        row, place = np.nonzero(member >= 0)
        x = csr_array((np.ones(len(row)), (row, member[row, place])), shape=(len(a), int(starts[-1])))
        return cls(x, np.repeat(np.arange(len(sizes)), sizes), starts)

    def begin(self, levels: Sequence[float]) -> Floats:
        """What is believed of the effects beforehand, (p,): 0 but for the levels."""
        begin = np.zeros(len(self.part))
        begin[self.part == LEVEL] = levels
        return begin

    def weighted(self, weight: Floats) -> Floats:
        """X' W X, (p, p)."""
        return np.asarray((self.x.T @ (self.x * weight[:, None])).toarray())


@dataclass(frozen=True, slots=True)
class Solution:
    """Posterior mean (p,) and covariance (p, p) of the effects, and the variance of each part."""

    mean: Floats
    cov: Floats
    spread: Floats
    sigma2: float = 1.0


def fit_small(attempts: Attempts) -> ItemBank:
    """The items and the population of n finished tasks, n >= 0."""
    design = Design.of(attempts)
    marks = _marks(design, attempts.correct)
    times = _times(design, without_slips(np.log(plausible(attempts.seconds))))
    return _bank(attempts, design, marks, times)


def cells_of(attempts: Attempts) -> Ints:
    """The number of each attempt's cell, topic by topic, (n,)."""
    return attempts.topic.astype(np.int64) * len(DIFFICULTIES) + attempts.difficulty


def without_slips(logs: Floats, *codes: NDArray[np.integer[Any]]) -> Floats:
    """Log times (n,), none further from their median than a window left open over night may pull a whole class.

    `codes` (n,) each say whose they are, and of what: then none lies further from what is usual for both, either, so
    that a slip makes nobody slow and no exercise long or uncertain.
    """
    if len(logs) == 0:
        return logs
    logs = _held(logs, np.full(len(logs), np.median(logs)), USUAL_SPREAD)
    for _ in range(USUAL_ROUNDS if codes else 0):
        usual = np.full(len(logs), logs.mean())
        for code in codes:
            rows = np.bincount(code)
            sums, parts = np.zeros(len(rows)), [slice(at, at + BLOCK) for at in range(0, len(logs), BLOCK)]
            for part in parts:
                np.add.at(sums, code[part].astype(np.intp), logs[part] - usual[part])
            sums /= rows + USUAL_ANSWERS
            for part in parts:
                usual[part] += sums[code[part]]
        logs = _held(logs, usual, LEAST_SPREAD)
    return logs


def _held(logs: Floats, usual: Floats, least: float) -> Floats:
    """None of them (n,) further than SLIP spreads from what is usual, which is lost; a spread is `least` or more."""
    off = logs - usual
    np.abs(off, out=off)
    most = SLIP * max(float(np.median(off, overwrite_input=True)) / 0.6745, least)
    held = np.maximum(logs, np.subtract(usual, most, out=off), out=off)  # in place: there may be very many
    return np.minimum(held, np.add(usual, most, out=usual), out=held)


def is_small(attempts: Attempts) -> bool:
    """Whether so few tasks are fitted all at once."""
    cells = len(attempts.topics) * len(DIFFICULTIES)
    return len(attempts) <= MOST_ROWS and len(attempts.students) + len(attempts.items) + cells <= MOST_EFFECTS


def _marks(design: Design, correct: NDArray[np.bool_]) -> Solution:
    sign, spread = 2.0 * correct - 1, SPREAD.copy()
    begin = design.begin(LEVEL_EASE)
    mean = begin.copy()
    cov = np.diag(spread[design.part])
    for step in range(STEPS):
        held = np.diag(1 / spread[design.part])
        for _ in range(SCORING_STEPS if step else 2 * SCORING_STEPS):
            u = design.x @ mean
            slope = sign * np.exp(-0.5 * u**2 - LOG_SQRT_2PI - log_ndtr(sign * u))
            weight = np.exp(-(u**2) - 2 * LOG_SQRT_2PI - log_ndtr(u) - log_ndtr(-u))
            cov = np.linalg.inv(design.weighted(weight) + held)
            mean = mean + cov @ (design.x.T @ slope - (mean - begin) / spread[design.part])
        spread = _spread(design, mean - begin, np.diag(cov), SPREAD)
    return Solution(mean, cov, spread)


def _times(design: Design, logs: Floats) -> Solution:
    """Student's t instead of the normal around what is expected, by weights (Lange, Little and Taylor 1989, J. Am.
    Stat. Assoc. 84, 881-896): a slip weighs little."""
    spread, sigma2, y = TIME_SPREAD.copy(), SIGMA2, logs - CENTRE
    begin, weight = design.begin(LEVEL_TIME), np.ones(len(y))
    y, mean = y - design.x @ begin, np.zeros(len(design.part))
    cov = np.diag(spread[design.part])
    for _ in range(STEPS):
        gram = design.weighted(weight)
        cov = np.linalg.inv(gram / sigma2 + np.diag(1 / spread[design.part]))
        mean = cov @ (design.x.T @ (weight * y)) / sigma2
        off = y - design.x @ mean
        sigma2 = (weight @ off**2 + np.sum(gram * cov) + SIGMA2_WEIGHT * SIGMA2) / (len(y) + SIGMA2_WEIGHT)
        weight = (FREEDOM + 1) / (FREEDOM + off**2 / sigma2)
        spread = _spread(design, mean, np.diag(cov), TIME_SPREAD)
    mean += begin
    mean[0] += CENTRE
    return Solution(mean, cov, spread, float(sigma2 * WIDER))


def _spread(design: Design, mean: Floats, var: Floats, believed: Floats) -> Floats:
    """Of each part: the mean square of its members that have answers; the overall mean keeps its own."""
    seen = np.asarray(design.x.sum(axis=0)) > 0
    squares = np.bincount(design.part, (mean**2 + var) * seen, len(believed))
    counts = np.bincount(design.part, seen, len(believed))
    spread = (squares + WEIGHT * believed) / (counts + WEIGHT)
    spread[0] = believed[0]
    return np.asarray(spread)


def _bank(attempts: Attempts, design: Design, marks: Solution, times: Solution) -> ItemBank:
    starts = design.starts
    population = Population(0.0, 0.0, float(marks.spread[STUDENT]), float(times.spread[STUDENT]), 0.0)

    def parameters(*effects: int) -> ItemParameters:
        chosen = np.ix_(effects, effects)
        ease, intensity = (float(each.mean[list(effects)].sum()) for each in (marks, times))
        var, time_var = (float(each.cov[chosen].sum()) for each in (marks, times))
        return ItemParameters(1.0, -ease, 1.0, intensity, times.sigma2, beta_var=var, time_var=time_var)

    items: dict[Hashable, ItemParameters] = {}
    pairs = np.unique(np.column_stack([attempts.topic, attempts.difficulty, cells_of(attempts), attempts.item]), axis=0)
    for topic, level, cell, item in pairs.tolist():
        effects = 0, starts[TOPIC] + topic, starts[LEVEL] + level, starts[CELL] + cell
        items[cell_label(attempts.topics[topic], DIFFICULTIES[level])] = parameters(*effects)
        if item >= 0:
            items[attempts.items[item]] = parameters(*effects, starts[ITEM] + item)

    def columns(of_marks: NDArray[Any], of_times: NDArray[Any]) -> Floats:
        """Of (alpha, beta, phi, lambda, log sigma2) those that differ, (..., 5)."""
        zero = np.zeros_like(of_marks)
        return np.stack([zero, of_marks, zero, of_times, zero], axis=-1)

    def effects_of(part: int, names: Sequence[Hashable]) -> Effects:
        places = slice(starts[part], starts[part] + len(names))
        mean, var = columns(-marks.mean[places], times.mean[places]), columns(marks_var[places], times_var[places])
        return Effects({name: place for place, name in enumerate(names)}, mean, var, spread[part])

    marks_var, times_var, spread = np.diag(marks.cov), np.diag(times.cov), columns(marks.spread, times.spread)
    pair_names = [(topic, level) for topic in attempts.topics for level in DIFFICULTIES]
    return ItemBank(
        population, np.eye(4), items,
        np.array([1.0, -marks.mean[0], 1.0, times.mean[0], np.log(times.sigma2)]),
        columns(marks_var[0], times_var[0]),
        effects_of(TOPIC, attempts.topics), effects_of(LEVEL, DIFFICULTIES), effects_of(CELL, pair_names),
        spread[ITEM],
    )  # fmt: skip
