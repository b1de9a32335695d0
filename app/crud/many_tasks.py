"""Many tasks at once: what is known before each, in one statement; stored in another."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from pydantic_core import to_json

from app.core.db.statements import QueryFlow, Row, Statement
from app.core.settings import settings
from app.crud import accounts, practice_tasks, spellings
from app.crud.student_totals import PAST_SQL, check_bounds
from app.domain.characters import folded
from app.domain.errors import AppError
from app.domain.tasks import Claim, TaskRequest

# PAST for several tasks, in the order asked, from one snapshot; what a student has is counted once for all their tasks.
PASTS = Statement(f"""
    WITH asked AS MATERIALIZED (
        SELECT given.user_id, given.difficulty, given.place,
            coalesce(topic.name, given.topic) AS topic, topic.name AS topic_name,
            coalesce(item.name, given.item_id) AS item_id, item.name AS item_name
        FROM unnest(CAST(:users AS uuid[]), CAST(:topics AS text[]), CAST(:topics_folded AS text[]),
                    CAST(:difficulties AS text[]), CAST(:items AS text[]), CAST(:items_folded AS text[]))
            WITH ORDINALITY AS given (user_id, topic, topic_folded, difficulty, item_id, item_folded, place)
        LEFT JOIN spellings AS topic ON topic.kind = 'topic' AND topic.folded = topic_folded
        LEFT JOIN spellings AS item ON item.kind = 'item' AND item.folded = item_folded
    ), student AS MATERIALIZED (
        SELECT each.user_id, {accounts.BARRED.replace(":user_id", "each.user_id")} AS barred,
            (SELECT count(*) FROM (SELECT FROM practice_tasks WHERE user_id = each.user_id AND NOT completed
                                   LIMIT :most_open) AS open) AS open_tasks,
            ARRAY(SELECT key FROM student_totals WHERE user_id = each.user_id AND scope = 'topic'
                  UNION SELECT topic FROM practice_tasks WHERE user_id = each.user_id AND NOT completed
                  LIMIT :most_topics) AS topics
        FROM (SELECT DISTINCT user_id FROM asked) AS each
    )
    SELECT {accounts.ADMITTED} AS admitted, barred, open_tasks, cardinality(topics) AS topics,
        asked.topic = ANY (topics) OR numbers[3] > 0 AS topic_is_theirs, topic_name, item_name, past.*
    FROM asked JOIN student USING (user_id) CROSS JOIN LATERAL ({
    PAST_SQL.replace(":topic", "asked.topic")
    .replace(":difficulty", "asked.difficulty")
    .replace(":item_id", "asked.item_id")
    .replace(":user_id", "asked.user_id")
}) AS past
    ORDER BY place""")

# As `practice_tasks.INSERT`: all of them or, where the account is gone or going, none.
INSERT = Statement(f"""
    WITH added AS (
        INSERT INTO practice_tasks ({practice_tasks.STORED})
        SELECT {practice_tasks.STORED.removesuffix("school_id")}{accounts.school_of_row("new.school_id", "new.user_id")}
        FROM json_populate_recordset(CAST(NULL AS practice_tasks), CAST(CAST(:rows AS text) AS json)) AS new
        WHERE CAST(:student AS uuid) IS NULL
            OR EXISTS (SELECT FROM users WHERE id = CAST(:student AS uuid) FOR KEY SHARE SKIP LOCKED)
        ON CONFLICT (id) DO NOTHING RETURNING id)
    SELECT EXISTS (SELECT FROM added) OR EXISTS (SELECT FROM practice_tasks WHERE id = :first) AS stored""")


def pasts(asked: Sequence[TaskRequest], claim: Claim) -> QueryFlow[Sequence[Row]]:
    """What PAST says of each of these tasks, and what is theirs already. Raises NotSignedIn."""
    values = {
        "users": [each.user_id for each in asked],
        "topics": [each.topic for each in asked],
        "topics_folded": [folded(each.topic) for each in asked],
        "difficulties": [each.difficulty for each in asked],
        "items": [each.item_id for each in asked],
        "items_folded": [each.item_id and folded(each.item_id) for each in asked],
        "most_open": settings().max_open_tasks,
        "most_topics": settings().max_topics,
    }
    rows = yield PASTS, values | accounts.values_of(claim)
    if not rows[0]["admitted"]:
        raise accounts.refused(claim)
    return rows


def refusals(asked: Sequence[TaskRequest], rows: Sequence[Row]) -> list[AppError | None]:
    """Why each may not be stored; none where it may. Those before it in the same batch count for a student's bounds."""
    added, new, found = Counter[UUID](), defaultdict[UUID, set[str]](set), list[AppError | None]()
    for each, row in zip(asked, rows, strict=True):
        is_new = not row["topic_is_theirs"] and each.topic not in new[each.user_id]
        have = {
            "open_tasks": row["open_tasks"] + added[each.user_id],
            "other_topics": row["topics"] + len(new[each.user_id]) if is_new else 0,
        }
        try:
            accounts.check_barred(row)
            check_bounds(have)
        except AppError as why:
            found.append(why)
        else:
            found.append(None)
            added[each.user_id] += 1
            new[each.user_id] |= {each.topic} if is_new else set()
    return found


def named(asked: Sequence[TaskRequest], rows: Sequence[Row]) -> list[TaskRequest]:
    """Spell topics and exercises as they are known."""
    return [spellings.of_task(each, row) for each, row in zip(asked, rows, strict=True)]


def add(rows: Sequence[Mapping[str, Any]], claim: Claim) -> QueryFlow[None]:
    """Store `practice_tasks.new_row`s. Raises NotSignedIn where the account was erased a moment ago."""
    as_columns = [
        dict(row)
        | {"lnirt_model_version": row["model_version"], "school_id": row["school"]}
        | {"contributions": practice_tasks.shares_in(row)}
        for row in rows
    ]
    values = {
        "rows": to_json(as_columns).decode(),
        "student": claim.student,
        "key_hash": claim.key_hash,
        "first": rows[0]["id"],
    }
    if not (yield INSERT, values)[0]["stored"]:
        raise accounts.refused(claim)
