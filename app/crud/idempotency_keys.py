"""The first answers to requests that carry an Idempotency-Key, for those who send them again.

An answer is stored in the transaction of what it tells, so there is either both or neither. Of several at once the
first to store it has it; the others wait for that, find it taken and undo what they did.
"""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from app.core.db.statements import QueryFlow, Statement
from app.crud.rows import execute

KEPT = "interval '24 hours'"
CLEARED_AT_ONCE = 20  # of those that are older, with each that is stored
FIND = Statement(f"""
    SELECT request, status, answer FROM idempotency_keys
    WHERE caller = :caller AND key = :key AND created_at > now() - {KEPT}""")
KEEP = Statement(f"""
    WITH old AS (
        DELETE FROM idempotency_keys WHERE (caller, key) IN (
            SELECT caller, key FROM idempotency_keys
            WHERE created_at <= now() - {KEPT} AND (caller, key) <> (:caller, :key)
            ORDER BY created_at LIMIT {CLEARED_AT_ONCE} FOR UPDATE SKIP LOCKED))
    INSERT INTO idempotency_keys AS had (caller, key, request, status, answer)
    VALUES (:caller, :key, :request, :status, :answer)
    ON CONFLICT (caller, key) DO UPDATE SET
        request = excluded.request, status = excluded.status, answer = excluded.answer, created_at = now()
        WHERE had.created_at <= now() - {KEPT}
    RETURNING key""")
ERASE = "DELETE FROM idempotency_keys WHERE caller = :student OR position(:student IN answer) > 0"


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """A request that may come again."""

    caller: str
    key: str
    request: bytes  # keyed hash of its path and body


@dataclass(frozen=True, slots=True)
class FirstAnswer:
    """What was answered to it."""

    request: bytes
    status: int
    answer: str


def find(asked: KeyedRequest) -> QueryFlow[FirstAnswer | None]:
    """The answer to the first request of this caller with this key, if there was one."""
    rows = yield FIND, {"caller": asked.caller, "key": asked.key}
    return FirstAnswer(**rows[0]) if rows else None


def keep(asked: KeyedRequest, status: int, answer: str) -> QueryFlow[bool]:
    """Store the answer; False where another request with this key was first."""
    given = {"caller": asked.caller, "key": asked.key, "request": asked.request}
    rows = yield KEEP, given | {"status": status, "answer": answer}
    return bool(rows)


def erase(db: Session, student: UUID) -> None:
    """Remove what was answered to the student, or tells of them."""
    execute(db, ERASE, student=str(student))
