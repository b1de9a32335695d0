"""What a student has practised, topic by topic, and what is known before tasks that are only thought of.

Everything is found by an index and has a bound, so that a hundred thousand tasks cost no more than a hundred.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any
from uuid import UUID

from app.core.db.statements import QueryFlow, Row, Statement
from app.core.settings import settings
from app.crud.student_totals import PAST_SQL, StudentHistory, past_of, until_last
from app.domain.days import starts_around
from app.domain.planning import PractisedTask
from app.domain.tasks import TaskRequest

NEWEST = 50  # tasks, where topics practised lately are looked for; of more, PostgreSQL without statistics sorts all
A_DAY = 2_000  # tasks of today, at the most
RECENT, AMONG = 10, 1_000  # tasks of each topic, among so many of the student's from the last on it backwards
TOTALS, MOST = 2_000, 20  # totals that are looked at for the topics with the most tasks, and how many of these
LONGEST_SECONDS = 3_600  # a task done today counts as at the most
LATELY = 5_000  # finished tasks of everybody, for those who have none
SEVERAL = 3  # students: a topic is free text, and what only one or two have typed may tell of them
POPULAR = 10  # topics
ESTABLISHED_AFTER, ESTABLISHED_TASKS = "7 days", 20  # of an account; finished by it, on three days or more (UTC)

# A row for each topic that is wanted, or of the student's own; at least one row, of no topic.
PRACTISED = Statement(f"""
    WITH newest AS MATERIALIZED (
        SELECT topic, difficulty, is_correct, completed_at
        FROM practice_tasks WHERE user_id = :user_id AND completed AND {until_last(":user_id")}
        ORDER BY completed_at DESC, id DESC LIMIT {NEWEST}
    ), today AS (
        SELECT topic, count(*) AS n, sum(least(actual_time_seconds, {LONGEST_SECONDS})) AS seconds
        FROM (SELECT topic, actual_time_seconds FROM practice_tasks
              WHERE user_id = :user_id AND completed AND completed_at <= statement_timestamp()
                  AND completed_at >= (SELECT max(began) FROM unnest(CAST(:starts AS timestamptz[])) AS began
                                       WHERE began <= statement_timestamp())
              LIMIT {A_DAY}) AS done
        GROUP BY topic
    ), wanted AS (
        SELECT unnest(CAST(:topics AS text[])) AS topic
        UNION SELECT topic FROM newest WHERE CAST(:and_own AS boolean)
        UNION (SELECT key FROM (SELECT key, n FROM student_totals
                                WHERE user_id = :user_id AND scope = 'topic' LIMIT {TOTALS}) AS a_few
               WHERE CAST(:and_own AS boolean) ORDER BY n DESC, key LIMIT {MOST})
    )
    SELECT statement_timestamp() AS now, last.*, effect.*, wanted.topic AS topic,
        coalesce(total.n, 0) AS n, coalesce(total.n_correct, 0) AS n_correct,
        coalesce(today.n, 0) AS tasks_today, coalesce(today.seconds, 0)::float8 AS seconds_today,
        recent.difficulties, recent.results, recent.moments
    FROM (SELECT 1) AS always
    LEFT JOIN (SELECT topic AS last_topic, difficulty AS last_difficulty, is_correct AS last_is_correct,
                      completed_at AS last_at FROM newest LIMIT 1) AS last ON true
    LEFT JOIN (SELECT (report->'practice_effect'->>'gain')::float8 AS gain,
                      (report->'practice_effect'->>'standard_error')::float8 AS gain_error,
                      (report->'practice_effect'->>'tasks')::int AS gain_tasks
               FROM (SELECT id, report, erasures FROM model_versions ORDER BY id DESC LIMIT 20) AS latest
               WHERE report->'practice_effect'->>'gain' IS NOT NULL
                   AND erasures >= (SELECT coalesce(max(id), 0) FROM erasures)
               ORDER BY id DESC LIMIT 1) AS effect ON true
    LEFT JOIN wanted ON true
    LEFT JOIN student_totals AS total
        ON total.user_id = :user_id AND total.scope = 'topic' AND total.key = wanted.topic
    LEFT JOIN today ON today.topic = wanted.topic
    LEFT JOIN LATERAL (
        SELECT array_agg(difficulty) AS difficulties, array_agg(is_correct) AS results,
               array_agg(completed_at) AS moments
        FROM newest_on_topic(:user_id, wanted.topic, total.last_at, least(total.n, {RECENT}), {AMONG})
    ) AS recent ON true
    ORDER BY wanted.topic""")

# PAST for several tasks of one student that are only thought of, in the order asked.
HISTORIES = Statement(f"""
    SELECT past.*
    FROM unnest(CAST(:topics AS text[]), CAST(:difficulties AS text[]))
        WITH ORDINALITY AS asked (topic, difficulty, place)
    CROSS JOIN LATERAL ({
    PAST_SQL.replace(":topic", "asked.topic").replace(":difficulty", "asked.difficulty").replace(":item_id", "NULL")
}) AS past
    ORDER BY asked.place""")

# What strangers write must not lead anybody's page: an admin or a service key (whose students have no account) vouches
# for a topic, or enough established students do. Three days: the first, the last, and something between them. Students
# who were made up count for nothing.
POPULAR_TOPICS = Statement(f"""
    WITH lately AS MATERIALIZED (
        SELECT DISTINCT topic, user_id
        FROM (SELECT topic, user_id FROM practice_tasks
              WHERE completed AND (school_id IS NULL OR school_id = CAST(:school AS uuid))
                  AND user_id NOT IN (SELECT user_id FROM demonstration_students)
              ORDER BY completed_at DESC LIMIT {LATELY}) AS newest
        WHERE user_id <> :user_id
    ), known AS MATERIALIZED (
        SELECT student.user_id, account.id IS NULL AS by_key,
            account.id IS NULL OR (
                account.created_at < statement_timestamp() - interval '{ESTABLISHED_AFTER}'
                AND total.n >= {ESTABLISHED_TASKS}
                AND EXISTS (
                    SELECT FROM practice_tasks AS between_them
                    WHERE between_them.user_id = student.user_id AND completed
                        AND completed_at >= interval '1 day' + date_trunc('day', (
                            SELECT completed_at FROM practice_tasks WHERE user_id = student.user_id AND completed
                            ORDER BY completed_at LIMIT 1), 'UTC')
                        AND completed_at < date_trunc('day', (
                            SELECT completed_at FROM practice_tasks WHERE user_id = student.user_id AND completed
                            ORDER BY completed_at DESC LIMIT 1), 'UTC'))) AS is_established
        FROM (SELECT DISTINCT user_id FROM lately) AS student
        LEFT JOIN users AS account ON account.id = student.user_id
        LEFT JOIN student_totals AS total ON total.user_id = student.user_id AND total.scope = 'all'
    )
    SELECT topic, count(*) AS students
    FROM lately JOIN known USING (user_id) LEFT JOIN topics ON topics.name = topic
    WHERE state IS DISTINCT FROM 'hidden'
    GROUP BY topic, state
    HAVING state = 'approved' OR (bool_or(by_key) AND count(*) >= {SEVERAL})
        OR count(*) FILTER (WHERE is_established) >= nullif(CAST(:enough AS int), 0)
    ORDER BY students DESC, topic LIMIT {POPULAR}""")


@dataclass(frozen=True, slots=True)
class TopicHistory:
    """A topic, and what the student has done of it."""

    topic: str
    n: int = 0
    n_correct: int = 0
    recent: tuple[PractisedTask, ...] = ()  # newest first
    tasks_today: int = 0  # where the student is
    seconds_today: float = 0.0


@dataclass(frozen=True, slots=True)
class PracticeHistory:
    """What a student has practised."""

    now: datetime  # the database's clock, UTC
    topics: tuple[TopicHistory, ...]
    last_topic: str | None  # of the task finished last
    last: PractisedTask | None
    effect: dict[str, Any] | None  # how much practice helps, as the last training found it


def practice_history(
    student: UUID, topics: Sequence[str], zone: tzinfo, *, and_own: bool
) -> QueryFlow[PracticeHistory]:
    """Of these topics and, where asked for, of the student's own: those of their newest tasks, and the largest."""
    starts = starts_around(zone, datetime.now(UTC))
    rows = yield PRACTISED, {"user_id": student, "topics": list(topics), "and_own": and_own, "starts": starts}
    first = rows[0]
    last = None
    if first["last_at"] is not None:
        last = PractisedTask(first["last_difficulty"], first["last_is_correct"], first["last_at"].astimezone(UTC))
    effect = None
    if first["gain"] is not None:
        effect = {"gain": first["gain"], "standard_error": first["gain_error"], "tasks": first["gain_tasks"]}
    found = tuple(_topic_history(row) for row in rows if row["topic"] is not None)
    return PracticeHistory(first["now"].astimezone(UTC), found, first["last_topic"], last, effect)


def _topic_history(row: Row) -> TopicHistory:
    columns = [row[name] or () for name in ("difficulties", "results", "moments")]
    recent = (PractisedTask(level, result, at.astimezone(UTC)) for level, result, at in zip(*columns, strict=True))
    counts = {name: row[name] for name in ("topic", "n", "n_correct", "tasks_today", "seconds_today")}
    return TopicHistory(**counts, recent=tuple(recent))


def histories(student: UUID, asked: Sequence[TaskRequest]) -> QueryFlow[list[StudentHistory]]:
    """What is known before each of these tasks of the student, were it created now."""
    topics, difficulties = [each.topic for each in asked], [each.difficulty for each in asked]
    rows = yield HISTORIES, {"user_id": student, "topics": topics, "difficulties": difficulties}
    return [past_of(row) for row in rows]


def popular_topics(student: UUID, school: UUID | None = None) -> QueryFlow[dict[str, int]]:
    """Topics that may be suggested, which others have practised lately, and how many did; most first.

    What a school keeps to itself counts for this school only.
    """
    rows = yield POPULAR_TOPICS, {"user_id": student, "school": school, "enough": settings().established_students}
    return {row["topic"]: row["students"] for row in rows}
