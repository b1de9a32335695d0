"""Five ways to predict without a model, each from nothing but what was finished when the task was created.

Every baseline answers all attempts at once: probabilities (n,) and seconds (n,), typical times being geometric means.
The means leave out times that are missing (NaN).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import expit, logit

from app.domain.attempts import DIFFICULTIES, Attempts, plausible
from app.ml.features.history import UNKNOWN_RATE, UNKNOWN_SECONDS, History, Ints, Spans, created

Floats = NDArray[np.float64]
Answers = tuple[Floats, Floats]

PRIOR_TASKS = 5.0  # an item's means start as this many tasks of the global mean
ABILITY_VARIANCE = 1.0  # of students, in logits
STEADINESS = 3.0  # variance of log times within a student over that between students


def global_mean(attempts: Attempts) -> Answers:
    """Share correct and typical time of all tasks so far."""
    nobody = np.zeros(len(attempts), np.int64)
    before = _before(attempts, nobody)
    p, log_time = _means(before, attempts, UNKNOWN_RATE, np.log(UNKNOWN_SECONDS), weight=1.0)
    return p, np.exp(log_time)


def item_mean(attempts: Attempts) -> Answers:
    """The same of the item, or where none is named of the topic at this difficulty; pulled to the global mean."""
    p, log_time = _item_means(attempts)
    return p, np.exp(log_time)


def item_and_student(attempts: Attempts) -> Answers:
    """Item mean plus what the student's tasks so far were better (logits) and slower (log seconds) than theirs."""
    p, log_time = moved_by_student(attempts, *_item_means(attempts))
    return p, np.exp(log_time)


def moved_by_student(attempts: Attempts, p: Floats, log_time: Floats) -> Answers:
    """Probabilities and log times, (n,) each, moved by how the students did on their tasks before.

    Ability is one Newton step from 0 with a normal prior: sum(correct - p) / (sum(p (1 - p)) + 1 / variance);
    slowness is sum(log time - predicted) / (n + steadiness).
    """
    before = _before(attempts, attempts.student)
    surprise, information = before.sums(attempts.correct - p), before.sums(p * (1 - p))
    slower = before.sums(np.nan_to_num(np.log(plausible(attempts.seconds)) - log_time))
    ability = surprise / (information + 1 / ABILITY_VARIANCE)
    return expit(logit(p) + ability), log_time + slower / (before.sums(timed(attempts)) + STEADINESS)


def timed(attempts: Attempts) -> Ints:
    """1 where the time is known, else 0; (n,)."""
    return np.isfinite(attempts.seconds).astype(np.int64)


def with_times(attempts: Attempts, expected: Floats) -> Attempts:
    """The same without gaps: for a missing time stands the expected one (n,) times the surprise of an earlier task.

    Which task is drawn at random, always the same; so the times vary as real ones do (Little and Rubin 2002,
    Statistical Analysis with Missing Data, section 4.3), while their means say nothing new.
    """
    known = np.flatnonzero(timed(attempts))
    surprise = np.append(attempts.seconds[known] / expected[known], 1.0)
    earlier = np.searchsorted(known, np.arange(len(attempts)))
    drawn = np.where(earlier > 0, (np.random.default_rng(0).random(len(attempts)) * earlier).astype(np.intp), -1)
    return replace(attempts, seconds=np.where(timed(attempts) == 1, attempts.seconds, expected * surprise[drawn]))


def _item_means(attempts: Attempts) -> Answers:
    """Probabilities and log times."""
    everybody, log_times = global_mean(attempts)
    return _means(_before(attempts, _items(attempts)), attempts, everybody, np.log(log_times), PRIOR_TASKS)


def _items(attempts: Attempts) -> NDArray[np.int64]:
    """One number per item; cells of topic and difficulty count on below zero."""
    cell = attempts.topic.astype(np.int64) * len(DIFFICULTIES) + attempts.difficulty
    return np.where(attempts.item >= 0, attempts.item, -1 - cell)


def _before(attempts: Attempts, group: NDArray[np.integer]) -> Spans:
    """Of each attempt, those of its group that were finished when it was created."""
    history = History(attempts.finished)
    return history.own(group, history.before(created(attempts)))


def _means(before: Spans, attempts: Attempts, p: float | Floats, log_time: float | Floats, weight: float) -> Answers:
    """Mean correctness and log time before each attempt, starting as `weight` tasks of the given ones."""
    correct = before.sums(attempts.correct.astype(np.int64)) + weight * p
    log_times = before.sums(np.nan_to_num(np.log(plausible(attempts.seconds)))) + weight * log_time
    return correct / (before.counts() + weight), log_times / (before.sums(timed(attempts)) + weight)


ELO_RATE = 0.15  # how fast the steps of a rating shrink with its count
ELO_TIME_STEP, ELO_TIME_RATE = 0.35, 0.1  # of log seconds: the first step, and how fast they shrink
ELO_AVERAGED = 20  # times: the typical one is their mean until then, and a moving one from then on


def elo(attempts: Attempts) -> Answers:
    """Elo ratings of students, topics and levels (Pelanek 2016, Computers & Education 98, 169-179).

    The chance is the logistic function of their sum; each result moves the three by its surprise, the less the more it
    has moved them. Log seconds have ratings of the same kind around a typical time.
    """
    n, levels, topics = len(attempts), len(DIFFICULTIES), len(attempts.topics)
    rated = np.column_stack([attempts.difficulty, levels + attempts.topic, levels + topics + attempts.student])
    ratings = np.zeros((2, levels + topics + len(attempts.students)))  # logits, log seconds
    counts = np.zeros(ratings.shape[1])  # results so far
    typical, tasks = float(np.log(UNKNOWN_SECONDS)), 0
    log_seconds, said = np.log(plausible(attempts.seconds)), np.empty((2, n))
    moments = np.concatenate([attempts.finished, created(attempts)])  # on a tie what was finished comes first
    for place in np.argsort(moments, kind="stable").tolist():
        row = place % n
        own = rated[row]
        logits, log_time = expected = np.array([0.0, typical]) + ratings[:, own].sum(axis=1)
        if place >= n:
            said[:, row] = expected
            continue
        surprise, slower = attempts.correct[row] - expit(logits), float(log_seconds[row]) - log_time
        counts[own] += 1
        tasks += 1
        ratings[0, own] += surprise / (1 + ELO_RATE * counts[own])
        ratings[1, own] += ELO_TIME_STEP * slower / (1 + ELO_TIME_RATE * counts[own])
        typical += slower / min(tasks, ELO_AVERAGED)
    return expit(said[0]), np.exp(said[1])


SPREAD = 1.0, (1.0, 1.0, 0.5)  # prior variances in logits: of a student; of what all share, a level, a topic
TIME_SPREAD = 0.2, (1.0, 0.1, 0.1)  # of log seconds
TIME_NOISE = 0.15  # variance of log seconds around what is expected
NEWTON_STEPS = 4  # from where the fit before came to
GROWTH = 0.01  # of the finished tasks that makes a new fit due
Likelihood = Callable[[Floats, slice], Answers]  # expected values of attempts -> information and score of each


def additive(attempts: Attempts) -> Answers:
    """Logistic and linear regression on student, topic and level with fixed ridges, fitted again and again.

    A fit is one to all that was finished: after each task up to the 200th, then whenever they have grown by one per
    cent; what a student finished since moves the student by one Newton step. The chance is averaged over the posterior
    (Laplace's approximation; MacKay 1992, Neural Computation 4, 720-736).
    """
    log_seconds = np.log(plausible(attempts.seconds))

    def marks(logits: Floats, rows: slice) -> Answers:
        p = expit(logits)
        return p * (1 - p), attempts.correct[rows] - p

    def times(log_times: Floats, rows: slice) -> Answers:
        return np.full(len(log_times), 1 / TIME_NOISE), (log_seconds[rows] - log_times) / TIME_NOISE

    logits, variance = _refitted(attempts, _Regression.begun(attempts, SPREAD, 0.0), marks, NEWTON_STEPS)
    log_times, _ = _refitted(attempts, _Regression.begun(attempts, TIME_SPREAD, np.log(UNKNOWN_SECONDS)), times, 1)
    return expit(logits / np.sqrt(1 + np.pi * variance / 8)), np.exp(log_times)


def _refitted(attempts: Attempts, fit: "_Regression", likelihood: Likelihood, steps: int) -> Answers:
    """Posterior mean and variance of what is expected of each attempt, (n,) each, by the newest fit there was."""
    n, own = len(attempts), _before(attempts, attempts.student)
    known = History(attempts.finished).before(created(attempts))
    mean, variance = np.empty(n), np.empty(n)
    for finished, until in _fits(n):
        rows = np.flatnonzero((finished <= known) & (known < until))
        if len(rows) == 0:
            continue
        past, since = slice(finished), slice(finished, until)
        for _ in range(steps):
            fit.step(past, *likelihood(fit.expected(past), past))
        mine, newer = Spans(own.order, own.start[rows], own.end[rows]), np.zeros((2, n))
        newer[:, since] = likelihood(fit.expected(since), since)
        mean[rows], variance[rows] = fit.answer(rows, mine.sums(newer[0]), mine.sums(newer[1]))
    return mean, variance


def _fits(n: int) -> Iterator[tuple[int, int]]:
    """Of each fit, after how many finished tasks it comes, and after how many the next."""
    finished = 0
    while finished <= n:
        until = finished + max(1, int(finished * GROWTH))
        yield finished, until
        finished = until


@dataclass(slots=True)
class _Regression:
    """Effects of s students and of the m parts that they share, normal beforehand; the students are integrated out by
    Schur's complement, so that many of them cost little."""

    student: NDArray[np.int32]  # (n,)
    who: csr_array  # (n, s) a one in each row
    what: csr_array  # (n, m) ones for all, the level and the topic
    spread: tuple[float, Floats]  # prior variance of a student, and of the others (m,)
    start: Floats  # (m,) prior mean
    others: Floats  # (m,)
    students: Floats  # (s,)
    information: Floats  # (s,) of each student where the others are known
    pulled: csr_array  # (s, m) how the others move the students
    cov: Floats  # (m, m) posterior covariance of the others

    @classmethod
    def begun(cls, attempts: Attempts, spread: tuple[float, tuple[float, ...]], start: float) -> "_Regression":
        sizes, s = (1, len(DIFFICULTIES), len(attempts.topics)), len(attempts.students)
        parts = np.column_stack([np.zeros_like(attempts.topic), attempts.difficulty, attempts.topic])
        what, others = _ones(parts + np.cumsum([0, *sizes[:-1]]), sum(sizes)), np.repeat(spread[1], sizes)
        mean = start * np.eye(len(others))[0]
        return cls(
            attempts.student, _ones(attempts.student[:, None], s), what, (spread[0], others), mean, mean,
            np.zeros(s), np.full(s, 1 / spread[0]), csr_array((s, len(others))), np.diag(others),
        )  # fmt: skip

    def expected(self, rows: slice | NDArray[np.intp]) -> Floats:
        return np.asarray(self.students[self.student[rows]] + self.what[rows] @ self.others)

    def step(self, rows: slice, information: Floats, score: Floats) -> None:
        """One Newton step, from the information and the score of the rows."""
        who, what = self.who[rows], self.what[rows]
        spread, other_spread = self.spread
        self.information = who.T @ information + 1 / spread
        cross = who.T @ (what * information[:, None])
        self.pulled = (cross * (1 / self.information)[:, None]).tocsr()
        inner = (what.T @ (what * information[:, None]) - cross.T @ self.pulled).toarray() + np.diag(1 / other_spread)
        self.cov = np.linalg.inv(inner)
        gradient = who.T @ score - self.students / spread
        moved = self.cov @ (what.T @ score - (self.others - self.start) / other_spread - self.pulled.T @ gradient)
        self.others = self.others + moved
        self.students = self.students + gradient / self.information - self.pulled @ moved

    def answer(self, rows: NDArray[np.intp], information: Floats, score: Floats) -> Answers:
        """Mean and variance, (r,) each; what each row's student did since the fit has this information and score."""
        student = self.student[rows]
        informed = self.information[student] + information
        freely = (self.what[rows] - self.pulled[student]).toarray()
        return self.expected(rows) + score / informed, 1 / informed + np.sum(freely @ self.cov * freely, axis=1)


def _ones(columns: NDArray[np.integer[Any]], size: int) -> csr_array:
    """Ones in the k columns that each of n rows names, (n, k) to (n, size)."""
    n, k = columns.shape
    return csr_array((np.ones(n * k), (np.arange(n).repeat(k), columns.ravel())), shape=(n, size))
