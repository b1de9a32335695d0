"""What listeners are told of: tasks that are new, finished, corrected or gone, and whether who listens is let in."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from app.crud.accounts import KEY_IN_USE
from app.crud.practice_tasks import COLUMNS
from app.crud.rows import execute
from app.domain.tasks import Task

LATE = "10 seconds"  # that a row may be seen after its own moment: whoever wrote it had not committed
LONGEST_AWAY = "1 hour"  # that is made good
MOST = 200  # tasks of a student at once; the newest
# Each by its index. A task that is in several comes once.
CHANGED = f"""
    SELECT DISTINCT ON (id) {COLUMNS}, school_id
    FROM unnest(CAST(:students AS uuid[])) AS follower (student)
    CROSS JOIN (
        SELECT greatest(coalesce(CAST(:since AS timestamptz), statement_timestamp() - interval '{LATE}'),
                        statement_timestamp() - interval '{LONGEST_AWAY}') AS moment
    ) AS begin
    CROSS JOIN LATERAL (
        (SELECT * FROM practice_tasks WHERE user_id = follower.student AND created_at > begin.moment
         ORDER BY created_at DESC, id DESC LIMIT {MOST})
        UNION ALL
        (SELECT * FROM practice_tasks WHERE user_id = follower.student AND completed AND completed_at > begin.moment
         ORDER BY completed_at DESC, id DESC LIMIT {MOST})
        UNION ALL
        (SELECT * FROM practice_tasks WHERE id IN (
            SELECT task_id FROM (SELECT task_id, at FROM result_corrections WHERE user_id = follower.student
                                 ORDER BY id DESC LIMIT {MOST}) AS corrected
            WHERE corrected.at > begin.moment))
    ) AS changed"""
DISCARDED = f"""
    SELECT task_id AS id, at, user_id, school_id FROM discarded_tasks
    WHERE user_id = ANY (CAST(:students AS uuid[]))
        AND at > greatest(coalesce(CAST(:since AS timestamptz), statement_timestamp() - interval '{LATE}'),
                          statement_timestamp() - interval '{LONGEST_AWAY}')
    ORDER BY at DESC LIMIT {MOST}"""
LET_IN = f"""
    SELECT 'token' AS kind, CAST(token.id AS text) AS secret, CAST(NULL AS uuid) AS student
    FROM api_tokens AS token JOIN users ON users.id = user_id AND disabled_at IS NULL
    WHERE token.id = ANY (CAST(:tokens AS uuid[])) AND expires_at > now()
    UNION ALL SELECT 'browser', encode(token_hash, 'hex'), NULL
    FROM browser_sessions JOIN users ON users.id = user_id AND disabled_at IS NULL
    WHERE token_hash IN (SELECT decode(hash, 'hex') FROM unnest(CAST(:browsers AS text[])) AS hash)
        AND expires_at > now()
    UNION ALL SELECT 'key', hash, student
    FROM unnest(CAST(:keys AS text[]), CAST(:students AS uuid[])) AS given (hash, student)
    JOIN service_keys ON key_hash = decode(hash, 'hex') AND {KEY_IN_USE}
    WHERE NOT EXISTS (SELECT FROM users WHERE id = student) OR EXISTS (
        SELECT FROM allowed_schools AS allowed
        WHERE allowed.school_id = service_keys.school_id AND allowed.user_id = student)"""


class Pass(NamedTuple):
    """What somebody listens by."""

    kind: str  # token, browser or key
    secret: str  # the token's id; the hash of the cookie or the key
    student: UUID | None = None  # whom the key names


def now(db: Session) -> datetime:
    """The database's clock, UTC."""
    found: datetime = execute(db, "SELECT statement_timestamp()").scalar_one()
    return found.astimezone(UTC)


def let_in(db: Session, passes: Sequence[Pass]) -> set[Pass]:
    """Which of these still open anything."""
    by_kind = {kind: [each.secret for each in passes if each.kind == kind] for kind in ("token", "browser", "key")}
    students = [each.student for each in passes if each.kind == "key"]
    secrets = {"tokens": by_kind["token"], "browsers": by_kind["browser"], "keys": by_kind["key"]}
    return {Pass(row.kind, row.secret, row.student) for row in execute(db, LET_IN, students=students, **secrets)}


@dataclass(frozen=True, slots=True)
class Discarded:
    """An open task that is gone."""

    id: UUID
    at: datetime  # UTC
    user_id: UUID


class Changed(NamedTuple):
    """A task that was created, finished, corrected or discarded."""

    task: Task | Discarded
    school: UUID | None  # whose key, which sees nobody else's tasks, brought it


def changed(db: Session, students: Sequence[UUID], since: datetime | None = None) -> list[Changed]:
    """Their tasks that changed since then, or lately; the oldest first."""
    if not students:
        return []
    rows = [dict(row) for row in execute(db, CHANGED, students=list(students), since=since).mappings()]
    found = [Changed(school=row.pop("school_id"), task=Task(**row)) for row in rows]
    for row in execute(db, DISCARDED, students=list(students), since=since):
        found.append(Changed(Discarded(row.id, row.at, row.user_id), row.school_id))
    return sorted(found, key=lambda each: changed_at(each.task))


def changed_at(task: Task | Discarded) -> datetime:
    if isinstance(task, Discarded):
        return task.at
    return task.completed_at or task.created_at
