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

LOOKED_THROUGH = 5  # times as many tasks as are wanted
# Predictions from before there were versions have none and are left out; the prior has none either, but a name.
PREDICTED = f"""{FINISHED} AND correctness_prob IS NOT NULL
          AND (model_version_id IS NOT NULL OR lnirt_model_version = 'prior')"""
SHOWN = """id, model_version_id, is_correct, actual_time_seconds, correctness_prob, estimated_time_seconds,
               time_low_seconds, time_high_seconds"""
MIDNIGHT = "date_trunc('day', now() AT TIME ZONE 'UTC')"  # when today began, UTC
ALL = f"""practice_tasks
        WHERE {PREDICTED} AND completed_at >= ({MIDNIGHT} - make_interval(days => %(before)s)) AT TIME ZONE 'UTC'"""
# The last of each day, by the index of the moment; where most of a day was imported, not every row is looked at.
SOME = f"""generate_series(0, %(before)s) AS ago,
        LATERAL (SELECT {MIDNIGHT} - make_interval(days => ago) AS midnight) AS day_began,
        LATERAL (
            SELECT * FROM (
                SELECT * FROM practice_tasks
                WHERE completed AND completed_at >= midnight AT TIME ZONE 'UTC'
                  AND completed_at < (midnight + interval '1 day') AT TIME ZONE 'UTC'
                ORDER BY completed_at DESC LIMIT {LOOKED_THROUGH} * %(most)s) AS newest
            WHERE {PREDICTED} LIMIT %(most)s) AS some_of_the_day"""
# A task is numbered, so that two predictions of the same one can be told.
COPY = f"""COPY (
    WITH done AS (
        SELECT {SHOWN}, CAST(row_number() OVER () AS integer) AS task,
               CAST(completed_at AT TIME ZONE 'UTC' AS date) - DATE '1970-01-01' AS day
        FROM %s
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


def completed(db: Session, days: int, most_a_day: int | None = None) -> Predicted:
    """Predictions, shown or shadow, of tasks completed today or on the `days` - 1 days before, UTC: all of them, or of
    each day the last."""
    tasks = (ALL if most_a_day is None else SOME) % {"before": int(days) - 1, "most": int(most_a_day or 0)}
    data = io.BytesIO()
    db.connection().connection.cursor().copy_expert(COPY % tasks, data)
    rows = np.frombuffer(data.getbuffer()[HEADER:-TRAILER], dtype=ROW)
    return Predicted(*(rows[name].astype(rows.dtype[name].newbyteorder("=")) for name in KINDS))


def kinds_of(db: Session, versions: Iterable[int]) -> dict[int, str]:
    """The kind of each of these versions."""
    rows = db.execute(text("SELECT id, kind FROM model_versions WHERE id = ANY(:ids)"), {"ids": list(versions)})
    return {row.id: row.kind for row in rows}
