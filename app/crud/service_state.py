"""How the service stands, as the database knows it: for metrics and readiness."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from app.crud import attempts, model_tracker, model_versions, trainers, training_control, training_runs
from app.crud.model_versions import Version
from app.crud.rows import execute
from app.crud.training_control import Control

STATEMENT_TIMEOUT = "2s"  # of a statement: a watcher must not add to what is wrong
OUTCOMES = ("published", "rejected", "failed", "interrupted", "merged")
BY_OUTCOME = "SELECT outcome, count(*) AS n FROM training_runs WHERE finished_at IS NOT NULL GROUP BY outcome"
AGE = """
    SELECT CAST(extract(epoch FROM now() - coalesce(started_at, asked_at)) AS float8)
    FROM training_runs WHERE id = :id"""


@dataclass(frozen=True, slots=True)
class TrainingState:
    """How training stands, whichever process does it."""

    by_outcome: Mapping[str, int]  # runs that ended
    at_work_seconds: float | None  # since the run at work began; none where there is none
    waiting: int
    trainers: int  # processes that train and were seen lately
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
class TaskCounts:
    """How many tasks there are."""

    completed: int
    since_training: int


def limit_statements(db: Session) -> None:
    """No statement of this transaction takes long."""
    execute(db, f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'")


def trainings(db: Session, silent_seconds: float) -> TrainingState:
    counts = {row.outcome: row.n for row in execute(db, BY_OUTCOME)}
    run = training_runs.at_work(db)
    return TrainingState(
        by_outcome={outcome: counts.get(outcome, 0) for outcome in OUTCOMES},
        at_work_seconds=execute(db, AGE, id=run.id).scalar() if run else None,
        waiting=training_runs.waiting(db),
        trainers=len(trainers.alive(db, silent_seconds)),
        control=training_control.read(db),
    )


def tasks(db: Session) -> TaskCounts:
    return TaskCounts(attempts.count(db), model_tracker.read(db).since_training)


def serving(db: Session) -> list[tuple[Version, float]]:
    """The serving versions, best first, and how many seconds ago each was made."""
    now: datetime = execute(db, "SELECT now()").scalar_one()
    return [(version, (now - version.created_at).total_seconds()) for version in model_versions.serving(db).values()]
