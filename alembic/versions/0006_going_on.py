"""Runs that train from scratch, and runs that go on from the models there are."""

import sqlalchemy as sa

from alembic import op

revision = "0006"
down_revision = "0005"

SCRATCH = sa.text("from_scratch AND kinds IS NULL")


def upgrade() -> None:
    op.add_column(
        "training_runs", sa.Column("from_scratch", sa.Boolean, nullable=False, server_default=sa.text("true"))
    )
    op.create_index("ix_training_runs_from_scratch", "training_runs", ["id"], postgresql_where=SCRATCH)


def downgrade() -> None:
    op.drop_index("ix_training_runs_from_scratch", "training_runs")
    op.drop_column("training_runs", "from_scratch")
