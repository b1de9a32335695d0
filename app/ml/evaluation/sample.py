"""Something to look at in an empty installation: made-up students who have practised for some weeks."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.crud import demonstration, imports
from app.domain.attempts import DIFFICULTIES, Attempts
from app.domain.interactions import Interaction, student_uuid, uuid5

TOPICS = ("Algebra", "Calculus", "Fractions", "Geometry", "Mechanics", "Microeconomics", "Statistics", "Waves")
STUDENTS = 40
TASKS = 30  # of each
SEED = 20


class NotEmpty(ValueError):
    """There are tasks already; the sample is for an empty installation."""


def is_empty(db: Session) -> bool:
    """Whether nobody has an account or a task yet."""
    return not db.scalar(text("SELECT EXISTS (SELECT FROM practice_tasks) OR EXISTS (SELECT FROM users)"))


def has_room(db: Session) -> bool:
    """Whether there are no tasks, so that it can be loaded."""
    return not db.scalar(text("SELECT EXISTS (SELECT FROM practice_tasks)"))


def load(db: Session) -> int:
    """Store the sample and count it; how many tasks it has. Raises NotEmpty where there are tasks already."""
    db.execute(text("SELECT pg_advisory_xact_lock(hashtext('smartstudy.sample'))"))
    if not has_room(db):
        raise NotEmpty(NotEmpty.__doc__)
    rows = _rows(_made_up())
    demonstration.mark(db, {UUID(bytes=row.student) for row in rows})
    return imports.add(db, rows)


def _made_up() -> Attempts:
    """Simulated tasks (app/ml/evaluation/simulated.py), the last of them finished yesterday."""
    from app.ml.evaluation.simulated import DAY, school, simulate  # here, for SciPy has no business in the web process

    made = simulate(school(STUDENTS, TOPICS, learning=0.25, seed=SEED), TASKS, seed=SEED).attempts
    now = int(datetime.now(UTC).timestamp() * 1e6)
    later = now - DAY - int(made.finished.max())
    return replace(made, started=made.started + later, finished=made.finished + later)


def _rows(made: Attempts) -> list[Interaction]:
    return [
        Interaction(
            uuid5(f"sample {row}"),
            student_uuid(f"sample student {made.student[row]}"),
            None,
            made.topics[made.topic[row]],
            DIFFICULTIES[made.difficulty[row]],
            bool(made.correct[row]),
            float(made.seconds[row]),
            int(made.started[row]) / 1e6,
        )
        for row in range(len(made))
    ]
