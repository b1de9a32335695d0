"""An import adds up the totals of what it brings by itself."""

from alembic import op
from app.core.db.migrations import frozen

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """The trigger leaves them to it."""
    op.execute(frozen("0014", "student_totals_on_write"))


def downgrade() -> None:
    op.execute(frozen("0013", "student_totals_on_write"))
