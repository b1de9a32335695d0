"""Guarding: audit of admin acts, rate limits, erasures, pausing of trainings; keys that run out; runs that are seen."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from alembic import op
from app.core.db.migrations import frozen

revision = "0007"
down_revision = "0006"

NOW = sa.func.now()
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.execute(frozen("0007", "complete_tasks"))  # a key may be revoked from some moment on
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
    op.execute(frozen("0005", "complete_tasks"))
    for column in ("seen_at", "backend", "folders"):
        op.drop_column("training_runs", column)
    op.drop_column("model_versions", "erasures")
    for table in ("training_control", "erasures", "rate_limits", "audit_log"):
        op.drop_table(table)
