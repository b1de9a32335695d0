"""Which stretch of a student's finished tasks an answer is read from: the last 64 to 128 of them, in order.

A stretch begins at a multiple of 64, so that it grows by one with every task finished and is begun anew only now and
then. Reading it costs at most 128 steps however long the past, and one step where the state before is kept.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.domain.attempts import Attempts, plausible
from app.ml.features import Floats, History, Ints
from app.ml.inputs import LONG_AGO, SECOND

WINDOW = 64  # tasks; twice as many are the longest stretch
Places = NDArray[np.int32]
Rows = NDArray[np.intp]


def window_start(done: Ints) -> Ints:
    """Where the stretch begins that answers after `done` finished tasks; all of them while they are up to 128."""
    return np.where(done <= 2 * WINDOW, 0, done // WINDOW * WINDOW - WINDOW)


@dataclass(frozen=True, slots=True)
class Windows:
    """w stretches of the past, and the m tasks that are answered from them, grouped by stretch."""

    steps: Places  # (w, longest) rows of the attempts in the order they were finished, -1 behind the last
    length: Places  # (w,)
    rows: Rows  # (m,) the tasks asked for: rows of the attempts
    window: Places  # (m,) ascending
    done: Places  # (m,) how many steps of the stretch had been finished when the task was created

    @classmethod
    def of(cls, attempts: Attempts, rows: Rows) -> "Windows":
        """For these rows of the attempts; a task belongs to a past when it was finished as the other was created."""
        at = np.minimum(attempts.started, attempts.finished - 1)[rows]
        history = History(attempts.finished)
        spans = history.groups(attempts.student, attempts.student[rows], history.before(at))
        done = spans.end - spans.start
        begin = window_start(done)
        first, window = np.unique(spans.start + begin, return_inverse=True)
        order = np.argsort(window, kind="stable")
        length = np.zeros(len(first), np.intp)
        np.maximum.at(length, window, done - begin)
        place = np.arange(max(1, length.max(initial=0)))
        there = place < length[:, None]
        steps = np.where(there, spans.order[np.where(there, first[:, None] + place, 0)], -1)
        return cls(
            *(steps.astype(np.int32), length.astype(np.int32), rows[order]),
            *(window[order].astype(np.int32), (done - begin)[order].astype(np.int32)),
        )

    def __len__(self) -> int:
        return len(self.steps)

    def take(self, chosen: NDArray[np.integer]) -> "Windows":
        """Only these stretches, cut to the longest of them, in this order."""
        ends = np.searchsorted(self.window, np.arange(len(self) + 1))
        sizes = ends[chosen + 1] - ends[chosen]
        # Positions ends[c], ends[c] + 1, ... of each chosen stretch, one after another.
        picked = np.arange(sizes.sum()) + np.repeat(ends[chosen] - np.cumsum(sizes) + sizes, sizes)
        longest = max(1, int(self.length[chosen].max(initial=0)))
        return Windows(
            self.steps[chosen, :longest],
            self.length[chosen],
            self.rows[picked],
            np.repeat(np.arange(len(chosen), dtype=np.int32), sizes),
            self.done[picked],
        )


def results(attempts: Attempts) -> Floats:
    """What each finished task tells the steps, (n, 3) as in `told`."""
    order = np.argsort(attempts.student, kind="stable")
    finished, student = attempts.finished[order], attempts.student[order]
    since = np.full(len(order), LONG_AGO)
    again = np.flatnonzero(student[1:] == student[:-1]) + 1
    since[order[again]] = finished[again] - finished[again - 1]
    return told(attempts.correct, attempts.seconds, since)


def told(correct: NDArray[np.bool_], seconds: Floats, since: Ints) -> Floats:
    """Right (1) or wrong (-1), log seconds, log seconds since the finish before; (n, 3).

    `since` is in microseconds; with no finish before, it is that of 30 days, which is also the most, as in the inputs.
    """
    gap = np.log1p(np.clip(since, 0, LONG_AGO) / SECOND)
    return np.column_stack([2.0 * correct - 1, np.log(plausible(seconds)), gap])
