"""The newest predictions: what came of them, and what they were made from. Bounded work, however many tasks."""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.crud.attempts import FINISHED, HEADER, TRAILER

Floats = NDArray[np.float64]
DAYS = 30
LOOKED_THROUGH = 20_000  # tasks: those that were imported have no prediction

# By an index of the moment, newest first; the scan ends when there are enough.
COMPLETED = text(f"""
    SELECT coalesce(version.kind, 'prior') AS kind, newest.* FROM (
        SELECT coalesce(model_version_id, 0) AS version, is_correct, actual_time_seconds AS seconds,
               correctness_prob AS p, estimated_time_seconds AS estimate, time_low_seconds AS low,
               time_high_seconds AS high
        FROM (SELECT * FROM practice_tasks
              WHERE completed AND completed_at > now() - make_interval(days => {DAYS})
              ORDER BY completed_at DESC LIMIT {LOOKED_THROUGH}) AS looked_through
        WHERE {FINISHED} AND correctness_prob IS NOT NULL
          AND (model_version_id IS NOT NULL OR lnirt_model_version = 'prior')
        LIMIT :most) AS newest
    LEFT JOIN model_versions AS version ON version.id = newest.version""")

PREDICTED = f"""
    SELECT %s FROM (SELECT * FROM practice_tasks WHERE created_at > now() - interval '{DAYS} days'
                    ORDER BY created_at DESC, id DESC LIMIT {LOOKED_THROUGH}) AS looked_through
    WHERE correctness_prob IS NOT NULL AND cardinality(features) = %d AND array_ndims(features) = 1
      AND array_position(features, NULL) IS NULL
    LIMIT %d"""


@dataclass(frozen=True, slots=True)
class Completed:
    """Predictions that students saw and what came of them, newest first; each (n,)."""

    kind: NDArray[np.str_]
    version: NDArray[np.int64]  # row in model_versions, 0 for the prior
    correct: NDArray[np.bool_]
    seconds: Floats
    probability: Floats
    estimate: Floats  # seconds
    low: Floats  # 10-90 % of the time; NaN where not known
    high: Floats

    def __len__(self) -> int:
        return len(self.correct)

    def take(self, rows: NDArray[np.bool_]) -> "Completed":
        return Completed(*(getattr(self, name)[rows] for name in self.__slots__))


def completed(db: Session, most: int) -> Completed:
    """The newest `most` predicted tasks that were completed in the last days."""
    rows = db.execute(COMPLETED, {"most": most}).all()
    columns = [*zip(*rows, strict=True)] or [()] * 8
    kinds = (np.str_, np.int64, np.bool_, *[np.float64] * 5)
    return Completed(*(np.array(column, kind) for column, kind in zip(columns, kinds, strict=True)))


def inputs(db: Session, wide: int, most: int) -> tuple[Floats, NDArray[np.void]]:
    """What the newest predictions were made from, newest first, (n, wide), and whose they were, (n,)."""
    data = io.BytesIO()
    cursor = db.connection().connection.cursor()
    cursor.copy_expert(f"COPY ({PREDICTED % ('user_id, features', wide, most)}) TO STDOUT (FORMAT binary)", data)
    one = np.dtype([("length", ">i4"), ("value", ">f8")])
    columns = [("n", ">i2"), ("_user", ">i4"), ("user", "V16"), ("length", ">i4"), ("head", ">i4", 5)]
    row = np.dtype([*columns, ("values", one, wide)])
    found = np.frombuffer(data.getbuffer()[HEADER:-TRAILER], row)
    return found["values"]["value"].astype(np.float64), found["user"].copy()


def names(db: Session, wide: int, most: int) -> tuple[list[str], list[str]]:
    """The topics of the same tasks, and the items of those that name one."""
    rows = db.execute(text(PREDICTED % ("topic, item_id", wide, most))).all()
    return [topic for topic, _ in rows], [item for _, item in rows if item is not None]
