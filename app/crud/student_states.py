"""What each student's answers say to one version of a kind: kept, and caught up when it is needed."""

from datetime import datetime
from uuid import UUID

from app.core.db.statements import QueryFlow, Row, Statement

KEPT = Statement("""
    SELECT n, through, state FROM student_states
    WHERE user_id = :user_id AND kind = :kind AND version_id = :version_id""")

# Nothing is kept of a student without finished tasks, so nothing of one who was erased meanwhile.
KEEP = Statement("""
    INSERT INTO student_states (user_id, kind, version_id, n, through, state)
    SELECT user_id, :kind, :version_id, :n, :through, :state FROM student_totals
    WHERE user_id = :user_id AND scope = 'all' AND key = '' FOR KEY SHARE SKIP LOCKED
    ON CONFLICT (user_id, kind) DO UPDATE SET
        version_id = excluded.version_id, n = excluded.n, through = excluded.through, state = excluded.state""")


def kept(user_id: UUID, kind: str, version_id: int) -> QueryFlow[Row | None]:
    """Find the state (`state`) that was kept of a student, after how many tasks (`n`) and at what time (`through`)."""
    rows = yield KEPT, {"user_id": user_id, "kind": kind, "version_id": version_id}
    return rows[0] if rows else None


def keep(user_id: UUID, kind: str, version_id: int, n: int, through: datetime, state: bytes) -> QueryFlow[None]:
    """Keep a state after n tasks, in the place of an earlier one."""
    whose = {"user_id": user_id, "kind": kind, "version_id": version_id}
    yield KEEP, {**whose, "n": n, "through": through, "state": state}
