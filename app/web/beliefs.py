"""What LNIRT knows of a visitor."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy.orm import Session

from app.core.db.statements import run_sync
from app.crud import student_totals, studying
from app.crud.student_totals import StudentHistory
from app.crud.studying import Done
from app.domain.tasks import TaskRequest
from app.ml.serving.model_order import Loaded, ServingModels

if TYPE_CHECKING:  # SciPy is imported when LNIRT is there, not before
    from app.ml.answers import Answer
    from app.ml.lnirt.ability import Floats, Standing
    from app.ml.lnirt.model import ServedLnirt

KIND = "lnirt"
LEAST_BELIEVED = 5  # answers before anything is said
LEAST_COMPARED = 20  # students with results before anybody is set among them


@dataclass(frozen=True, slots=True)
class Belief:
    """What LNIRT knows of a student: the version in service, or before the first training LNIRT of the newest tasks."""

    model: "ServedLnirt"
    past: StudentHistory
    state: "Floats"  # (nodes + 3,) as in app/ml/lnirt/ability.py
    answers: int  # of the student, that it holds: the newest
    students: int  # with results, counted up to LEAST_COMPARED
    course: "Callable[[int], Floats]"  # what was known before the last so many tasks, and after each

    @property
    def compares(self) -> bool:
        """Whether there are students enough to set somebody among them."""
        return self.students >= LEAST_COMPARED

    @property
    def now(self) -> "Standing":
        from app.ml.lnirt.ability import standing

        return standing(self.model.population, self.state)

    @property
    def on_average(self) -> "Answer":
        """What is expected of them on a task of which nothing is known."""
        return self.model.on_average(self.state)

    def path(self, done: Sequence[Done], ends: Sequence[int]) -> "list[Standing]":
        """How it stood before the newest finished tasks, and after the first so many of them."""
        from app.ml.lnirt.ability import standing

        if not done:
            return []
        states = self.course(len(done))
        older = len(done) + 1 - len(states)  # of which it knows nothing
        places = [max(end - older, 0) for end in (0, *ends)]
        return [standing(self.model.population, states[place]) for place in places]


def served(serving: ServingModels) -> "tuple[Loaded, ServedLnirt] | None":
    """The version of LNIRT that is in service, if one is."""
    loaded = serving.model_order.of(KIND)
    if loaded is None:
        return None
    from app.ml.lnirt.model import ServedLnirt

    return (loaded, loaded.model) if isinstance(loaded.model, ServedLnirt) else None


def belief(db: Session, serving: ServingModels, student: UUID) -> Belief | None:
    """What is known of them now; none before there is a result, and where LNIRT is not in service."""
    found, past = served(serving), _past(db, student)
    if found is None:
        return None if serving.answering else _untrained(db, student, past)
    loaded, model = found
    state = run_sync(model.state(loaded.version.id, _anything(student), past), db)[0]

    def course(most: int) -> "Floats":
        return run_sync(model.trajectory(_anything(student), past.at, most), db)

    return Belief(model, past, state, past.n, studying.students(db, LEAST_COMPARED), course)


def _untrained(db: Session, student: UUID, past: StudentHistory) -> Belief | None:
    """By the LNIRT that answers before the first training; none where nobody has finished anything."""
    from app.ml.lnirt.untrained import untrained

    found = run_sync(untrained(past.at), db)
    if found is None:
        return None
    model, tasks = found.model, found.of_student(student)
    states = model.states_after(tasks)
    return Belief(
        model, past, states[-1], len(tasks), studying.students(db, LEAST_COMPARED), lambda most: states[-most - 1 :]
    )


def _past(db: Session, student: UUID) -> StudentHistory:
    rows = student_totals.PAST.rows_sync(db, **student_totals.question(_anything(student), None))
    return student_totals.past_of(rows[0])


def _anything(student: UUID) -> TaskRequest:
    """A task of theirs; what it is about doesn't matter to what is known of them."""
    return TaskRequest(student, "", "medium")


def of_hundred(share: float) -> int:
    """As people say it: nobody is better than all, or than none."""
    return min(max(round(100 * share), 1), 99)
