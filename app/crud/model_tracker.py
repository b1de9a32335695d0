"""The counter of finished tasks, and the row that tells ops how training stands."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from app.crud import attempts
from app.crud.rows import execute, first_as, number

# After the tasks and the totals: everybody locks in this order. A completion does the same in complete_tasks.
# Ops may have emptied the row or the column, so it is made anew rather than missed.
COUNT = """
    INSERT INTO embedding_model_tracker AS tracker (id, n_samples_since_training) VALUES (1, :finished)
    ON CONFLICT (id) DO UPDATE SET
        n_samples_since_training = coalesce(tracker.n_samples_since_training, 0) + excluded.n_samples_since_training,
        updated_at = timezone('utc', now())"""
READ = """
    SELECT coalesce(n_samples_since_training, 0) AS since_training, coalesce(n_samples_last_training, 0) AS trained_on,
        last_trained_at, model_version, coalesce(metadata, '{}') AS notes
    FROM embedding_model_tracker WHERE id = 1"""
NOTE = """
    UPDATE embedding_model_tracker SET metadata = coalesce(metadata, '{}') || CAST(:notes AS jsonb),
        updated_at = timezone('utc', now())
    WHERE id = 1"""
TRAINED = """
    UPDATE embedding_model_tracker SET last_trained_at = timezone('utc', now()), updated_at = timezone('utc', now()),
        n_samples_last_training = :n_tasks, model_version = :model_version,
        n_samples_since_training = greatest(coalesce(n_samples_since_training, 0) - :taken, 0)
    WHERE id = 1"""
ADD_UP = """
    UPDATE embedding_model_tracker SET updated_at = timezone('utc', now()),
        n_samples_since_training = since, n_samples_last_training = CAST(:remaining AS int) - since
    FROM (SELECT least(coalesce(n_samples_since_training, 0), :remaining) AS since
          FROM embedding_model_tracker WHERE id = 1) AS kept
    WHERE id = 1"""

CORRECTED = """
    UPDATE embedding_model_tracker SET updated_at = timezone('utc', now()),
        n_samples_since_training = since, n_samples_last_training = total - since
    FROM (SELECT total, least(greatest(coalesce(n_samples_since_training, 0) + :more, 0), total) AS since
          FROM embedding_model_tracker CROSS JOIN LATERAL (SELECT greatest(
              coalesce(n_samples_since_training, 0) + coalesce(n_samples_last_training, 0) - :gone, 0) AS total) AS sum
          WHERE id = 1) AS kept
    WHERE id = 1 RETURNING n_samples_since_training"""


@dataclass(frozen=True, slots=True)
class Tracker:
    """How training stands."""

    since_training: int
    trained_on: int
    last_trained_at: datetime | None  # UTC
    model_version: str | None
    notes: Mapping[str, Any]


def read(db: Session) -> Tracker:
    return first_as(Tracker, db, READ) or Tracker(0, 0, None, None, {})


def count(db: Session, finished: int) -> None:
    """Tasks were finished."""
    execute(db, COUNT, finished=finished)


def note(db: Session, notes: Mapping[str, Any]) -> None:
    """Say something in `metadata`; what else stands there stays."""
    execute(db, NOTE, notes=to_json(notes))


def trained(db: Session, *, n_tasks: int, taken: int, model_version: str) -> None:
    """Record a finished training. Only what the run took leaves the counter: the rest came meanwhile. What it learnt
    from may have been taken back meanwhile."""
    execute(db, TRAINED, n_tasks=n_tasks, taken=taken, model_version=model_version)
    add_up(db)


def add_up(db: Session) -> int:
    """Finished tasks went: the counter holds no more than there are, both numbers add up to them. How many remain.

    The row is locked before they are counted, so that a completion is in both or in neither.
    """
    _lock(db)
    remaining = attempts.count(db)
    execute(db, ADD_UP, remaining=remaining)
    return remaining


def corrected(db: Session, *, is_new: bool, gone: bool) -> int:
    """A result was changed, or is `gone`: one more or less to be learnt, if it is new since the last training, one
    less that was learnt. How many are to be learnt.

    What a training learnt and was changed is to be learnt again; what came since is counted already.
    """
    _lock(db)
    return number(db, CORRECTED, more=-(is_new and gone) + (not is_new and not gone), gone=int(gone))


def _lock(db: Session) -> None:
    """Ops may have emptied the row, as with COUNT."""
    execute(db, "INSERT INTO embedding_model_tracker (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET id = 1")


def answered_by(db: Session, model_version: str) -> None:
    """Another kind answers, without a training."""
    sql = "UPDATE embedding_model_tracker SET model_version = :model_version WHERE id = 1"
    execute(db, sql, model_version=model_version)


def to_json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, allow_nan=False, default=str)
