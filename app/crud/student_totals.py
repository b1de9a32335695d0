"""A student's past in a dozen numbers, read in one round trip whatever its length."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from app.core.statements import Statement

# One statement, one snapshot: the moment the task is created, the past up to it, and who serves. What is newest is
# found by an index, so the length of the past doesn't matter.
PAST = Statement("""
    SELECT statement_timestamp() AS at,
        ARRAY(SELECT id FROM model_versions WHERE state = 'serving' ORDER BY place, id) AS serving,
        every.n AS n, every.n_correct AS c, every.microseconds AS us,
        topic.n AS topic_n, topic.n_correct AS topic_c, topic.microseconds AS topic_us,
        difficulty.n AS difficulty_n, difficulty.n_correct AS difficulty_c, difficulty.microseconds AS difficulty_us,
        recent.n AS recent_n, recent.c AS recent_c, recent.us AS recent_us,
        item.n AS item_n, item.n_correct AS item_c, item.microseconds AS item_us,
        session.n AS session_n,
        last.is_correct AS last_c, last.actual_time_seconds AS last_seconds, last.completed_at AS last_at,
        topic_last.is_correct AS topic_last_c, topic_last.actual_time_seconds AS topic_last_seconds,
        topic_last.completed_at AS topic_last_at,
        item_last.is_correct AS item_last_c, item_last.actual_time_seconds AS item_last_seconds,
        item_last.completed_at AS item_last_at
    FROM (
        SELECT count(*) AS n, count(*) FILTER (WHERE is_correct) AS c,
            CAST(sum(round(least(actual_time_seconds, 1e6) * 1e6)) AS bigint) AS us
        FROM (
            SELECT is_correct, actual_time_seconds FROM practice_tasks
            WHERE user_id = :user_id AND completed
            ORDER BY completed_at DESC, id DESC LIMIT 5
        ) AS last_five
    ) AS recent
    CROSS JOIN (
        SELECT count(*) AS n FROM (
            SELECT 1 FROM practice_tasks
            WHERE user_id = :user_id AND completed AND completed_at > statement_timestamp() - interval '30 minutes'
            LIMIT 50
        ) AS half_an_hour
    ) AS session
    LEFT JOIN LATERAL (
        SELECT is_correct, actual_time_seconds, completed_at FROM practice_tasks
        WHERE user_id = :user_id AND completed
        ORDER BY completed_at DESC, id DESC LIMIT 1
    ) AS last ON true
    LEFT JOIN LATERAL (
        SELECT is_correct, actual_time_seconds, completed_at FROM practice_tasks
        WHERE user_id = :user_id AND completed AND topic = :topic
        ORDER BY completed_at DESC, id DESC LIMIT 1
    ) AS topic_last ON true
    LEFT JOIN LATERAL (
        SELECT is_correct, actual_time_seconds, completed_at FROM practice_tasks
        WHERE user_id = :user_id AND completed AND item_id = :item_id
        ORDER BY completed_at DESC, id DESC LIMIT 1
    ) AS item_last ON true
    LEFT JOIN student_totals AS every
        ON every.user_id = :user_id AND every.scope = 'all' AND every.key = ''
    LEFT JOIN student_totals AS topic
        ON topic.user_id = :user_id AND topic.scope = 'topic' AND topic.key = :topic
    LEFT JOIN student_totals AS difficulty
        ON difficulty.user_id = :user_id AND difficulty.scope = 'difficulty' AND difficulty.key = :difficulty
    LEFT JOIN student_totals AS item
        ON item.user_id = :user_id AND item.scope = 'item' AND item.key = :item_id
""")

SCOPES = ("", "topic_", "difficulty_", "recent_")


@dataclass(frozen=True, slots=True)
class Finished:
    """One finished task of the past."""

    at: datetime
    is_correct: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class Past:
    """What is known when a task is created."""

    at: datetime  # the database's clock
    serving: tuple[int, ...]  # the versions that should answer, best first
    counts: np.ndarray  # (1, 4): overall, topic, difficulty, last five
    correct: np.ndarray  # (1, 4)
    seconds: np.ndarray  # (1, 4)
    item: np.ndarray  # (3,) on the very item: tasks, right ones, seconds
    session_tasks: int  # finished in the half hour before, at most 50
    last: Finished | None
    topic_last: Finished | None
    item_last: Finished | None


def past_of(row: Mapping[str, Any] | None) -> Past:
    if row is None:
        raise LookupError("the history query always gives a row")
    sums = np.array([[[row[scope + sum_] or 0 for scope in SCOPES]] for sum_ in ("n", "c", "us")], dtype=np.float64)
    item = np.array([row["item_n"] or 0, row["item_c"] or 0, (row["item_us"] or 0) / 1e6])
    return Past(
        row["at"],
        tuple(row["serving"]),
        *(sums[0], sums[1], sums[2] / 1e6, item),
        row["session_n"],
        *(_finished(row, which) for which in ("last", "topic_last", "item_last")),
    )


def _finished(row: Mapping[str, Any], which: str) -> Finished | None:
    at = row[f"{which}_at"]
    return None if at is None else Finished(at, row[f"{which}_c"], row[f"{which}_seconds"])
