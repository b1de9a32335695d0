"""What each student's answers say to one version of a kind: kept, and caught up when it is needed."""

from datetime import datetime
from uuid import UUID

from app.core.db.statements import QueryFlow, Row, Statement

KEPT = Statement("""
    SELECT n, through, state FROM student_states
    WHERE user_id = :user_id AND kind = :kind AND version_id = :version_id AND changed_at = :changed_at""")

# Nothing is kept of a student without finished tasks, so nothing of one who was erased meanwhile; nor of results that
# have been corrected since they were read.
KEEP = Statement("""
    INSERT INTO student_states (user_id, kind, version_id, n, through, state, changed_at)
    SELECT user_id, :kind, :version_id, :n, :through, :state, changed_at FROM student_totals
    WHERE user_id = :user_id AND scope = 'all' AND key = '' AND changed_at = :changed_at FOR KEY SHARE SKIP LOCKED
    ON CONFLICT (user_id, kind) DO UPDATE SET
        version_id = excluded.version_id, n = excluded.n, through = excluded.through, state = excluded.state,
        changed_at = excluded.changed_at""")


def kept(user_id: UUID, kind: str, version_id: int, changed_at: datetime | None) -> QueryFlow[Row | None]:
    """Find the state (`state`) that was kept of a student, after how many tasks (`n`) and at what time (`through`),
    if no result was corrected since: `changed_at` as in StudentHistory."""
    whose = {"user_id": user_id, "kind": kind, "version_id": version_id, "changed_at": changed_at}
    rows = yield KEPT, whose
    return rows[0] if rows else None


def keep(
    user_id: UUID, kind: str, version_id: int, changed_at: datetime | None, n: int, through: datetime, state: bytes
) -> QueryFlow[None]:
    """Keep a state after n tasks, in the place of an earlier one."""
    whose = {"user_id": user_id, "kind": kind, "version_id": version_id, "changed_at": changed_at}
    yield KEEP, {**whose, "n": n, "through": through, "state": state}
