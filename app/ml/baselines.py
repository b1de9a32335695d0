"""Three ways to predict without a model, each from nothing but what was finished when the task was created.

Every baseline answers all attempts at once: probabilities (n,) and seconds (n,), typical times being geometric means.
"""

import numpy as np
from numpy.typing import NDArray

from app.domain.attempts import DIFFICULTIES, Attempts, plausible
from app.ml.features import UNKNOWN_RATE, UNKNOWN_SECONDS, History, Spans

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
    from scipy.special import expit, logit  # a slow import: nobody who only answers needs it

    before = _before(attempts, attempts.student)
    surprise, information = before.sums(attempts.correct - p), before.sums(p * (1 - p))
    slower = before.sums(np.log(plausible(attempts.seconds)) - log_time)
    ability = surprise / (information + 1 / ABILITY_VARIANCE)
    return expit(logit(p) + ability), log_time + slower / (before.counts() + STEADINESS)


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
    known = history.before(np.minimum(attempts.started, attempts.finished - 1))
    return history.groups(group, group, known)


def _means(before: Spans, attempts: Attempts, p: float | Floats, log_time: float | Floats, weight: float) -> Answers:
    """Mean correctness and log time before each attempt, starting as `weight` tasks of the given ones."""
    tasks = before.counts() + weight
    correct = before.sums(attempts.correct.astype(np.int64))
    return (correct + weight * p) / tasks, (
        before.sums(np.log(plausible(attempts.seconds))) + weight * log_time
    ) / tasks


RIVALS = {"the running share": global_mean, "item mean and student": item_and_student}  # of a network at the gate
