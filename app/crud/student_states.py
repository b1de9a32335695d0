"""What each student's answers say to one version of a kind: kept, and caught up when it is needed."""

from app.core.statements import Statement

KEPT = Statement("""
    SELECT n, through, state FROM student_states
    WHERE user_id = :user_id AND kind = :kind AND version_id = :version_id""")

# Sums are all that LNIRT needs of answers to one item. A time beyond :least and :most counts as these.
ANSWERS = Statement("""
    SELECT item_id, topic, difficulty, count(*) AS n, count(*) FILTER (WHERE is_correct) AS n_correct,
           sum(ln(least(greatest(actual_time_seconds, :least), :most))) AS log_seconds
    FROM practice_tasks
    WHERE user_id = :user_id AND completed AND completed_at > :after AND completed_at <= :through
    GROUP BY item_id, topic, difficulty""")

# Nothing is kept of a student without finished tasks, so nothing of one who was erased meanwhile.
KEEP = Statement("""
    INSERT INTO student_states (user_id, kind, version_id, n, through, state)
    SELECT user_id, :kind, :version_id, :n, :through, :state FROM student_totals
    WHERE user_id = :user_id AND scope = 'all' AND key = '' FOR KEY SHARE SKIP LOCKED
    ON CONFLICT (user_id, kind) DO UPDATE SET
        version_id = excluded.version_id, n = excluded.n, through = excluded.through, state = excluded.state""")
