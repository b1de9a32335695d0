"""What each student's answers say to one version of a kind: kept, and caught up when it is needed."""

from app.core.db.statements import Statement

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
