"""What the database knows of the service: for those who watch it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.crud import attempts, model_tracker, model_versions, training_control, training_runs
from app.crud.model_versions import Version
from app.crud.training_control import Control

PATIENCE = "2s"  # of a statement: a watcher must not add to what is wrong
OUTCOMES = ("published", "rejected", "failed", "interrupted", "merged")
BY_OUTCOME = "SELECT outcome, count(*) AS n FROM training_runs WHERE finished_at IS NOT NULL GROUP BY outcome"
AGE = """
    SELECT CAST(extract(epoch FROM now() - coalesce(started_at, asked_at)) AS float8)
    FROM training_runs WHERE id = :id"""


@dataclass(frozen=True, slots=True)
class Trainings:
    """How training stands, whichever process does it."""

    by_outcome: Mapping[str, int]  # runs that ended
    at_work_seconds: float | None  # since the run at work began; none where there is none
    waiting: int
    control: Control

    @property
    def state(self) -> str:
        """At work or waiting it may be in spite of a pause: somebody ordered it."""
        if self.at_work_seconds is not None:
            return "at_work"
        if self.waiting:
            return "waiting"
        return "paused" if self.control.is_paused else "idle"


@dataclass(frozen=True, slots=True)
class Tasks:
    """How many tasks there are."""

    completed: int
    since_training: int


def impatiently(db: Session) -> None:
    """No statement of this transaction takes long."""
    db.execute(text(f"SET LOCAL statement_timeout = '{PATIENCE}'"))


def trainings(db: Session) -> Trainings:
    counts = {row.outcome: row.n for row in db.execute(text(BY_OUTCOME))}
    run = training_runs.at_work(db)
    return Trainings(
        by_outcome={outcome: counts.get(outcome, 0) for outcome in OUTCOMES},
        at_work_seconds=db.scalar(text(AGE), {"id": run.id}) if run else None,
        waiting=training_runs.waiting(db),
        control=training_control.read(db),
    )


def tasks(db: Session) -> Tasks:
    return Tasks(attempts.count(db), model_tracker.read(db).since_training)


def serving(db: Session) -> list[tuple[Version, float]]:
    """The serving versions, best first, and how many seconds ago each was made."""
    now: datetime = db.scalar(text("SELECT now()"))
    return [(version, (now - version.created_at).total_seconds()) for version in model_versions.serving(db).values()]
