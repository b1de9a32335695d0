"""LNIRT: what each student's answers say, the intervals of a prediction, and why not the network answered."""

import sqlalchemy as sa

from alembic import op
from app.core.db.migrations import frozen

revision = "0002"
down_revision = "0001"

PREDICTED = ("correctness_prob_low", "correctness_prob_high", "time_low_seconds", "time_high_seconds")
FUNCTIONS = ("student_posteriors_spoilt", "student_posteriors_emptied")


def upgrade() -> None:
    for name in PREDICTED:
        op.add_column("practice_tasks", sa.Column(name, sa.Float(53)))
    op.add_column("practice_tasks", sa.Column("fallback_reason", sa.Text))
    op.create_table(
        "student_posteriors",
        sa.Column("user_id", sa.Uuid, nullable=False),
        sa.Column("version_id", sa.Integer, nullable=False),
        sa.Column("n", sa.Integer, nullable=False),
        sa.Column("through", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("user_id", name="pk_student_posteriors"),
    )
    for name in FUNCTIONS:
        op.execute(frozen("0002", name))


def downgrade() -> None:
    for event in ("update", "delete", "truncate"):
        op.execute(f"DROP TRIGGER student_posteriors_{event} ON practice_tasks")
    for name in FUNCTIONS:
        op.execute(f"DROP FUNCTION {name}()")
    op.drop_table("student_posteriors")
    for name in (*PREDICTED, "fallback_reason"):
        op.drop_column("practice_tasks", name)
