"""Guarding: audit of admin acts, rate limits, erasures, pausing of trainings; keys that run out; runs that are seen."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from alembic import op

revision = "0007"
down_revision = "0006"

NOW = sa.func.now()
MOMENT = sa.DateTime(timezone=True)

# As in 0005, but a key may be revoked from some moment on, so that its successor can be brought out before.
COMPLETE = """
CREATE OR REPLACE FUNCTION complete_tasks(
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
            WHEN key IS NOT NULL THEN EXISTS (SELECT FROM service_keys WHERE key_hash = key AND {in_use})
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
IN_USE = "(revoked_at IS NULL OR revoked_at > now())"
UNREVOKED = "revoked_at IS NULL"


def upgrade() -> None:
    op.execute(COMPLETE.format(in_use=IN_USE))
    audit()
    op.create_table(
        "rate_limits",
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("since", MOMENT, nullable=False, server_default=NOW),
        sa.Column("n", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_rate_limits"),
    )
    op.create_table(
        "erasures",
        sa.Column("id", sa.Integer, autoincrement=True),
        sa.Column("at", MOMENT, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("id", name="pk_erasures"),
    )
    op.add_column("model_versions", sa.Column("erasures", sa.Integer, nullable=False, server_default="0"))
    op.add_column("training_runs", sa.Column("seen_at", MOMENT, nullable=False, server_default=NOW))
    op.add_column("training_runs", sa.Column("backend", sa.Integer))
    op.add_column("training_runs", sa.Column("folders", ARRAY(sa.Text)))
    control()


def audit() -> None:
    op.create_table(
        "audit_log",
        sa.Column("id", sa.BigInteger, autoincrement=True),
        sa.Column("at", MOMENT, nullable=False, server_default=NOW),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("actor_id", sa.Uuid),
        sa.Column("act", sa.Text, nullable=False),
        sa.Column("subject", sa.Text),
        sa.Column("details", JSONB, nullable=False, server_default=sa.text("'{}'")),
        sa.Column("request_id", sa.Text),
        sa.Column("address", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_audit_log"),
    )
    op.create_index("ix_audit_log_at", "audit_log", ["at"])


def control() -> None:
    """One row: whether trainings are paused, and from which run on failures count."""
    op.create_table(
        "training_control",
        sa.Column("id", sa.Integer, nullable=False, server_default="1"),
        sa.Column("paused_at", MOMENT),
        sa.Column("paused_by", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("forgiven_through", sa.Integer, nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("id", name="pk_training_control"),
        sa.CheckConstraint("id = 1", name="one_row"),
    )
    op.execute("INSERT INTO training_control DEFAULT VALUES")


def downgrade() -> None:
    op.execute(COMPLETE.format(in_use=UNREVOKED))
    for column in ("seen_at", "backend", "folders"):
        op.drop_column("training_runs", column)
    op.drop_column("model_versions", "erasures")
    for table in ("training_control", "erasures", "rate_limits", "audit_log"):
        op.drop_table(table)
