"""How much practice helps: how fast the chance of a right answer rises with the tasks done on a topic.

logit p(after n more) = logit p + gain (log(1 + done + n) - log(1 + done)): the power law of practice (Newell &
Rosenbloom 1981, Mechanisms of skill acquisition and the law of practice) for the odds, with counts of earlier practice
as in performance factors analysis (Pavlik, Cen & Koedinger 2009, AIED, 531-538).

`gain` is estimated from pairs of tasks of one student, topic and difficulty: an early one and a late one. Of those
where one was right and one wrong, the late one was the right one with probability 1 / (1 + exp(-gain (x_late -
x_early))), x = log(1 + tasks done on the topic before). This conditional likelihood (Andersen 1970, J. R. Statist. Soc.
B 32, 283-301; matched pairs: Breslow & Day 1980, ch. 7) doesn't know how able the student is or how hard the cell: both
drop out, so that neither has to be estimated or can be mistaken for practice. Each task is in one pair at the most, so
pairs are independent and the standard error is the likelihood's own. It is net: what was forgotten in between is in it.
"""

from math import log1p
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.domain.attempts import DIFFICULTIES, Attempts, shards
from app.domain.planning import PracticeEffect
from app.ml.features.history import History, created, up_to

Floats = NDArray[np.float64]

# Koedinger, Carvalho, Liu & McLaughlin (2023, PNAS 120, e2221311120), 27 data sets: from 65 % right before practice to
# 80 % in about seven tasks on one piece of knowledge, (logit 0.80 - logit 0.65) / log(1 + 7) = 0.37. A topic is wider
# than such a piece, so a task practises only some of it: about half of that, loosely.
PRIOR_GAIN, PRIOR_SD = 0.2, 0.15  # logits
PRIOR_EFFECT = PracticeEffect(PRIOR_GAIN, PRIOR_SD)
MOST_GAIN = 3.0  # beyond it nothing is believed: 1 % right would be 88 % after seven tasks
STEPS = 30  # Newton's, at the most
CLOSE = 1e-10


def rise_by(done: int, more: int, effect: PracticeEffect) -> float:
    """How far the logit of the chance rises by so many more tasks on a topic, after `done`."""
    return effect.gain * (log1p(done + more) - log1p(done))


def estimated(attempts: Attempts) -> PracticeEffect:
    """From n finished tasks: the most probable gain under the prior, not below 0."""
    rise, late_right = pairs(attempts)
    gain = _most_probable(rise, late_right)
    information = _derivatives(gain, rise, late_right)[1]
    return PracticeEffect(min(max(gain, 0.0), MOST_GAIN), information**-0.5, len(attempts))


def pairs(attempts: Attempts) -> tuple[Floats, NDArray[np.bool_]]:
    """Of m pairs of which one was right: how far log(1 + tasks before) rose between them, (m,); if the late one was.

    The first task of a student on a topic at a difficulty is paired with the first of the later half, and so on.
    """
    found = [_pairs(shard.attempts) for shard in shards(attempts, np.arange(len(attempts)))]
    rises, late_right = zip(*found, strict=True) if found else ([np.zeros(0)], [np.zeros(0, np.bool_)])
    return np.concatenate(rises), np.concatenate(late_right)


def _pairs(attempts: Attempts) -> tuple[Floats, NDArray[np.bool_]]:
    """Those of a shard's students."""
    topic = attempts.student.astype(np.int64) * len(attempts.topics) + attempts.topic
    cell = topic * len(DIFFICULTIES) + attempts.difficulty
    history = History(attempts.finished)
    before = history.own(topic, history.before(created(attempts))).counts()
    order = np.lexsort((before, cell))
    _, start, size = np.unique(cell[order], return_index=True, return_counts=True)
    half = size // 2
    first = np.repeat(start, half) + up_to(half)
    early, late = order[first], order[first + np.repeat(size - half, half)]
    rise = np.log1p(before[late]) - np.log1p(before[early])
    telling = (attempts.correct[early] != attempts.correct[late]) & (rise > 0)
    return rise[telling], attempts.correct[late][telling]


def _most_probable(rise: Floats, late_right: NDArray[np.bool_]) -> float:
    """Newton's steps on a log posterior that is concave everywhere."""
    gain = PRIOR_GAIN
    for _ in range(STEPS):
        gradient, information = _derivatives(gain, rise, late_right)
        step = gradient / information
        gain += min(max(step, -0.5), 0.5)
        if abs(step) < CLOSE:
            break
    return gain


def _derivatives(gain: float, rise: Floats, late_right: NDArray[np.bool_]) -> tuple[float, float]:
    """Gradient of the log posterior, and minus its second derivative."""
    p = 1 / (1 + np.exp(-gain * rise))
    gradient = float(np.sum(rise * (late_right - p))) - (gain - PRIOR_GAIN) / PRIOR_SD**2
    return gradient, float(np.sum(rise**2 * p * (1 - p))) + PRIOR_SD**-2


def to_dict(effect: PracticeEffect) -> dict[str, float]:
    """As a version's report keeps it."""
    return {"gain": effect.gain, "standard_error": effect.standard_error, "tasks": effect.tasks}


def from_report(kept: Any) -> PracticeEffect:
    """Back from a report; what stands in, where there is none."""
    if not isinstance(kept, dict):
        return PRIOR_EFFECT
    return PracticeEffect(float(kept["gain"]), float(kept["standard_error"]), int(kept["tasks"]))
