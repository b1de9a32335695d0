"""The pages: browsers that are signed in, what a student prefers, exams to prepare for."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from alembic import op

revision = "0008"
down_revision = "0007"

NOW = sa.func.now()
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("users", sa.Column("language", sa.Text))
    op.add_column("users", sa.Column("theme", sa.Text))
    op.create_table(
        "browser_sessions",
        sa.Column("token_hash", sa.LargeBinary, nullable=False),
        sa.Column("user_id", sa.Uuid, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False, server_default=NOW),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("token_hash", name="pk_browser_sessions"),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_browser_sessions_user_id_users", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_browser_sessions_user_id", "browser_sessions", ["user_id"])
    exams()


def exams() -> None:
    """What a student prepares for. The days are planned anew each time they are looked at."""
    op.create_table(
        "exam_plans",
        sa.Column("id", sa.Uuid, nullable=False, server_default=sa.text("gen_random_uuid()")),
        sa.Column("user_id", sa.Uuid, nullable=False),
        sa.Column("name", sa.Text),
        sa.Column("exam_date", sa.Date, nullable=False),
        sa.Column("topics", ARRAY(sa.Text), nullable=False),
        sa.Column("minutes_per_day", sa.Integer, nullable=False),
        sa.Column("target_success_rate", sa.Double, nullable=False),
        sa.Column("chances_at_start", JSONB, nullable=False, server_default=sa.text("'{}'")),
        sa.Column("created_at", MOMENT, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("id", name="pk_exam_plans"),
        sa.CheckConstraint("cardinality(topics) BETWEEN 1 AND 20", name="topics"),
        sa.CheckConstraint("minutes_per_day BETWEEN 5 AND 480", name="minutes_per_day"),
        sa.CheckConstraint("target_success_rate BETWEEN 0.7 AND 0.85", name="target_success_rate"),
    )
    op.create_index("ix_exam_plans_of_student", "exam_plans", ["user_id", "exam_date"])


def downgrade() -> None:
    op.drop_table("exam_plans")
    op.drop_table("browser_sessions")
    for column in ("language", "theme"):
        op.drop_column("users", column)
