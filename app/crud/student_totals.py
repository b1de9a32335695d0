"""A student's past in a dozen numbers, read in one round trip whatever its length."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import Any

import numpy as np

from app.core.db.statements import BatchedStatement
from app.core.settings import settings
from app.crud import accounts, practice_tasks, spellings
from app.domain.characters import folded
from app.domain.errors import TooManyOpenTasks, TooManyTopics
from app.domain.tasks import Claim, TaskRequest

# In the order of the numbers: what a student has finished, and what they finished last.
HISTORY_GROUPS = ("overall", "topic", "difficulty", "recent", "item", "last", "topic_last", "item_last")
LAST = HISTORY_GROUPS.index("last")
Sums = tuple[int, int, int, datetime | None]


def until_last(student: str) -> str:
    """The condition, in SQL, that a task was finished no later than the student's last one.

    PostgreSQL reads everybody's tasks, the newest first, where a student has done a large part of all; those that
    others finished since would all be read.
    """
    return f"""completed_at <= (SELECT last_at FROM student_totals
                                WHERE user_id = {student} AND scope = 'all' AND key = '')"""


def _numbers() -> str:
    """The past as one array: the session, then tasks, right ones and seconds of each group, then seconds since."""
    sums, lasts = HISTORY_GROUPS[:5], ("overall", "topic", "item")
    groups = [
        *(f"coalesce({group}.n, 0)" for group in sums),
        *(f"({last}.last_at IS NOT NULL)::int" for last in lasts),
        *(f"coalesce({group}.n_correct, 0)" for group in sums),
        *(f"coalesce({last}.last_correct::int, 0)" for last in lasts),
        *(f"coalesce({group}.microseconds, 0)::float8 / 1e6" for group in sums),
        *(f"least(coalesce({last}.last_seconds, 0), 1e6)" for last in lasts),
    ]
    since = [f"coalesce(extract(epoch FROM statement_timestamp() - {last}.last_at), 0)" for last in lasts]
    return f"CAST(ARRAY[session.n, {', '.join([*groups, *since])}] AS float8[])"


# One statement, one snapshot: whether the caller is let in, how near the student is to their bounds, what topic and
# exercise are called, the moment the task is created, the past up to it, and who serves. What is newest is found by an
# index, so the length of the past doesn't matter; nothing is counted beyond its bound, and topics one by one only where
# there may be too many.
ASKING = f"""{accounts.ADMITTED} AS admitted, {accounts.BARRED} AS barred,
        (SELECT count(*) FROM (SELECT FROM practice_tasks WHERE user_id = :user_id AND NOT completed
                               LIMIT :most_open) AS open) AS open_tasks,
        CASE WHEN topic.n IS NULL AND :most_topics <= (
            (SELECT count(*) FROM (SELECT FROM student_totals WHERE user_id = :user_id AND scope = 'topic'
                                   LIMIT :most_topics) AS finished)
            + (SELECT count(*) FROM (SELECT FROM practice_tasks WHERE user_id = :user_id AND NOT completed
                                     LIMIT :most_topics) AS open)
        ) THEN (
            SELECT CASE WHEN bool_or(key = :topic) THEN 0 ELSE count(*) END FROM (
                (SELECT key FROM student_totals WHERE user_id = :user_id AND scope = 'topic' LIMIT :most_topics)
                UNION
                (SELECT topic FROM practice_tasks WHERE user_id = :user_id AND NOT completed LIMIT :most_topics)
            ) AS known) ELSE 0 END AS other_topics,{spellings.OF_TASK}"""
PAST_SQL = f"""
    SELECT statement_timestamp() AS at,
        ARRAY(SELECT ARRAY[id, round(1000 * chance_share)::int, round(1000 * time_share)::int]
              FROM model_versions WHERE state = 'serving' ORDER BY place, id) AS serving,
        {_numbers()} AS numbers, overall.changed_at,
        last.topic, last.difficulty, last.item_id, last.is_correct, last.actual_time_seconds, last.completed_at,
        coalesce((SELECT n FROM student_totals
                  WHERE user_id = :user_id AND scope = 'topic' AND key = last.topic), 0)::int AS on_topic,
        coalesce((SELECT n FROM student_totals
                  WHERE user_id = :user_id AND scope = 'item' AND key = last.item_id), 0)::int AS on_item
    FROM (SELECT) AS always
    LEFT JOIN student_totals AS overall
        ON overall.user_id = :user_id AND overall.scope = 'all' AND overall.key = ''
    CROSS JOIN LATERAL (
        SELECT count(*) AS n, count(*) FILTER (WHERE is_correct) AS n_correct,
            sum(round(least(actual_time_seconds, 1e6) * 1e6)) AS microseconds
        FROM (
            SELECT is_correct, actual_time_seconds FROM practice_tasks
            WHERE user_id = :user_id AND completed AND completed_at <= overall.last_at
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
        SELECT topic, difficulty, item_id, is_correct, actual_time_seconds, completed_at FROM practice_tasks
        WHERE id = overall.last_id
    ) AS last ON true
    LEFT JOIN student_totals AS topic
        ON topic.user_id = :user_id AND topic.scope = 'topic' AND topic.key = :topic
    LEFT JOIN student_totals AS difficulty
        ON difficulty.user_id = :user_id AND difficulty.scope = 'difficulty' AND difficulty.key = :difficulty
    LEFT JOIN student_totals AS item
        ON item.user_id = :user_id AND item.scope = 'item' AND item.key = :item_id
"""
PAST = BatchedStatement(PAST_SQL.replace("SELECT", f"SELECT {ASKING},", 1))


@dataclass(frozen=True, slots=True, eq=False)
class StudentHistory:
    """What is known when a task is created."""

    at: datetime  # the database's clock
    serving: tuple[int, ...]  # the versions that should answer, best first, each with its shares in thousandths
    groups: (
        np.ndarray
    )  # (3, 1, 8): tasks, right ones and their seconds, each of HISTORY_GROUPS; what was finished last is one
    session_tasks: np.ndarray  # (1,) finished in the half hour before, at most 50
    since: np.ndarray  # (1, 3) seconds since the last finish, the last on the topic, on the very item; 0 without one
    last: Mapping[str, Any] | None = None  # the task finished last, as in student_sequences
    changed_at: datetime | None = None  # when a result of theirs was last changed or taken back, or else the first came
    memory: dict[tuple[str, int], Any] = field(
        default_factory=dict
    )  # what a model worked out from it and another one needs

    @property
    def n(self) -> int:
        """How many tasks the student has finished."""
        return int(self.groups[0, 0, 0])

    @property
    def sums(self) -> Sums:
        """Tasks finished, right ones and their microseconds, and when one was last corrected."""
        n, right, seconds = self.groups[:, 0, 0].tolist()
        return int(n), int(right), round(seconds * 1e6), self.changed_at

    @property
    def sums_before(self) -> Sums:
        """The same before the task finished last."""
        (n, right, micros, at), (_, was_right, seconds) = self.sums, self.groups[:, 0, LAST].tolist()
        return n - 1, right - int(was_right), micros - round(seconds * 1e6), at if n > 1 else None


def question(asked: TaskRequest, claim: Claim | None) -> dict[str, object]:
    """The values of PAST."""
    bounds = {"most_open": settings().max_open_tasks, "most_topics": settings().max_topics}
    keys = {"topic_folded": folded(asked.topic), "item_folded": asked.item_id and folded(asked.item_id)}
    return practice_tasks.values_of(asked) | keys | accounts.values_of(claim) | bounds


def check_bounds(row: Mapping[str, Any]) -> None:
    """Raises TooManyOpenTasks or TooManyTopics where the student asks for more than they may have."""
    most_open, most_topics = settings().max_open_tasks, settings().max_topics
    if most_open and row["open_tasks"] >= most_open:
        raise TooManyOpenTasks(
            f"{most_open:,} open tasks are as many as a student may have: finish one first, with PATCH "
            "/practice-tasks/{id}."
        )
    if most_topics and row["other_topics"] >= most_topics:
        raise TooManyTopics(f"{most_topics:,} topics are as many as a student may have: choose one of these.")


def past_of(row: Mapping[str, Any]) -> StudentHistory:
    numbers = np.array(row["numbers"])
    groups = numbers[1:25].reshape(3, 1, len(HISTORY_GROUPS))
    last = row if row["completed_at"] else None
    serving, since = tuple(chain.from_iterable(row["serving"])), numbers[25:].reshape(1, 3)
    return StudentHistory(row["at"], serving, groups, numbers[:1], since, last, row["changed_at"])
