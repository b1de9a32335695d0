"""Placeholder, to be dropped at the merge: the 0004 of the import branch takes its place."""

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Nothing yet."""


def downgrade() -> None:
    """Nothing yet."""
