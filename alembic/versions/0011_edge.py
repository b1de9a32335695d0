"""What admins decide about topics, accents in one form; from where an account has signed in before."""

import sqlalchemy as sa

from alembic import op
from app.core.settings import settings

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
        "write_checks",
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("checked_at", name="pk_write_checks"),
    )
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
    tokens()


def tokens() -> None:
    """Each token of the API has a row; all those of before have one together, whose id is their account's."""
    op.create_table(
        "api_tokens",
        sa.Column("id", sa.Uuid, nullable=False, server_default=sa.text("gen_random_uuid()")),
        sa.Column("user_id", sa.Uuid, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_api_tokens"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_api_tokens_user_id_users", ondelete="CASCADE"),
    )
    op.create_index("ix_api_tokens_user_id", "api_tokens", ["user_id"])
    of_before = sa.text(
        "INSERT INTO api_tokens (id, user_id, expires_at) "
        "SELECT id, id, now() + make_interval(secs => :seconds) FROM users"
    )
    op.get_bind().execute(of_before, {"seconds": settings().token_hours * 3600})
    made = sa.text("gen_random_uuid()")
    op.add_column("browser_sessions", sa.Column("id", sa.Uuid, nullable=False, server_default=made))
    op.create_unique_constraint("uq_browser_sessions_id", "browser_sessions", ["id"])


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
    op.drop_table("write_checks")
    op.drop_column("browser_sessions", "id")
    op.drop_table("api_tokens")
    op.drop_table("known_places")
    op.drop_table("topics")
