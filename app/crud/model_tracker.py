"""The counter of finished tasks, and the row that tells ops how training stands."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core.db.statements import Statement
from app.crud import attempts

# In the completion's own transaction, after the task and the totals: everybody locks in this order.
# Ops may have emptied the row or the column, so it is made anew rather than missed.
COUNT = Statement("""
    INSERT INTO embedding_model_tracker AS tracker (id, n_samples_since_training) VALUES (1, :finished)
    ON CONFLICT (id) DO UPDATE SET
        n_samples_since_training = coalesce(tracker.n_samples_since_training, 0) + excluded.n_samples_since_training,
        updated_at = timezone('utc', now())
    RETURNING n_samples_since_training""")


@dataclass(frozen=True, slots=True)
class Tracker:
    """How training stands."""

    since_training: int
    trained_on: int
    last_trained_at: datetime | None  # UTC
    model_version: str | None
    notes: Mapping[str, Any]


def read(db: Session) -> Tracker:
    row = db.execute(
        text("""SELECT n_samples_since_training AS since, n_samples_last_training AS trained, last_trained_at,
                       model_version, metadata FROM embedding_model_tracker WHERE id = 1""")
    ).first()
    if row is None:
        return Tracker(0, 0, None, None, {})
    return Tracker(row.since or 0, row.trained or 0, row.last_trained_at, row.model_version, row.metadata or {})


def note(db: Session, notes: Mapping[str, Any]) -> None:
    """Say something in `metadata`; what else stands there stays."""
    db.execute(
        text("""UPDATE embedding_model_tracker SET metadata = coalesce(metadata, '{}') || CAST(:notes AS jsonb),
                       updated_at = timezone('utc', now()) WHERE id = 1"""),
        {"notes": to_json(notes)},
    )


def trained(db: Session, *, n_tasks: int, taken: int, model_version: str) -> None:
    """Record a finished training. Only what the run took leaves the counter: the rest came meanwhile."""
    db.execute(
        text("""UPDATE embedding_model_tracker SET last_trained_at = timezone('utc', now()),
                       updated_at = timezone('utc', now()), n_samples_last_training = :n_tasks,
                       n_samples_since_training = greatest(coalesce(n_samples_since_training, 0) - :taken, 0),
                       model_version = :model_version WHERE id = 1"""),
        {"n_tasks": n_tasks, "taken": taken, "model_version": model_version},
    )


def erased(db: Session) -> int:
    """Finished tasks went: the counter holds no more than there are, both numbers add up to them. How many remain.

    The row is locked before they are counted, so that a completion is in both or in neither.
    """
    db.execute(text("SELECT FROM embedding_model_tracker WHERE id = 1 FOR UPDATE"))
    remaining = attempts.count(db)
    db.execute(
        text("""UPDATE embedding_model_tracker SET updated_at = timezone('utc', now()),
                       n_samples_since_training = since, n_samples_last_training = CAST(:remaining AS int) - since
                FROM (SELECT least(coalesce(n_samples_since_training, 0), :remaining) AS since
                      FROM embedding_model_tracker WHERE id = 1) AS kept WHERE id = 1"""),
        {"remaining": remaining},
    )
    return remaining


def answered_by(db: Session, model_version: str) -> None:
    """Another kind answers, without a training."""
    db.execute(
        text("UPDATE embedding_model_tracker SET model_version = :model_version WHERE id = 1"),
        {"model_version": model_version},
    )


def to_json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, allow_nan=False, default=str)
