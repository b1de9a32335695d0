"""How much each serving version has to say, and what each task's prediction was made of."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    for name in ("chance_share", "time_share"):
        op.add_column("model_versions", sa.Column(name, sa.Double, nullable=False, server_default="0"))
    op.add_column("practice_tasks", sa.Column("contributions", JSONB))
    # Until the next training the version that answered first goes on alone.
    op.execute("UPDATE model_versions SET chance_share = 1, time_share = 1 WHERE state = 'serving' AND place = 0")


def downgrade() -> None:
    op.drop_column("practice_tasks", "contributions")
    for name in ("time_share", "chance_share"):
        op.drop_column("model_versions", name)
