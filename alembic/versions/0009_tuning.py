"""What a tuning found: the settings with which a kind of network is trained."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "network_settings",
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("settings", JSONB, nullable=False),
        sa.Column("study", sa.Text, nullable=False),
        sa.Column("trial", sa.Integer, nullable=False),
        sa.Column("score", sa.Double, nullable=False),
        sa.Column("default_score", sa.Double, nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("made_by", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("kind", name="pk_network_settings"),
    )


def downgrade() -> None:
    op.drop_table("network_settings")
