"""Completions in one round trip; what an UPDATE costs that corrects nothing; open tasks found at once."""

import sqlalchemy as sa

from alembic import op

revision = "0005"
down_revision = "0004"

# The locks in the order of docs/decisions/0001: the tasks by id, their students' totals by key (the trigger), the
# counter, which comes last so that its lock is held for no longer than the commit takes. One row for each that is
# asked, in order; `asked` holds no id twice. Where nobody is named, a console asks, which may do all.
COMPLETE = """
CREATE FUNCTION complete_tasks(
    asked uuid[], correct boolean[], seconds double precision[], students uuid[], keys bytea[]
) RETURNS TABLE (admitted boolean, since_training integer, task practice_tasks) LANGUAGE plpgsql AS $$
DECLARE
    let_in boolean[];
    done uuid[];
    since integer;
BEGIN
    let_in := ARRAY(
        SELECT CASE
            WHEN student IS NOT NULL THEN EXISTS (SELECT FROM users WHERE id = student)
            WHEN key IS NOT NULL THEN EXISTS (SELECT FROM service_keys WHERE key_hash = key AND revoked_at IS NULL)
            ELSE true END
        FROM unnest(students, keys) WITH ORDINALITY AS caller (student, key, place) ORDER BY place);
    IF cardinality(asked) > 1 THEN
        -- Who is not alone does not wait for long: one by one they wait for nobody else's lock.
        PERFORM set_config('lock_timeout', '100ms', true);
        PERFORM FROM practice_tasks WHERE id = ANY (asked) AND NOT completed ORDER BY id FOR UPDATE;
    END IF;
    -- The row lock makes a result count once: a second one waits here and then finds the task completed.
    -- A task never counts as finished before it was asked, whatever the clock did meanwhile.
    WITH finished AS (
        UPDATE practice_tasks AS open
        SET completed = true, is_correct = result.is_correct, actual_time_seconds = result.seconds,
            completed_at = greatest(now(), open.created_at + interval '1 microsecond')
        FROM unnest(asked, correct, seconds, students, let_in) AS result (id, is_correct, seconds, student, admitted)
        WHERE open.id = result.id AND open.id = ANY (asked) AND NOT open.completed AND result.admitted
            AND (result.student IS NULL OR open.user_id = result.student)
        RETURNING open.id
    )
    SELECT array_agg(id) FROM finished INTO done;
    IF done IS NOT NULL THEN
        -- Ops may have emptied the row or the column, so it is made anew rather than missed.
        INSERT INTO embedding_model_tracker AS tracker (id, n_samples_since_training) VALUES (1, cardinality(done))
        ON CONFLICT (id) DO UPDATE SET
            n_samples_since_training = coalesce(tracker.n_samples_since_training, 0)
                + excluded.n_samples_since_training,
            updated_at = timezone('utc', now())
        RETURNING n_samples_since_training INTO since;
    END IF;
    RETURN QUERY
        SELECT caller.admitted, CASE WHEN stored.id = ANY (done) THEN since END, stored
        FROM unnest(asked, students, let_in) WITH ORDINALITY AS caller (id, student, admitted, place)
        LEFT JOIN practice_tasks AS stored ON stored.id = caller.id AND stored.id = ANY (asked) AND caller.admitted
            AND (caller.student IS NULL OR stored.user_id = caller.student)
        ORDER BY place;
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
    newest = [sa.text("created_at DESC"), sa.text("id DESC")]
    is_open = sa.text("NOT completed")
    op.create_index("ix_practice_tasks_open", "practice_tasks", ["user_id", *newest], postgresql_where=is_open)


def downgrade() -> None:
    op.drop_index("ix_practice_tasks_open", "practice_tasks")
    op.execute("DROP FUNCTION complete_tasks")
    op.execute(SPOILT.format(only_if_any=""))
    op.execute(TOTALS.format(added_only=""))
