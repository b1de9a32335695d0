"""Who serves: scores and order of versions, changes with their reasons, shadows, admins; totals per item."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from alembic import op

revision = "0003"
down_revision = "0002"

NOW = sa.func.now()
MOMENT = sa.DateTime(timezone=True)

# As in 0001, with one more scope: the very item, where the task names one.
TOTALS = """
CREATE OR REPLACE FUNCTION student_totals_on_{event}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO student_totals AS total (user_id, scope, key, n, n_correct, microseconds)
    SELECT user_id, scope, key, sum(sign), sum(sign * is_correct::int), sum(sign * micros)
    FROM ({rows}) AS changed
    CROSS JOIN LATERAL (SELECT round(least(actual_time_seconds, 1e6) * 1e6)::bigint AS micros) AS exact
    CROSS JOIN LATERAL (VALUES {scopes}) AS scopes (scope, key)
    WHERE completed AND key IS NOT NULL
    GROUP BY user_id, scope, key
    HAVING sum(sign) <> 0 OR sum(sign * is_correct::int) <> 0 OR sum(sign * micros) <> 0
    ORDER BY user_id, scope, key
    ON CONFLICT (user_id, scope, key) DO UPDATE SET
        n = total.n + excluded.n,
        n_correct = total.n_correct + excluded.n_correct,
        microseconds = total.microseconds + excluded.microseconds;
    {clean}
    RETURN NULL;
END $$;
"""
CLEAN = "DELETE FROM student_totals WHERE n = 0 AND user_id IN (SELECT user_id FROM old_rows WHERE completed);"
ADDED = "SELECT 1 AS sign, * FROM new_rows"
TAKEN = "SELECT -1 AS sign, * FROM old_rows"
EVENTS = {"insert": (ADDED, ""), "update": (f"{ADDED} UNION ALL {TAKEN}", CLEAN), "delete": (TAKEN, CLEAN)}
SCOPES = "('all', ''), ('topic', topic), ('difficulty', difficulty)"
WITH_ITEM = f"{SCOPES}, ('item', item_id)"
ITEM_TOTALS = """
INSERT INTO student_totals (user_id, scope, key, n, n_correct, microseconds)
SELECT user_id, 'item', item_id, count(*), count(*) FILTER (WHERE is_correct),
       sum(round(least(actual_time_seconds, 1e6) * 1e6))
FROM practice_tasks WHERE completed AND item_id IS NOT NULL GROUP BY user_id, item_id
"""
SPOILT = """
CREATE OR REPLACE FUNCTION student_posteriors_spoilt() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM {table} WHERE user_id IN (SELECT user_id FROM old_rows WHERE completed);
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION student_posteriors_emptied() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE {table};
    RETURN NULL;
END $$;
"""
# Not a foreign key: practice_tasks could no longer be truncated by itself.
SHADOWS_GO = """
CREATE FUNCTION shadow_predictions_go() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM shadow_predictions WHERE task_id IN (SELECT id FROM old_rows);
    RETURN NULL;
END $$;
CREATE TRIGGER shadow_predictions_delete AFTER DELETE ON practice_tasks
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION shadow_predictions_go();
CREATE FUNCTION shadow_predictions_emptied() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE shadow_predictions;
    RETURN NULL;
END $$;
CREATE TRIGGER shadow_predictions_truncate AFTER TRUNCATE ON practice_tasks
    FOR EACH STATEMENT EXECUTE FUNCTION shadow_predictions_emptied();
"""
WHO_SERVED = """
INSERT INTO serving_changes (what, lineup, made_by, reason)
SELECT 'published', array_agg(id ORDER BY place, id), 'migration', 'Served before changes were recorded.'
FROM model_versions WHERE state = 'serving' HAVING count(*) > 0
"""
SCOPE_CHECK = "ck_student_totals_ck_student_totals_scope"  # as 0001 made it, by the naming convention


def upgrade() -> None:
    op.add_column("users", sa.Column("is_admin", sa.Boolean, nullable=False, server_default=sa.text("false")))
    totals_per_item()
    op.drop_table("student_posteriors")
    states("student_states", "kind")
    op.execute(SPOILT.format(table="student_states"))
    versions()
    op.add_column("practice_tasks", sa.Column("features", ARRAY(sa.Float(53))))
    shadows()


def totals_per_item() -> None:
    op.drop_constraint(op.f(SCOPE_CHECK), "student_totals")
    op.create_check_constraint(op.f(SCOPE_CHECK), "student_totals", "scope IN ('all', 'topic', 'difficulty', 'item')")
    for event, (rows, clean) in EVENTS.items():
        op.execute(TOTALS.format(event=event, rows=rows, clean=clean, scopes=WITH_ITEM))
    op.execute(ITEM_TOTALS)
    latest = [sa.text("completed_at DESC"), sa.text("id DESC")]
    for column, which in (("topic", "completed"), ("item_id", "completed AND item_id IS NOT NULL")):
        name = f"ix_practice_tasks_last_on_{column.removesuffix('_id')}"
        op.create_index(name, "practice_tasks", ["user_id", column, *latest], postgresql_where=sa.text(which))


def states(table: str, *kind: str) -> None:
    """What a student's answers say to one version of a kind."""
    op.create_table(
        table,
        sa.Column("user_id", sa.Uuid, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in kind),
        sa.Column("version_id", sa.Integer, nullable=False),
        sa.Column("n", sa.Integer, nullable=False),
        sa.Column("through", MOMENT, nullable=False),
        sa.Column("state", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("user_id", *kind, name=f"pk_{table}"),
    )


def versions() -> None:
    for column in (
        sa.Column("place", sa.Integer, nullable=False, server_default="0"),
        sa.Column("by_hand", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("scores", JSONB, nullable=False, server_default=sa.text("'{}'")),
        sa.Column("train_seconds", sa.Float(53)),
        sa.Column("data_from", MOMENT),
        sa.Column("data_to", MOMENT),
    ):
        op.add_column("model_versions", column)
    op.execute("UPDATE model_versions SET place = 1 WHERE kind = 'lnirt'")
    op.add_column("training_runs", sa.Column("kinds", ARRAY(sa.Text)))
    op.create_table(
        "serving_changes",
        sa.Column("id", sa.Integer, autoincrement=True),
        sa.Column("at", MOMENT, nullable=False, server_default=NOW),
        sa.Column("what", sa.Text, nullable=False),
        sa.Column("lineup", ARRAY(sa.Integer), nullable=False),
        sa.Column("back_to", sa.Integer),
        sa.Column("made_by", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_serving_changes"),
        sa.CheckConstraint("what IN ('published', 'promoted', 'rolled back')", name="ck_serving_changes_what"),
    )
    op.execute(WHO_SERVED)


def shadows() -> None:
    op.create_table(
        "shadow_predictions",
        sa.Column("task_id", sa.Uuid, nullable=False),
        sa.Column("model_version_id", sa.Integer, nullable=False),
        sa.Column("correctness_prob", sa.Float(53), nullable=False),
        sa.Column("estimated_time_seconds", sa.Float(53), nullable=False),
        sa.Column("time_low_seconds", sa.Float(53)),
        sa.Column("time_high_seconds", sa.Float(53)),
        sa.PrimaryKeyConstraint("task_id", "model_version_id", name="pk_shadow_predictions"),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_versions.id"], name="fk_shadow_predictions_model_version_id"
        ),
    )
    op.execute(SHADOWS_GO)


def downgrade() -> None:
    for event, function in (("delete", "go"), ("truncate", "emptied")):
        op.execute(f"DROP TRIGGER shadow_predictions_{event} ON practice_tasks")
        op.execute(f"DROP FUNCTION shadow_predictions_{function}()")
    op.drop_table("shadow_predictions")
    op.drop_column("practice_tasks", "features")
    op.drop_table("serving_changes")
    op.drop_column("training_runs", "kinds")
    for name in ("place", "by_hand", "scores", "train_seconds", "data_from", "data_to"):
        op.drop_column("model_versions", name)
    op.drop_table("student_states")
    states("student_posteriors")
    op.execute(SPOILT.format(table="student_posteriors"))
    for name in ("topic", "item"):
        op.drop_index(f"ix_practice_tasks_last_on_{name}", "practice_tasks")
    for event, (rows, clean) in EVENTS.items():
        op.execute(TOTALS.format(event=event, rows=rows, clean=clean, scopes=SCOPES))
    op.execute("DELETE FROM student_totals WHERE scope = 'item'")
    op.drop_constraint(op.f(SCOPE_CHECK), "student_totals")
    op.create_check_constraint(op.f(SCOPE_CHECK), "student_totals", "scope IN ('all', 'topic', 'difficulty')")
    op.drop_column("users", "is_admin")
