"""A completion in one round trip; what an UPDATE costs that corrects nothing."""

from alembic import op

revision = "0005"
down_revision = "0004"

# The locks in the order of docs/decisions/0001: the task, its student's totals (by the trigger), the counter, which
# comes last so that its lock is held for no longer than the commit takes.
COMPLETE = """
CREATE FUNCTION complete_task(
    asked uuid, correct boolean, seconds double precision, student uuid, key bytea,
    OUT admitted boolean, OUT since_training integer, OUT task practice_tasks
) LANGUAGE plpgsql AS $$
BEGIN
    admitted := CASE
        WHEN student IS NOT NULL THEN EXISTS (SELECT FROM users WHERE id = student)
        WHEN key IS NOT NULL THEN EXISTS (SELECT FROM service_keys WHERE key_hash = key AND revoked_at IS NULL)
        ELSE true END;
    IF NOT admitted THEN
        RETURN;
    END IF;
    -- The row lock makes a result count once: a second one waits here and then finds the task completed.
    -- A task never counts as finished before it was asked, whatever the clock did meanwhile.
    UPDATE practice_tasks
    SET completed = true, is_correct = correct, actual_time_seconds = seconds,
        completed_at = greatest(now(), created_at + interval '1 microsecond')
    WHERE id = asked AND NOT completed AND (student IS NULL OR user_id = student)
    RETURNING * INTO task;
    IF NOT FOUND THEN
        SELECT * FROM practice_tasks WHERE id = asked AND (student IS NULL OR user_id = student) INTO task;
        RETURN;
    END IF;
    -- Ops may have emptied the row or the column, so it is made anew rather than missed.
    INSERT INTO embedding_model_tracker AS tracker (id, n_samples_since_training) VALUES (1, 1)
    ON CONFLICT (id) DO UPDATE SET
        n_samples_since_training = coalesce(tracker.n_samples_since_training, 0) + 1,
        updated_at = timezone('utc', now())
    RETURNING n_samples_since_training INTO since_training;
END $$;
"""

# As in 0003, but a completion, which takes nothing away, is only added.
TOTALS = """
CREATE OR REPLACE FUNCTION student_totals_on_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    {added_only}
    INSERT INTO student_totals AS total (user_id, scope, key, n, n_correct, microseconds)
    SELECT user_id, scope, key, sum(sign), sum(sign * is_correct::int), sum(sign * micros)
    FROM (SELECT 1 AS sign, * FROM new_rows UNION ALL SELECT -1 AS sign, * FROM old_rows) AS changed
    CROSS JOIN LATERAL (SELECT round(least(actual_time_seconds, 1e6) * 1e6)::bigint AS micros) AS exact
    CROSS JOIN LATERAL (VALUES ('all', ''), ('topic', topic), ('difficulty', difficulty), ('item', item_id))
        AS scopes (scope, key)
    WHERE completed AND key IS NOT NULL
    GROUP BY user_id, scope, key
    HAVING sum(sign) <> 0 OR sum(sign * is_correct::int) <> 0 OR sum(sign * micros) <> 0
    ORDER BY user_id, scope, key
    ON CONFLICT (user_id, scope, key) DO UPDATE SET
        n = total.n + excluded.n,
        n_correct = total.n_correct + excluded.n_correct,
        microseconds = total.microseconds + excluded.microseconds;
    DELETE FROM student_totals WHERE n = 0 AND user_id IN (SELECT user_id FROM old_rows WHERE completed);
    RETURN NULL;
END $$;
"""
ADDED_ONLY = """
    IF NOT EXISTS (SELECT FROM old_rows WHERE completed) THEN
        INSERT INTO student_totals AS total (user_id, scope, key, n, n_correct, microseconds)
        SELECT user_id, scope, key, count(*), count(*) FILTER (WHERE is_correct), sum(micros)
        FROM new_rows
        CROSS JOIN LATERAL (SELECT round(least(actual_time_seconds, 1e6) * 1e6)::bigint AS micros) AS exact
        CROSS JOIN LATERAL (VALUES ('all', ''), ('topic', topic), ('difficulty', difficulty), ('item', item_id))
            AS scopes (scope, key)
        WHERE completed AND key IS NOT NULL
        GROUP BY user_id, scope, key
        ORDER BY user_id, scope, key
        ON CONFLICT (user_id, scope, key) DO UPDATE SET
            n = total.n + excluded.n,
            n_correct = total.n_correct + excluded.n_correct,
            microseconds = total.microseconds + excluded.microseconds;
        RETURN NULL;
    END IF;
"""
SPOILT = """
CREATE OR REPLACE FUNCTION student_posteriors_spoilt() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    {only_if_any}
    DELETE FROM student_states WHERE user_id IN (SELECT user_id FROM old_rows WHERE completed);
    RETURN NULL;
END $$;
"""
ONLY_IF_ANY = """
    IF NOT EXISTS (SELECT FROM old_rows WHERE completed) THEN
        RETURN NULL;
    END IF;
"""


def upgrade() -> None:
    op.execute(TOTALS.format(added_only=ADDED_ONLY))
    op.execute(SPOILT.format(only_if_any=ONLY_IF_ANY))
    op.execute(COMPLETE)


def downgrade() -> None:
    op.execute("DROP FUNCTION complete_task")
    op.execute(SPOILT.format(only_if_any=""))
    op.execute(TOTALS.format(added_only=""))
