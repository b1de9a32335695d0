"""Beyond one machine: each part has its functions here, which `upgrade` and `downgrade` call."""

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Each part's function is called here."""


def downgrade() -> None:
    """Each part's function is called here, the last first."""
