"""What LNIRT believes of a visitor, without keeping them waiting."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

import numpy as np
from fastapi import BackgroundTasks
from sqlalchemy.orm import Session

from app.core.database import new_session
from app.core.statements import hold_now
from app.crud import student_states, student_totals, studying
from app.crud.student_totals import Past
from app.crud.studying import Done
from app.domain.tasks import Asked
from app.ml.serving import Loaded, ServingModels

if TYPE_CHECKING:  # SciPy is imported when LNIRT is there, not before
    from app.ml.ability_path import Answered, Standing
    from app.ml.answers import Answer
    from app.ml.lnirt_posterior import Posterior
    from app.ml.lnirt_service import ServedLnirt

KIND = "lnirt"
AT_ONCE = 3_000  # answers that are weighed while the page waits; more of them, once it is sent
LEAST_BELIEVED = 5  # answers before anything is said
LEAST_COMPARED = 20  # students with results before anybody is set among them
weighing: set[UUID] = set()  # students whose answers are being weighed by this process


@dataclass(frozen=True, slots=True)
class Belief:
    """What LNIRT knows of a student: the version in service, or before the first training LNIRT of the newest tasks."""

    model: "ServedLnirt"
    past: Past
    posterior: "Posterior | None"  # none: the answers are still being weighed
    answers: int  # of the student, that it holds: the newest
    students: int  # with results, counted up to LEAST_COMPARED

    @property
    def compares(self) -> bool:
        """Whether there are students enough to set somebody among them."""
        return self.students >= LEAST_COMPARED

    @property
    def now(self) -> "Standing | None":
        from app.ml.ability_path import standing

        return standing(self.posterior) if self.posterior else None

    @property
    def on_average(self) -> "Answer | None":
        """What is expected of them on a task of which nothing is known."""
        return self.model.on_average(self.posterior) if self.posterior else None

    def path(self, done: Sequence[Done], ends: Sequence[int]) -> "list[Standing]":
        """How it stood before the newest finished tasks, and after the first so many of them."""
        from app.ml.ability_path import path, standing

        if self.posterior is None:
            return []
        older = max(len(done) - self.answers, 0)  # of which it knows nothing
        held, ends = _answered(self.model, done[older:]), [max(end - older, 0) for end in ends]
        return [standing(each) for each in path(self.posterior, held, ends, are_all=len(done) >= self.answers)]


def _answered(model: "ServedLnirt", done: Sequence[Done]) -> "Answered":
    from app.ml.ability_path import Answered

    names = [(each.item_id, each.topic, each.difficulty) for each in done]
    places = {name: place for place, name in enumerate(dict.fromkeys(names))}
    return Answered(
        [model.parameters(*name) for name in places],
        np.array([places[name] for name in names], np.intp),
        np.array([each.correct for each in done], np.bool_),
        np.clip(np.array([each.seconds for each in done], np.float64), *model.times),
    )


def served(serving: ServingModels) -> "tuple[Loaded, ServedLnirt] | None":
    """The version of LNIRT that is in service, if one is."""
    loaded = serving.lineup.of(KIND)
    if loaded is None:
        return None
    from app.ml.lnirt_service import ServedLnirt

    return (loaded, loaded.model) if isinstance(loaded.model, ServedLnirt) else None


def belief(db: Session, serving: ServingModels, student: UUID, later: BackgroundTasks) -> Belief | None:
    """What is known of them now; where too many answers are new to this version, they are weighed `later`."""
    found, past = served(serving), _past(db, student)
    if found is None:
        return None if serving.answering else _untrained(db, student, past)
    loaded, model = found
    version = {"user_id": student, "kind": KIND, "version_id": loaded.version.id}
    kept = student_states.KEPT.first_now(db, **version)
    posterior = None
    if past.n - (kept["n"] if kept else 0) <= AT_ONCE:
        posterior = _posterior(db, loaded, model, student, past)
    elif student not in weighing:
        weighing.add(student)
        later.add_task(_weigh, loaded, model, student)
    return Belief(model, past, posterior, past.n, studying.students(db, LEAST_COMPARED))


def _untrained(db: Session, student: UUID, past: Past) -> Belief | None:
    """By the LNIRT that answers before the first training; none where nobody has finished anything."""
    from app.ml.untrained import untrained

    found = hold_now(untrained(past.at), db)
    if found is None:
        return None
    rows = found.of_student(student)
    return Belief(found.model, past, found.model.after(rows), len(rows), studying.students(db, LEAST_COMPARED))


def _weigh(loaded: Loaded, model: "ServedLnirt", student: UUID) -> None:
    try:
        with new_session().begin() as db:
            _posterior(db, loaded, model, student, _past(db, student))
    finally:
        weighing.discard(student)


def _past(db: Session, student: UUID) -> Past:
    rows = student_totals.PAST.rows_now(db, **student_totals.question(_anything(student), None))
    return student_totals.past_of(rows[0])


def _posterior(db: Session, loaded: Loaded, model: "ServedLnirt", student: UUID, past: Past) -> "Posterior":
    """Kept and caught up."""
    return hold_now(model.posterior(loaded.version.id, _anything(student), past), db)


def _anything(student: UUID) -> Asked:
    """A task of theirs; what it is about doesn't matter to what is known of them."""
    return Asked(student, "", "medium")


def of_hundred(share: float) -> int:
    """As people say it: nobody is better than all, or than none."""
    return min(max(round(100 * share), 1), 99)
