"""What makes recording trustworthy: each part has its function here."""

import sqlalchemy as sa

from alembic import op
from app.core.db.migrations import frozen

revision = "0012"
down_revision = "0011"

NOW = sa.func.now()
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Each part's function is called here."""
    corrections()
    time_zones()
    idempotency_keys()


def corrections() -> None:
    """The old result stays in a row; whoever remembers a student sees that their results were changed."""
    op.create_table(
        "result_corrections",
        sa.Column("id", sa.BigInteger, autoincrement=True),
        sa.Column("at", MOMENT, nullable=False, server_default=NOW),
        sa.Column("task_id", sa.Uuid, nullable=False),
        sa.Column("user_id", sa.Uuid, nullable=False),
        sa.Column("was_correct", sa.Boolean, nullable=False),
        sa.Column("was_seconds", sa.Double, nullable=False),
        sa.Column("completed_at", MOMENT, nullable=False),
        sa.Column("is_correct", sa.Boolean),
        sa.Column("actual_time_seconds", sa.Double),
        sa.Column("made_by", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_result_corrections"),
    )
    op.create_index("ix_result_corrections_user_id", "result_corrections", ["user_id", "id"])
    op.create_index("ix_result_corrections_task_id", "result_corrections", ["task_id", "id"])
    op.add_column("model_versions", sa.Column("corrections", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("student_totals", sa.Column("changed_at", MOMENT, nullable=False, server_default=NOW))
    op.alter_column("student_totals", "changed_at", server_default=sa.func.clock_timestamp())
    op.add_column("student_states", sa.Column("changed_at", MOMENT))  # those that are kept are made anew
    op.execute(frozen("0012", "student_totals_on_update"))
    op.execute(frozen("0012", "student_totals_on_delete"))


def no_corrections() -> None:
    op.execute(frozen("0005", "student_totals_on_update"))
    op.execute(frozen("0003", "student_totals_on_delete"))
    op.drop_column("student_states", "changed_at")
    op.drop_column("student_totals", "changed_at")
    op.drop_column("model_versions", "corrections")
    op.drop_table("result_corrections")


def time_zones() -> None:
    """A day is the student's own."""
    op.add_column("users", sa.Column("time_zone", sa.Text))
    op.add_column("exam_plans", sa.Column("time_zone", sa.Text))


def idempotency_keys() -> None:
    """The first answers to requests that may come again."""
    op.create_table(
        "idempotency_keys",
        sa.Column("caller", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("request", sa.LargeBinary, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("answer", sa.Text, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("caller", "key", name="pk_idempotency_keys"),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])


def downgrade() -> None:
    """Each part's function is called here, the last first."""
    op.drop_table("idempotency_keys")
    op.drop_column("exam_plans", "time_zone")
    op.drop_column("users", "time_zone")
    no_corrections()
