"""Beyond one machine: each part has its functions here, which `upgrade` and `downgrade` call."""

import sqlalchemy as sa

from alembic import op

revision = "0013"
down_revision = "0012"

NOW = sa.func.now()
MOMENT = sa.DateTime(timezone=True)
OVERRAN = "ck_training_runs_overran"


def upgrade() -> None:
    """Each part's function is called here."""
    trainers()


def trainers() -> None:
    """Who trains, on whatever machine; whose a run is, what it took, and why it was too much."""
    op.create_table(
        "trainers",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("seen_at", MOMENT, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("name", name="pk_trainers"),
    )
    for column in (
        sa.Column("ordered", sa.Boolean, nullable=False, server_default="false"),
        sa.Column("trainer", sa.Text),
        sa.Column("tries", sa.SmallInteger, nullable=False, server_default="1"),
        sa.Column("n_read", sa.Integer),
        sa.Column("seconds", sa.Double),
        sa.Column("peak_bytes", sa.BigInteger),
        sa.Column("overran", sa.Text),
    ):
        op.add_column("training_runs", column)
    op.create_check_constraint(op.f(OVERRAN), "training_runs", "overran IN ('time', 'memory')")


def no_trainers() -> None:
    op.drop_constraint(op.f(OVERRAN), "training_runs")
    for column in ("overran", "peak_bytes", "seconds", "n_read", "tries", "trainer", "ordered"):
        op.drop_column("training_runs", column)
    op.drop_table("trainers")


def downgrade() -> None:
    """Each part's function is called here, the last first."""
    no_trainers()
