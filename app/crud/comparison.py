"""What was predicted of tasks that have since been completed, as columns: binary COPY, no object per row."""

import io
from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.crud.attempts import FINISHED, HEADER, TRAILER

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]
Bools = NDArray[np.bool_]

# Predictions from before there were versions have none and are left out; the prior has none either, but a name.
# A task is numbered, so that two predictions of the same one can be told.
COPY = f"""COPY (
    WITH done AS (
        SELECT *, CAST(row_number() OVER () AS integer) AS task,
               CAST(completed_at AT TIME ZONE 'UTC' AS date) - DATE '1970-01-01' AS day
        FROM practice_tasks
        WHERE {FINISHED} AND correctness_prob IS NOT NULL
          AND (model_version_id IS NOT NULL OR lnirt_model_version = 'prior')
          AND completed_at >= (date_trunc('day', now() AT TIME ZONE 'UTC') - interval '%s days') AT TIME ZONE 'UTC'
    )
    SELECT task, coalesce(model_version_id, 0), false, day, is_correct, actual_time_seconds,
           correctness_prob, estimated_time_seconds,
           coalesce(time_low_seconds, 'NaN'), coalesce(time_high_seconds, 'NaN')
    FROM done
    UNION ALL
    SELECT done.task, shadow.model_version_id, true, done.day, done.is_correct, done.actual_time_seconds,
           shadow.correctness_prob, shadow.estimated_time_seconds,
           coalesce(shadow.time_low_seconds, 'NaN'), coalesce(shadow.time_high_seconds, 'NaN')
    FROM done JOIN shadow_predictions AS shadow ON shadow.task_id = done.id
) TO STDOUT (FORMAT binary)"""


@dataclass(frozen=True, slots=True)
class Predicted:
    """Predictions and what came of them; each (n,)."""

    task: Ints  # a number of its own for each task
    version: Ints  # row in model_versions, 0 for the prior
    shadow: Bools  # only recorded; the student did not see it
    day: Ints  # of completion, UTC, days since 1970
    correct: Bools
    seconds: Floats  # time the student took
    probability: Floats
    estimate: Floats  # seconds
    low: Floats  # 10-90 % of the time; NaN where not known
    high: Floats

    def __len__(self) -> int:
        return len(self.task)

    def take(self, rows: NDArray[np.intp] | Bools) -> "Predicted":
        return Predicted(*(getattr(self, field.name)[rows] for field in fields(self)))


KINDS = dict(zip(Predicted.__slots__, (">i4", ">i4", "?", ">i4", "?", *[">f8"] * 5), strict=True))
ROW = np.dtype([("n", ">i2")] + [part for name, kind in KINDS.items() for part in ((f"_{name}", ">i4"), (name, kind))])


def completed(db: Session, days: int) -> Predicted:
    """All predictions, shown or shadow, of tasks completed today or on the `days` - 1 days before, UTC."""
    data = io.BytesIO()
    db.connection().connection.cursor().copy_expert(COPY % (int(days) - 1), data)
    rows = np.frombuffer(data.getbuffer()[HEADER:-TRAILER], dtype=ROW)
    return Predicted(*(rows[name].astype(rows.dtype[name].newbyteorder("=")) for name in KINDS))


def kinds_of(db: Session, versions: Iterable[int]) -> dict[int, str]:
    """The kind of each of these versions."""
    rows = db.execute(text("SELECT id, kind FROM model_versions WHERE id = ANY(:ids)"), {"ids": list(versions)})
    return {row.id: row.kind for row in rows}
