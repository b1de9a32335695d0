"""Who serves: scores and order of versions, changes with their reasons, shadows, admins; totals per item."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from alembic import op
from app.core.db.migrations import frozen

revision = "0003"
down_revision = "0002"

NOW = sa.func.now()
MOMENT = sa.DateTime(timezone=True)

# The totals get one more scope: the very item, where the task names one.
TOTALS = ("student_totals_on_insert", "student_totals_on_update", "student_totals_on_delete")
ITEM_TOTALS = """
INSERT INTO student_totals (user_id, scope, key, n, n_correct, microseconds)
SELECT user_id, 'item', item_id, count(*), count(*) FILTER (WHERE is_correct),
       sum(round(least(actual_time_seconds, 1e6) * 1e6))
FROM practice_tasks WHERE completed AND item_id IS NOT NULL GROUP BY user_id, item_id
"""
STATES = ("student_posteriors_spoilt", "student_posteriors_emptied")
SHADOWS = ("shadow_predictions_go", "shadow_predictions_emptied")
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
    define("0003", STATES)
    versions()
    op.add_column("practice_tasks", sa.Column("features", ARRAY(sa.Float(53))))
    shadows()


def define(revision: str, functions: tuple[str, ...]) -> None:
    for name in functions:
        op.execute(frozen(revision, name))


def totals_per_item() -> None:
    op.drop_constraint(op.f(SCOPE_CHECK), "student_totals")
    op.create_check_constraint(op.f(SCOPE_CHECK), "student_totals", "scope IN ('all', 'topic', 'difficulty', 'item')")
    define("0003", TOTALS)
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
    define("0003", SHADOWS)


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
    define("0002", STATES)
    for name in ("topic", "item"):
        op.drop_index(f"ix_practice_tasks_last_on_{name}", "practice_tasks")
    define("0001", TOTALS)
    op.execute("DELETE FROM student_totals WHERE scope = 'item'")
    op.drop_constraint(op.f(SCOPE_CHECK), "student_totals")
    op.create_check_constraint(op.f(SCOPE_CHECK), "student_totals", "scope IN ('all', 'topic', 'difficulty')")
    op.drop_column("users", "is_admin")
