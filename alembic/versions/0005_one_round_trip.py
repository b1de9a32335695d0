"""Completions in one round trip; what an UPDATE costs that corrects nothing; open tasks found at once."""

import sqlalchemy as sa

from alembic import op
from app.core.db.migrations import frozen

revision = "0005"
down_revision = "0004"

REPLACED = ("student_totals_on_update", "student_posteriors_spoilt")


def upgrade() -> None:
    for name in (*REPLACED, "complete_tasks"):
        op.execute(frozen("0005", name))
    newest = [sa.text("created_at DESC"), sa.text("id DESC")]
    is_open = sa.text("NOT completed")
    op.create_index("ix_practice_tasks_open", "practice_tasks", ["user_id", *newest], postgresql_where=is_open)


def downgrade() -> None:
    op.drop_index("ix_practice_tasks_open", "practice_tasks")
    op.execute("DROP FUNCTION complete_tasks")
    for name in REPLACED:
        op.execute(frozen("0003", name))
