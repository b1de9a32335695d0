"""How students move, estimated from what they did: how much practice helps, and how fast evidence ages.

Items and students stay as they were fitted; what is looked for makes each task most likely from what was known when it
was created. How the numbers are used: `ability.py`.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from app.domain.attempts import Attempts, plausible, some_students
from app.ml import metrics
from app.ml.features.history import History, created
from app.ml.lnirt.ability import BOUND, Predictive
from app.ml.lnirt.population import Population

MOVING = (
    "ability_kept", "speed_kept", "probit_topic", "probit_item", "time_topic", "time_item", "usual_topic", "usual_item",
)  # fmt: skip
PRACTICE_WEIGHT, TIME_PRACTICE_WEIGHT = 50.0, 200.0  # precisions of practice beforehand, of probits and of log seconds
MOST_FOLLOWED, MOST_PREDICTED = 50_000, 5_000  # tasks by which this is estimated
MOST_EACH = 5_000  # of one student
AGEING = (1.0, 0.99, 0.97, 0.94, 0.9)  # shares of earlier answers that a further one leaves
USUAL_AGEING, AGEING_WEIGHT = 0.01, 25.0  # what is believed beforehand, and nats that 1 away from it costs
Floats = NDArray[np.float64]
Places = NDArray[np.intp]
Predict = Callable[[Population, Attempts, Places], Predictive[Floats]]  # of these rows, where students move like that


def estimated(population: Population, attempts: Attempts, predict: Predict) -> Population:
    """The population with the practice and the ageing that are most likely; of some students where there are many
    tasks, and of each the newest: a student is followed task by task, again and again, while others wait."""
    some = attempts.take(some_students(attempts, MOST_FOLLOWED, seed=0, most_each=MOST_EACH))
    some = some.take(_newest(some.student, MOST_EACH))
    if len(some) == 0:
        return replace(population, usual_topic=0.0, usual_item=0.0)
    rows = np.unique(np.linspace(0, len(some) - 1, MOST_PREDICTED).astype(np.intp))
    practice = np.log1p(practice_when_created(some, rows))
    usual_topic, usual_item = practice.mean(axis=1).tolist()
    found = replace(population, usual_topic=usual_topic, usual_item=usual_item)
    for _ in range(2):
        found = _practising(found, some, rows, practice, predict)
    return _practising(_ageing(found, some, rows, predict), some, rows, practice, predict)


def _newest(student: NDArray[np.int32], most: int) -> NDArray[np.bool_]:
    """The last so many rows of each student, (n,)."""
    order = np.argsort(student, kind="stable")
    ends = np.cumsum(np.bincount(student))
    newest = np.zeros(len(student), np.bool_)
    newest[order] = ends[student[order]] - np.arange(len(student)) <= most
    return newest


def _practising(p: Population, attempts: Attempts, rows: Places, practice: Floats, predict: Predict) -> Population:
    """One Newton step towards the practice that is most likely; `practice` (2, n) as log(1 + tasks)."""
    predicted = predict(p, attempts, rows)
    x = practice - np.array([[p.usual_topic], [p.usual_item]])
    chance = predicted.probability.clip(0.01, 0.99)
    density, variance = np.exp(-0.5 * ndtri(chance) ** 2) / np.sqrt(2 * np.pi), chance * (1 - chance)
    score = (attempts.correct[rows] - chance) / variance * density
    probit = _step(x, density**2 / variance, score, [p.probit_topic, p.probit_item], PRACTICE_WEIGHT)
    held = np.clip(_off(attempts, rows, predicted), -BOUND, BOUND) / predicted.spread
    time = _step(x, 1 / predicted.spread**2, held, [p.time_topic, p.time_item], TIME_PRACTICE_WEIGHT)
    return replace(p, probit_topic=probit[0], probit_item=probit[1], time_topic=time[0], time_item=time[1])


def _step(x: Floats, weight: Floats, score: Floats, now: list[float], prior: float) -> Floats:
    """Two coefficients, normal around 0 with this precision, after a Newton step; x (2, n), weight and score (n,)."""
    precision = prior * np.eye(2)
    return np.asarray(now + np.linalg.solve((x * weight) @ x.T + precision, x @ score - precision @ now))


def _ageing(population: Population, attempts: Attempts, rows: Places, predict: Predict) -> Population:
    """With the ageing, among AGEING, of the greatest posterior: for ability by the marks, for speed by the times."""
    marks, times = [], []
    for kept in AGEING:
        predicted = predict(replace(population, ability_kept=kept, speed_kept=kept), attempts, rows)
        off = np.abs(_off(attempts, rows, predicted))
        huber = np.where(off < BOUND, off**2 / 2, BOUND * (off - BOUND / 2))
        prior = abs(1 - kept - USUAL_AGEING) * AGEING_WEIGHT
        marks.append(metrics.losses(attempts.correct[rows], predicted.probability).sum() + prior)
        times.append((huber + np.log(predicted.spread)).sum() + prior)
    return replace(population, ability_kept=AGEING[np.argmin(marks)], speed_kept=AGEING[np.argmin(times)])


def _off(attempts: Attempts, rows: Places, predicted: Predictive[Floats]) -> Floats:
    """How far the log times were from what was predicted, in standard deviations, (n,)."""
    return np.asarray((np.log(plausible(attempts.seconds[rows])) - predicted.log_seconds) / predicted.spread)


def practice_of(attempts: Attempts) -> Floats:
    """How many tasks their student had finished on the topic and on the exercise before each of n attempts, (2, n).

    They are in the order in which they were finished.
    """
    history, known = History(attempts.finished), np.arange(len(attempts))
    topic, item = (history.own(group, known).counts() for group in _groups(attempts))
    return np.stack([topic, np.where(attempts.item >= 0, item, 0)])


def practice_when_created(attempts: Attempts, rows: Places) -> Floats:
    """The same when these m rows were created, (2, m): what was under way then does not count."""
    history = History(attempts.finished)
    known = history.before(created(attempts)[rows])
    topic, item = (history.groups(group, group[rows], known).counts() for group in _groups(attempts))
    return np.stack([topic, np.where(attempts.item[rows] >= 0, item, 0)])


def _groups(attempts: Attempts) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """One number for each student and topic, and for each student and exercise, -1 without one; (n,) each."""
    student, item = attempts.student.astype(np.int64), attempts.item
    topic = student * (len(attempts.topics) + 1) + attempts.topic
    return topic, np.where(item >= 0, student * (len(attempts.items) + 1) + item, -1)
