"""Students who were made up, by the sample or the guided run: marked, so that they lead nobody and go together."""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from app.crud.rows import execute, first_as

GUIDED_RUN = "guided run"  # the name of its service key
# The mark stays when they are removed: what a guided run still sends then is theirs too.
MARK = """
    INSERT INTO demonstration_students SELECT unnest(CAST(:students AS uuid[])) ON CONFLICT DO NOTHING"""
THERE = "EXISTS (SELECT FROM demonstration_students JOIN practice_tasks USING (user_id))"
FOUND = """
    SELECT count(DISTINCT user_id) AS students, count(*) AS tasks
    FROM demonstration_students JOIN practice_tasks USING (user_id)"""


@dataclass(frozen=True, slots=True)
class Demonstration:
    """How much of what is stored is made up."""

    students: int
    tasks: int  # finished or open


def mark(db: Session, students: Iterable[UUID]) -> None:
    """Say that they are made up, before their first task is stored."""
    execute(db, MARK, students=sorted({str(student) for student in students}))


def found(db: Session) -> Demonstration | None:
    """What there is of it; none where nothing is."""
    counted = first_as(Demonstration, db, FOUND)
    return counted if counted and counted.tasks else None


def is_there(db: Session) -> bool:
    return bool(execute(db, f"SELECT {THERE}").scalar_one())


def students(db: Session) -> list[UUID]:
    """All who were ever marked."""
    return list(execute(db, "SELECT user_id FROM demonstration_students").scalars())
