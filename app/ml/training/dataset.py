"""What a run works with: all finished tasks while that is quick or a training from scratch is due, else some students'.

A training from scratch reads, fits and evaluates everything, and its cost grows with the data. So it is due only now
and then (`from_scratch`). The runs between go on from the models there are, with bounded work: they read whole
histories, so that every number is exact, but only of students who say something new and of some drawn by lot.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from app.crud import attempts as finished_tasks
from app.crud import corrections, model_versions
from app.crud.attempts import Newest
from app.domain.attempts import Attempts
from app.ml.training.gate import cut

ALWAYS = 5_000  # tasks: with fewer every training is from scratch
READ_WHOLE = 50_000  # tasks: so many are read as a whole, whatever the training
READ = 100_000  # tasks that are read of some students; more only where three students have more
SEVERAL = 3  # students at the least
FRESH, HELD_OUT = 0.25, 0.5  # shares of READ for students with new tasks, and for those of the holdout set
MOST_FRESH = 5_000  # new tasks that are looked for
HOLDOUT_ROWS = 2_000  # when a run goes on: its models are evaluated again and again


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """The tasks of a run."""

    attempts: Attempts  # all, or the whole histories of some students
    fitted_rows: int  # the older ones, from which the models learn; the rest is held out
    tasks: int  # finished in all
    counter_snapshot: int  # finished since the last training
    from_scratch: bool
    erasures: int = 0  # the last one of these tasks' moment: nobody erased by then is among them
    corrections: int = 0  # likewise: what was corrected by then stands corrected here

    @property
    def is_full(self) -> bool:
        """Whether all finished tasks are here."""
        return len(self.attempts) == self.tasks

    @property
    def holdout_start(self) -> int:
        """The first row of the holdout set: with many, and when nothing new is begun, the newest will do."""
        return self.fitted_rows if self.from_scratch else max(self.fitted_rows, len(self.attempts) - HOLDOUT_ROWS)

    @property
    def older(self) -> Attempts:
        """What the models learn from."""
        return self.attempts.take(slice(self.fitted_rows))


def full(db: Session, counter_snapshot: int, from_scratch: bool) -> TrainingSet:
    """Every finished task. Call it in a snapshot."""
    attempts = finished_tasks.read_all(db)
    seen = model_versions.last_erasure(db), corrections.last(db)
    return TrainingSet(attempts, cut(len(attempts)), len(attempts), counter_snapshot, from_scratch, *seen)


def subsampled(
    db: Session,
    tasks: int,
    counter_snapshot: int,
    since: datetime | None,
    seed: int,
    corrected: Sequence[Newest] = (),
    *,
    most: int | None = None,
    from_scratch: bool = False,
) -> TrainingSet:
    """Some students' tasks, `most` at most, for a run that goes on with what was finished after `since` and what was
    corrected, or from scratch where all would be too many. Call it in a snapshot."""
    held_out = tasks - cut(tasks)
    newest = finished_tasks.newest(db, held_out + MOST_FRESH)
    first = newest[held_out - 1].finished
    fresh = [task.student for task in corrected]
    if not from_scratch:
        fresh += [task.student for task in newest[held_out:] if since is None or task.finished > since]
    students, counts = finished_tasks.per_student(db)
    tested = [task.student for task in newest[: min(held_out, HOLDOUT_ROWS)]]
    chosen = drawn_students(students, counts, fresh, tested, seed, most)
    attempts = finished_tasks.read_students(db, chosen)
    start = int(np.searchsorted(attempts.finished, finished_tasks.microseconds(first)))
    seen = model_versions.last_erasure(db), corrections.last(db)
    return TrainingSet(attempts, start, tasks, counter_snapshot, from_scratch, *seen)


def drawn_students(
    students: Sequence[str],
    tasks: NDArray[np.int64],
    fresh: Sequence[str],
    tested: Sequence[str],
    seed: int,
    most: int | None = None,
) -> list[str]:
    """Whose histories are read, `most` tasks of them at most (none: READ): those with new tasks first, those of the
    holdout set, and others by lot. `tasks` is how many each of the `students` has finished."""
    most = most or READ
    known = dict(zip(students, tasks.tolist(), strict=True))
    by_lot = np.random.default_rng([seed, len(students)]).permutation(len(students))
    chosen: dict[str, int] = {}
    _admit(chosen, known, fresh, round(most * FRESH))
    _admit(chosen, known, tested, round(most * (FRESH + HELD_OUT)))
    _admit(chosen, known, [students[place] for place in by_lot[: most + 1]], most)
    return list(chosen)


def _admit(chosen: dict[str, int], known: dict[str, int], wanted: Sequence[str], most: int) -> None:
    """One after another, until there are tasks enough."""
    read = sum(chosen.values())
    for student in wanted:
        tasks = known.get(student, 0)
        if student in chosen or (read + tasks > most and len(chosen) >= SEVERAL):
            continue
        chosen[student] = tasks
        read += tasks


def due_from_scratch(tasks: int, last: int | None, growth: float, learnt: int | None) -> bool:
    """Whether a training from scratch is due: with few tasks always; when they have grown by this share since the last
    one, which had `last`; when tasks are gone that the models had learnt from; and when there is nothing to go on from.
    """
    if last is None or learnt is None or tasks < ALWAYS:
        return True
    return tasks >= (1 + growth) * last or tasks < learnt


def fresh_rows(
    training_set: TrainingSet, since: datetime | None, corrected: Sequence[Newest] = ()
) -> NDArray[np.bool_]:
    """Which of the tasks that are learnt from were finished after this moment, or were corrected, (fitted_rows,)."""
    older = training_set.older
    if since is None:
        return np.ones(len(older), np.bool_)
    fresh = np.asarray(older.finished > finished_tasks.microseconds(since))
    places = {student: place for place, student in enumerate(older.students)}
    for task in corrected:
        at = finished_tasks.microseconds(task.finished)
        first, end = np.searchsorted(older.finished, (at, at + 1))
        fresh[first:end] |= older.student[first:end] == places.get(task.student, -1)
    return fresh
