"""The first tables: accounts, tasks with their running totals, and training."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from alembic import op
from app.core.db.migrations import frozen

revision = "0001"
down_revision = None

UTC_NOW = sa.text("timezone('utc', now())")
NOW = sa.func.now()
MOMENT = sa.DateTime(timezone=True)

EVENTS = ("insert", "update", "delete", "truncate")


def upgrade() -> None:
    accounts()
    training()
    tasks()
    for event in EVENTS:
        op.execute(frozen("0001", f"student_totals_on_{event}"))
    op.execute("INSERT INTO embedding_model_tracker (id) VALUES (1)")


def accounts() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid, server_default=sa.text("gen_random_uuid()")),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("name", sa.Text),
        sa.Column("password_hash", sa.Text, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.UniqueConstraint("email", name="uq_users_email"),
    )
    op.create_table(
        "service_keys",
        sa.Column("id", sa.Uuid, server_default=sa.text("gen_random_uuid()")),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("prefix", sa.Text, nullable=False),
        sa.Column("key_hash", sa.LargeBinary, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False, server_default=NOW),
        sa.Column("revoked_at", MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_service_keys"),
        sa.UniqueConstraint("key_hash", name="uq_service_keys_key_hash"),
    )
    in_use = sa.text("revoked_at IS NULL")
    op.create_index("uq_service_keys_name_in_use", "service_keys", ["name"], unique=True, postgresql_where=in_use)


def training() -> None:
    op.create_table(
        "embedding_model_tracker",
        sa.Column("id", sa.Integer, autoincrement=True),  # SERIAL
        sa.Column("last_trained_at", sa.DateTime),
        sa.Column("n_samples_last_training", sa.Integer, server_default="0"),
        sa.Column("n_samples_since_training", sa.Integer, server_default="0"),
        sa.Column("model_version", sa.String(50)),
        sa.Column("metadata", JSONB, server_default=sa.text("'{}'")),
        sa.Column("created_at", sa.DateTime, server_default=UTC_NOW),
        sa.Column("updated_at", sa.DateTime, server_default=UTC_NOW),
        sa.PrimaryKeyConstraint("id", name="pk_embedding_model_tracker"),
        sa.CheckConstraint("id = 1", name="ck_embedding_model_tracker_one_row"),
    )
    op.create_table(
        "training_runs",
        sa.Column("id", sa.Integer, autoincrement=True),
        sa.Column("asked_at", MOMENT, nullable=False, server_default=NOW),
        sa.Column("started_at", MOMENT),
        sa.Column("finished_at", MOMENT),
        sa.Column("outcome", sa.Text, nullable=False, server_default="asked"),
        sa.Column("n_tasks", sa.Integer),
        sa.Column("n_taken", sa.Integer),
        sa.Column("progress", JSONB, nullable=False, server_default=sa.text("'{}'")),
        sa.Column("message", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_training_runs"),
        sa.CheckConstraint(
            "outcome IN ('asked', 'running', 'published', 'rejected', 'failed', 'interrupted', 'merged')",
            name="ck_training_runs_outcome",
        ),
    )
    unfinished = sa.text("finished_at IS NULL")
    op.create_index("ix_training_runs_open", "training_runs", ["id"], postgresql_where=unfinished)
    op.create_table(
        "model_versions",
        sa.Column("id", sa.Integer, autoincrement=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("folder", sa.Text, nullable=False),
        sa.Column("files", JSONB, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("n_tasks", sa.Integer, nullable=False),
        sa.Column("report", JSONB, nullable=False),
        sa.Column("run_id", sa.Integer),
        sa.Column("created_at", MOMENT, nullable=False, server_default=NOW),
        sa.Column("pruned_at", MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_model_versions"),
        sa.ForeignKeyConstraint(["run_id"], ["training_runs.id"], name="fk_model_versions_run_id"),
        sa.CheckConstraint("state IN ('candidate', 'serving', 'retired', 'rejected')", name="ck_model_versions_state"),
    )
    serving = sa.text("state = 'serving'")
    op.create_index("uq_model_versions_serving", "model_versions", ["kind"], unique=True, postgresql_where=serving)


def tasks() -> None:
    op.create_table(
        "practice_tasks",
        sa.Column("id", sa.Uuid, server_default=sa.text("gen_random_uuid()")),
        sa.Column("user_id", sa.Uuid, nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("difficulty", sa.Text, nullable=False),
        sa.Column("item_id", sa.Text),
        sa.Column("created_at", MOMENT, nullable=False, server_default=NOW),
        sa.Column("completed", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("is_correct", sa.Boolean),
        sa.Column("actual_time_seconds", sa.Float(53)),
        sa.Column("completed_at", MOMENT),
        sa.Column("correctness_prob", sa.Float(53)),
        sa.Column("estimated_time_seconds", sa.Float(53)),
        sa.Column("lnirt_model_version", sa.Text),
        sa.Column("model_version_id", sa.Integer),
        sa.PrimaryKeyConstraint("id", name="pk_practice_tasks"),
        sa.ForeignKeyConstraint(["model_version_id"], ["model_versions.id"], name="fk_practice_tasks_model_version_id"),
        sa.CheckConstraint("difficulty IN ('easy', 'medium', 'hard')", name="ck_practice_tasks_difficulty"),
        sa.CheckConstraint("length(topic) BETWEEN 1 AND 200", name="ck_practice_tasks_topic"),
        sa.CheckConstraint(
            "NOT completed OR (is_correct IS NOT NULL AND completed_at IS NOT NULL AND actual_time_seconds IS NOT NULL"
            " AND actual_time_seconds > 0 AND actual_time_seconds < 'Infinity')",
            name="ck_practice_tasks_completed_has_result",
        ),
        sa.CheckConstraint(
            "correctness_prob IS NULL OR (lnirt_model_version IS NOT NULL AND correctness_prob > 0"
            " AND correctness_prob < 1 AND estimated_time_seconds > 0 AND estimated_time_seconds < 'Infinity')",
            name="ck_practice_tasks_prediction_names_model",
        ),
    )
    newest = [sa.text("created_at DESC"), sa.text("id DESC")]
    latest = [sa.text("completed_at DESC"), sa.text("id DESC")]
    op.create_index("ix_practice_tasks_of_student", "practice_tasks", ["user_id", *newest])
    op.create_index("ix_practice_tasks_newest", "practice_tasks", newest)
    op.create_index(
        "ix_practice_tasks_last_completed",
        "practice_tasks",
        ["user_id", *latest],
        postgresql_where=sa.text("completed"),
    )
    op.create_table(
        "student_totals",
        sa.Column("user_id", sa.Uuid, nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("n", sa.Integer, nullable=False),
        sa.Column("n_correct", sa.Integer, nullable=False),
        sa.Column("microseconds", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("user_id", "scope", "key", name="pk_student_totals"),
        sa.CheckConstraint("scope IN ('all', 'topic', 'difficulty')", name="ck_student_totals_scope"),
    )


def downgrade() -> None:
    for table in ("practice_tasks", "student_totals", "model_versions", "training_runs"):
        op.drop_table(table)
    for event in EVENTS:
        op.execute(f"DROP FUNCTION student_totals_on_{event}()")
    for table in ("embedding_model_tracker", "service_keys", "users"):
        op.drop_table(table)
