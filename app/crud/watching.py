"""What the database knows of the service: for those who watch it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.crud import attempts, model_tracker, model_versions, training_runs
from app.crud.model_versions import Version

PATIENCE = "2s"  # of a statement: a watcher must not add to what is wrong
OUTCOMES = ("asked", "running", "published", "rejected", "failed", "interrupted", "merged")
BY_OUTCOME = "SELECT outcome, count(*) AS n FROM training_runs GROUP BY outcome"
AGE = """
    SELECT CAST(extract(epoch FROM now() - coalesce(started_at, asked_at)) AS float8)
    FROM training_runs WHERE id = :id"""
FAILED = """
    SELECT count(*) FROM training_runs
    WHERE outcome = 'failed'
      AND id > coalesce((SELECT max(forgiven_through) FROM training_control), 0)
      AND id > coalesce((SELECT max(id) FROM training_runs WHERE outcome IN ('published', 'rejected')), 0)"""


@dataclass(frozen=True, slots=True)
class Trainings:
    """How training stands, whichever process does it."""

    by_outcome: Mapping[str, int]
    at_work_seconds: float | None  # since the run at work began; none where there is none
    waiting: int
    failed_in_a_row: int
    paused_at: datetime | None
    why_paused: str | None

    @property
    def state(self) -> str:
        if self.at_work_seconds is not None:
            return "at_work"
        if self.paused_at is not None:
            return "paused"
        return "waiting" if self.waiting else "idle"


@dataclass(frozen=True, slots=True)
class Tasks:
    """How many tasks there are."""

    completed: int
    open: int
    since_training: int


def impatiently(db: Session) -> None:
    """No statement of this transaction takes long."""
    db.execute(text(f"SET LOCAL statement_timeout = '{PATIENCE}'"))


def trainings(db: Session) -> Trainings:
    counts = {row.outcome: row.n for row in db.execute(text(BY_OUTCOME))}
    run = training_runs.at_work(db)
    control = db.execute(text("SELECT paused_at, reason FROM training_control")).first()
    return Trainings(
        by_outcome={outcome: counts.get(outcome, 0) for outcome in OUTCOMES},
        at_work_seconds=db.scalar(text(AGE), {"id": run.id}) if run else None,
        waiting=training_runs.waiting(db),
        failed_in_a_row=db.scalar(text(FAILED)) or 0,
        paused_at=control.paused_at if control else None,
        why_paused=control.reason if control else None,
    )


def tasks(db: Session) -> Tasks:
    unfinished = db.scalar(text("SELECT count(*) FROM practice_tasks WHERE NOT completed"))
    return Tasks(attempts.count(db), unfinished or 0, model_tracker.read(db).since_training)


def serving(db: Session) -> list[tuple[Version, float]]:
    """The serving versions, best first, and how many seconds ago each was made."""
    now: datetime = db.scalar(text("SELECT now()"))
    return [(version, (now - version.created_at).total_seconds()) for version in model_versions.serving(db).values()]
