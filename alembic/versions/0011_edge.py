"""What admins decide about topics, accents in one form; from where an account has signed in before."""

import sqlalchemy as sa

from alembic import op

revision = "0011"
down_revision = "0010"

# What would be too long for its column then stays as it is.
IN_ONE_FORM = (
    """UPDATE practice_tasks SET topic = normalize(topic, NFC), item_id = normalize(item_id, NFC)
       WHERE (topic IS NOT NFC NORMALIZED OR item_id IS NOT NFC NORMALIZED) AND length(normalize(topic, NFC)) <= 200""",
    """UPDATE exam_plans SET
           topics = string_to_array(normalize(array_to_string(topics, E'\\x1f'), NFC), E'\\x1f'),
           chances_at_start = CAST(normalize(CAST(chances_at_start AS text), NFC) AS jsonb)
       WHERE array_to_string(topics, E'\\x1f') IS NOT NFC NORMALIZED""",
)


def upgrade() -> None:
    op.create_table(
        "topics",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.CheckConstraint("state IN ('approved', 'hidden')", name="ck_topics_state"),
        sa.PrimaryKeyConstraint("name", name="pk_topics"),
    )
    for statement in IN_ONE_FORM:
        op.execute(statement)
    known_places()


def known_places() -> None:
    """Browsers and addresses of an account, as hashes."""
    op.create_table(
        "known_places",
        sa.Column("user_id", sa.Uuid, nullable=False),
        sa.Column("place", sa.LargeBinary, nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("user_id", "place", name="pk_known_places"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_known_places_user_id_users", ondelete="CASCADE"),
    )


def downgrade() -> None:
    op.drop_table("known_places")
    op.drop_table("topics")
