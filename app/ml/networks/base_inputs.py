"""What LNIRT says of a task, as a network takes it in: the base that its scores are added to, and two of its inputs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.core.db.statements import QueryFlow
from app.crud.student_totals import StudentHistory
from app.domain.attempts import Attempts
from app.domain.tasks import TaskRequest
from app.ml.lnirt.ability import base_input, base_inputs
from app.ml.lnirt.model import ServedLnirt, fitted_items
from app.ml.lnirt.population import Population

Floats = NDArray[np.float64]

FOLDS = 4
MANY_STUDENTS, MANY_TASKS = 40, 1_000  # from so many on by folds of students
FIRST = 8  # tasks of the first fit by doublings
NOTHING_KNOWN = np.array([0.0, np.log(60.0)])  # log odds and log seconds


@dataclass(frozen=True, slots=True)
class BaseInputs:
    """The LNIRT that a served network corrects."""

    model: ServedLnirt
    version_id: int = 0  # under which the database keeps what it knows of students

    def of_task(self, asked: TaskRequest, past: StudentHistory) -> QueryFlow[Floats]:
        """Log odds and log seconds of one task, (1, 2)."""
        return base_input((yield from self.model.predicted(self.version_id, asked, past)))

    def of_attempts(self, attempts: Attempts, rows: NDArray[np.intp]) -> Floats:
        """Of these rows, each from what its student had finished when it was created, (m, 2)."""
        return base_inputs(self.model.predictions(attempts, rows))


def cross_fitted(attempts: Attempts, moving: Population) -> Floats:
    """Of n attempts, log odds and log seconds from fits that did not see the row, (n, 2); students move as in `moving`.

    With many students by folds of them (cross-fitting: Chernozhukov and others 2018, Econometrics Journal 21, C1-C68);
    else each doubling of the tasks gets what a fit to those before says, and the first ones nothing.
    """
    whose = np.unique(attempts.student)
    inputs = np.tile(NOTHING_KNOWN, (len(attempts), 1))
    if len(whose) >= MANY_STUDENTS and len(attempts) > MANY_TASKS:
        fold = np.zeros(len(attempts.students), np.intp)
        fold[whose] = np.random.default_rng(0).permutation(len(whose)) % FOLDS
        for part in range(FOLDS):
            rows = np.flatnonzero(fold[attempts.student] == part)
            others = attempts.take(fold[attempts.student] != part)
            inputs[rows] = BaseInputs(fitted_items(others).moving_as(moving).served()).of_attempts(attempts, rows)
        return inputs
    begin = FIRST
    while begin < len(attempts):
        rows = np.arange(begin, min(2 * begin, len(attempts)))
        earlier = fitted_items(attempts.take(slice(begin))).moving_as(moving).served()
        inputs[rows] = BaseInputs(earlier).of_attempts(attempts.take(slice(2 * begin)), rows)
        begin *= 2
    return inputs
