"""Whether a model goes the right way: who did well is given better chances, who was slow more time.

Asked of made-up students, strangers to every model, so that it is one question for all kinds.
"""

from itertools import product
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from app.domain.attempts import DIFFICULTIES, Attempts, plausible
from app.ml.answers import TaskModel
from app.ml.training.reasons import Rejection

CELLS = 5  # the most frequent tasks
PAST = 10  # finished tasks of each student
FASTER, SLOWER = 0.5, 2.0  # times the typical time
ROUNDING = 1e-9


def violation(model: TaskModel, attempts: Attempts) -> Rejection | None:
    """What goes the wrong way; None if nothing does."""
    asked, rows = _made_up(attempts)
    said = model.answers(asked, rows)
    p = said.probability.reshape(-1, 2, 2)  # cell, right or wrong, fast or slow
    seconds = said.seconds.reshape(-1, 2, 2)
    if p[:, 0].mean() < p[:, 1].mean() - ROUNDING:
        return Rejection.LOWER_CHANCE
    if seconds[:, :, 1].mean() < seconds[:, :, 0].mean() * (1 - ROUNDING):
        return Rejection.LESS_TIME
    return None


def _made_up(attempts: Attempts) -> tuple[Attempts, NDArray[np.intp]]:
    """Four students a cell, each with a past of the same task again and again; and the rows that ask."""
    cells = _frequent(attempts)
    typical = float(np.exp(np.log(plausible(attempts.seconds)).mean()))
    students = list(product(cells.tolist(), (True, False), (FASTER, SLOWER)))
    n = PAST + 1
    topic, difficulty, item = np.repeat([cell for cell, _, _ in students], n, axis=0).T.astype(np.int32)
    seconds = np.repeat([typical * pace for _, _, pace in students], n)
    started = attempts.finished.max() + np.tile(np.arange(1, n + 1), len(students)) * round(typical * 4e6)
    finished = started + np.maximum(np.rint(seconds * 1e6).astype(np.int64), 1)
    order = np.argsort(finished, kind="stable")
    columns = (topic, difficulty, item, started, finished, np.repeat([right for _, right, _ in students], n), seconds)
    student = np.repeat(np.arange(len(students), dtype=np.int32), n)[order]
    names = tuple(str(UUID(int=number)) for number in range(len(students)))
    made = Attempts(names, attempts.topics, attempts.items, student, *(column[order] for column in columns))
    place = np.empty(len(order), np.intp)
    place[order] = np.arange(len(order))
    return made, place[PAST::n]


def _frequent(attempts: Attempts) -> NDArray[np.int32]:
    """Topic, difficulty and item of the most frequent tasks, (k, 3)."""
    levels, items = len(DIFFICULTIES), len(attempts.items) + 1
    number = (attempts.topic.astype(np.int64) * levels + attempts.difficulty) * items + attempts.item + 1
    found, counts = np.unique(number, return_counts=True)
    cell, item = np.divmod(found[np.argsort(-counts, kind="stable")[:CELLS]], items)
    return np.column_stack([*np.divmod(cell, levels), item - 1]).astype(np.int32)
