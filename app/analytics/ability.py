"""What LNIRT knows of a student's ability and speed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy.orm import Session

from app.core.db.statements import run_sync
from app.crud import learning_record, student_totals
from app.crud.learning_record import FinishedTask
from app.crud.student_totals import StudentHistory
from app.domain.kinds import BASE
from app.domain.tasks import TaskRequest
from app.ml.serving.model_order import ServingModels

if TYPE_CHECKING:  # SciPy is imported when LNIRT is there, not before
    from app.ml.answers import Answer
    from app.ml.lnirt.ability import Floats, Standing
    from app.ml.lnirt.model import ServedLnirt

LEAST_ANSWERS = 5  # before anything is said
LEAST_STUDENTS = 20  # with results before anybody is set among them


@dataclass(frozen=True, slots=True)
class AbilityEstimate:
    """A student's ability and speed by LNIRT: the version in service, or before a training that of the newest tasks."""

    model: "ServedLnirt"
    past: StudentHistory
    state: "Floats"  # (nodes + 3,) as in app/ml/lnirt/ability.py
    students: int  # with results, counted up to LEAST_STUDENTS
    states: "Callable[[int], Floats]"  # what was known before the last so many tasks, and after each

    @property
    def compares(self) -> bool:
        """Whether there are students enough to set somebody among them."""
        return self.students >= LEAST_STUDENTS

    @property
    def now(self) -> "Standing":
        from app.ml.lnirt.ability import standing

        return standing(self.model.population, self.state)

    @property
    def on_average(self) -> "Answer":
        """Return what is expected of the student on a task of which nothing is known."""
        return self.model.on_average(self.state)

    def trajectory(self, done: Sequence[FinishedTask], ends: Sequence[int]) -> "list[Standing]":
        """Return how the student stood before the newest finished tasks, and after the first so many of them."""
        from app.ml.lnirt.ability import standing

        if not done:
            return []
        states = self.states(len(done))
        older = len(done) + 1 - len(states)  # of which it knows nothing
        places = [max(end - older, 0) for end in (0, *ends)]
        return [standing(self.model.population, states[place]) for place in places]


def ability_estimate(db: Session, serving: ServingModels, student: UUID) -> AbilityEstimate | None:
    """Return what is known of the student now; none before there is a result, and where LNIRT is not in service."""
    anything = TaskRequest(student, "", "medium")  # what a task is about doesn't matter to what is known of them
    past = student_totals.past_of(student_totals.PAST.rows_sync(db, **student_totals.question(anything, None))[0])
    loaded = serving.model_order.of(BASE)
    if loaded is None:
        return None if serving.answering else _untrained(db, student, past)
    from app.ml.lnirt.model import ServedLnirt

    model = loaded.model
    if not isinstance(model, ServedLnirt):
        return None
    state = run_sync(model.state(loaded.version.id, anything, past), db)[0]

    def states(most: int) -> "Floats":
        return run_sync(model.trajectory(anything, past.at, most), db)

    return AbilityEstimate(model, past, state, learning_record.students(db, LEAST_STUDENTS), states)


def _untrained(db: Session, student: UUID, past: StudentHistory) -> AbilityEstimate | None:
    """Ask the LNIRT that answers before the first training; none where nobody has finished anything."""
    from app.ml.lnirt.untrained import untrained

    found = run_sync(untrained(past.at), db)
    if found is None:
        return None
    states = found.model.states_after(found.of_student(student))
    students = learning_record.students(db, LEAST_STUDENTS)
    return AbilityEstimate(found.model, past, states[-1], students, lambda most: states[-most - 1 :])


def percentile(share: float) -> int:
    """Return how many of 100, as people say it: nobody is better than all, or than none."""
    return min(max(round(100 * share), 1), 99)
