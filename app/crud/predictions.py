"""Predictions, what came of them and what they were made from. Bounded work, however many tasks there are."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from app.crud.attempts import FINISHED
from app.crud.binary_copy import columns
from app.crud.rows import execute

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]
Bools = NDArray[np.bool_]

DAYS = 30  # the newest are none that are older
LOOKED_THROUGH = 20_000  # tasks: those that were imported have no prediction
LOOKED_THROUGH_A_DAY = 5  # times as many tasks as are wanted

# Predictions from before there were versions have none and are left out; the prior has none either, but a name.
PREDICTED = f"""{FINISHED} AND correctness_prob IS NOT NULL
          AND (model_version_id IS NOT NULL OR lnirt_model_version = 'prior')"""
# By an index of the moment, newest first; the scan ends when there are enough.
NEWEST_COMPLETED = f"""
    SELECT newest.*, coalesce(version.kind, 'prior') AS kind FROM (
        SELECT coalesce(model_version_id, 0) AS version, is_correct, actual_time_seconds AS seconds,
               correctness_prob AS p, estimated_time_seconds AS estimate, time_low_seconds AS low,
               time_high_seconds AS high
        FROM (SELECT * FROM practice_tasks
              WHERE completed AND completed_at > now() - make_interval(days => {DAYS})
              ORDER BY completed_at DESC LIMIT {LOOKED_THROUGH}) AS looked_through
        WHERE {PREDICTED} LIMIT :most) AS newest
    LEFT JOIN model_versions AS version ON version.id = newest.version"""
NEWEST_ASKED = f"""
    FROM (SELECT * FROM practice_tasks WHERE created_at > now() - interval '{DAYS} days'
          ORDER BY created_at DESC, id DESC LIMIT {LOOKED_THROUGH}) AS looked_through
    WHERE correctness_prob IS NOT NULL AND cardinality(features) = %d AND array_ndims(features) = 1
      AND array_position(features, NULL) IS NULL
    LIMIT %d"""

MIDNIGHT = "date_trunc('day', now() AT TIME ZONE 'UTC')"  # when today began, UTC
ALL_OF_DAYS = f"""practice_tasks
        WHERE {PREDICTED} AND completed_at >= ({MIDNIGHT} - make_interval(days => %(before)s)) AT TIME ZONE 'UTC'"""
# The last of each day, by the index of the moment; where most of a day was imported, not every row is looked at.
SOME_OF_EACH_DAY = f"""generate_series(0, %(before)s) AS ago,
        LATERAL (SELECT {MIDNIGHT} - make_interval(days => ago) AS midnight) AS day_began,
        LATERAL (
            SELECT * FROM (
                SELECT * FROM practice_tasks
                WHERE completed AND completed_at >= midnight AT TIME ZONE 'UTC'
                  AND completed_at < (midnight + interval '1 day') AT TIME ZONE 'UTC'
                ORDER BY completed_at DESC LIMIT {LOOKED_THROUGH_A_DAY} * %(most)s) AS newest
            WHERE {PREDICTED} LIMIT %(most)s) AS some_of_the_day"""
# A task is numbered, so that two predictions of the same one can be told.
SHOWN_AND_SHADOWS = """
    WITH done AS (
        SELECT id, model_version_id, is_correct, actual_time_seconds, correctness_prob, estimated_time_seconds,
               time_low_seconds, time_high_seconds, CAST(row_number() OVER () AS integer) AS task,
               CAST(completed_at AT TIME ZONE 'UTC' AS date) - DATE '1970-01-01' AS day
        FROM {tasks}
    )
    SELECT coalesce(model_version_id, 0), is_correct, actual_time_seconds, correctness_prob, estimated_time_seconds,
           coalesce(time_low_seconds, 'NaN'), coalesce(time_high_seconds, 'NaN'), task, false, day
    FROM done
    UNION ALL
    SELECT shadow.model_version_id, is_correct, actual_time_seconds, shadow.correctness_prob,
           shadow.estimated_time_seconds, coalesce(shadow.time_low_seconds, 'NaN'),
           coalesce(shadow.time_high_seconds, 'NaN'), task, true, day
    FROM done JOIN shadow_predictions AS shadow ON shadow.task_id = done.id"""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Predictions and what came of them; each (n,)."""

    version: Ints  # row in model_versions, 0 for the prior
    correct: Bools
    seconds: Floats  # time the student took
    probability: Floats
    estimate: Floats  # seconds
    low: Floats  # 10-90 % of the time; NaN where not known
    high: Floats

    def __len__(self) -> int:
        return len(self.version)

    def take(self, rows: NDArray[np.intp] | Bools) -> Self:
        return type(self)(*(getattr(self, field.name)[rows] for field in fields(self)))


@dataclass(frozen=True, slots=True)
class NewestOutcomes(Outcomes):
    """Those that students saw, newest first."""

    kind: NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class ComparedOutcomes(Outcomes):
    """Those that students saw, and the shadows of others."""

    task: Ints  # a number of its own for each task
    shadow: Bools  # only recorded; the student did not see it
    day: Ints  # of completion, UTC, days since 1970


TYPES = (">i4", "?", *[">f8"] * 5, ">i4", "?", ">i4")  # of ComparedOutcomes


def newest(db: Session, most: int) -> NewestOutcomes:
    """The newest `most` predicted tasks that were completed in the last days."""
    rows = execute(db, NEWEST_COMPLETED, most=most).all()
    table = [*zip(*rows, strict=True)] or [()] * 8
    types = (np.int32, np.bool_, *[np.float64] * 5, np.str_)
    return NewestOutcomes(*(np.array(column, of_type) for column, of_type in zip(table, types, strict=True)))


def compared(db: Session, days: int, most_a_day: int | None = None) -> ComparedOutcomes:
    """Of tasks completed today or on the `days` - 1 days before, UTC: of all of them, or of each day's last."""
    query = SHOWN_AND_SHADOWS.format(tasks=ALL_OF_DAYS if most_a_day is None else SOME_OF_EACH_DAY)
    names = [field.name for field in fields(ComparedOutcomes)]
    types = dict(zip(names, TYPES, strict=True))
    return ComparedOutcomes(**columns(db, query, types, before=days - 1, most=most_a_day))


def kinds_of(db: Session, versions: Iterable[int]) -> dict[int, str]:
    """The kind of each of these versions."""
    found = execute(db, "SELECT id, kind FROM model_versions WHERE id = ANY(:ids)", ids=list(versions))
    return {row.id: row.kind for row in found}


def inputs(db: Session, wide: int, most: int) -> tuple[Floats, NDArray[np.void]]:
    """What the newest predictions were made from, newest first, (n, wide), and whose they were, (n,)."""
    features = np.dtype([("head", ">i4", 5), ("values", [("length", ">i4"), ("value", ">f8")], wide)])
    query = f"SELECT user_id, features {NEWEST_ASKED % (wide, most)}"
    found = columns(db, query, {"user": "V16", "features": features})
    return found["features"]["values"]["value"], found["user"]


def topics_and_items(db: Session, wide: int, most: int) -> tuple[list[str], list[str]]:
    """The topics of the same tasks, and the items of those that name one."""
    rows = execute(db, f"SELECT topic, item_id {NEWEST_ASKED % (wide, most)}").all()
    return [row.topic for row in rows], [row.item_id for row in rows if row.item_id is not None]
