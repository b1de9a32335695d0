"""A student's past in a dozen numbers, read in one round trip whatever its length."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from app.core.statements import Statement

# One statement, one snapshot: the moment the task is created, the past up to it, and who serves.
PAST = Statement("""
    SELECT statement_timestamp() AS at,
        ARRAY(SELECT id FROM model_versions WHERE state = 'serving') AS serving,
        every.n AS n, every.n_correct AS c, every.microseconds AS us,
        topic.n AS topic_n, topic.n_correct AS topic_c, topic.microseconds AS topic_us,
        difficulty.n AS difficulty_n, difficulty.n_correct AS difficulty_c, difficulty.microseconds AS difficulty_us,
        recent.n AS recent_n, recent.c AS recent_c, recent.us AS recent_us
    FROM (
        SELECT count(*) AS n, count(*) FILTER (WHERE is_correct) AS c,
            CAST(sum(round(least(actual_time_seconds, 1e6) * 1e6)) AS bigint) AS us
        FROM (
            SELECT is_correct, actual_time_seconds FROM practice_tasks
            WHERE user_id = :user_id AND completed
            ORDER BY completed_at DESC, id DESC LIMIT 5
        ) AS last_five
    ) AS recent
    LEFT JOIN student_totals AS every
        ON every.user_id = :user_id AND every.scope = 'all' AND every.key = ''
    LEFT JOIN student_totals AS topic
        ON topic.user_id = :user_id AND topic.scope = 'topic' AND topic.key = :topic
    LEFT JOIN student_totals AS difficulty
        ON difficulty.user_id = :user_id AND difficulty.scope = 'difficulty' AND difficulty.key = :difficulty
""")

SCOPES = ("", "topic_", "difficulty_", "recent_")


@dataclass(frozen=True, slots=True)
class Past:
    """What is known when a task is created."""

    at: datetime  # the database's clock
    serving: frozenset[int]  # the versions that should answer
    counts: np.ndarray  # (1, 4): overall, topic, difficulty, last five
    correct: np.ndarray  # (1, 4)
    seconds: np.ndarray  # (1, 4)


def past_of(row: Mapping[str, Any] | None) -> Past:
    if row is None:
        raise LookupError("the history query always gives a row")
    sums = np.array([[[row[scope + sum_] or 0 for scope in SCOPES]] for sum_ in ("n", "c", "us")], dtype=np.float64)
    return Past(row["at"], frozenset(row["serving"]), sums[0], sums[1], sums[2] / 1e6)
