"""What makes recording trustworthy: each part has its function here."""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from alembic import op
from app.core.db.migrations import frozen
from app.domain.characters import folded, tidy
from app.domain.interactions import student_uuid

revision = "0012"
down_revision = "0011"

NOW = sa.func.now()
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Each part's function is called here."""
    corrections()
    time_zones()
    idempotency_keys()
    names_in_one_form()
    demonstration()
    accounts()
    schools()


def corrections() -> None:
    """The old result stays in a row; whoever remembers a student sees that their results were changed."""
    op.create_table(
        "result_corrections",
        sa.Column("id", sa.BigInteger, autoincrement=True),
        sa.Column("at", MOMENT, nullable=False, server_default=NOW),
        sa.Column("task_id", sa.Uuid, nullable=False),
        sa.Column("user_id", sa.Uuid, nullable=False),
        sa.Column("was_correct", sa.Boolean, nullable=False),
        sa.Column("was_seconds", sa.Double, nullable=False),
        sa.Column("completed_at", MOMENT, nullable=False),
        sa.Column("is_correct", sa.Boolean),
        sa.Column("actual_time_seconds", sa.Double),
        sa.Column("made_by", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_result_corrections"),
    )
    op.create_index("ix_result_corrections_user_id", "result_corrections", ["user_id", "id"])
    op.create_index("ix_result_corrections_task_id", "result_corrections", ["task_id", "id"])
    op.add_column("model_versions", sa.Column("corrections", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("student_totals", sa.Column("changed_at", MOMENT, nullable=False, server_default=NOW))
    op.alter_column("student_totals", "changed_at", server_default=sa.func.clock_timestamp())
    op.add_column("student_states", sa.Column("changed_at", MOMENT))  # those that are kept are made anew
    op.execute(frozen("0012", "student_totals_on_update"))
    op.execute(frozen("0012", "student_totals_on_delete"))


def no_corrections() -> None:
    op.execute(frozen("0005", "student_totals_on_update"))
    op.execute(frozen("0003", "student_totals_on_delete"))
    op.drop_column("student_states", "changed_at")
    op.drop_column("student_totals", "changed_at")
    op.drop_column("model_versions", "corrections")
    op.drop_table("result_corrections")


def time_zones() -> None:
    """A day is the student's own."""
    op.add_column("users", sa.Column("time_zone", sa.Text))
    op.add_column("exam_plans", sa.Column("time_zone", sa.Text))


def idempotency_keys() -> None:
    """The first answers to requests that may come again."""
    op.create_table(
        "idempotency_keys",
        sa.Column("caller", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("request", sa.LargeBinary, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("answer", sa.Text, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("caller", "key", name="pk_idempotency_keys"),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])


def demonstration() -> None:
    """Which students are made up; those of the sample and of the guided run so far are known by their ids."""
    op.create_table("demonstration_students", sa.Column("user_id", sa.Uuid, nullable=False))
    op.create_primary_key("pk_demonstration_students", "demonstration_students", ["user_id"])
    op.execute(
        sa.text("""
            INSERT INTO demonstration_students SELECT DISTINCT user_id FROM practice_tasks
            WHERE user_id = ANY (CAST(:sample AS uuid[]))
               OR (user_id = ANY (CAST(:guided AS uuid[])) AND EXISTS (SELECT FROM service_keys WHERE name = :key))
        """).bindparams(
            sample=[str(UUID(bytes=student_uuid(f"sample student {number}"))) for number in range(40)],
            guided=[f"00000000-0000-4000-8000-{number:012d}" for number in range(1, 5)],
            key="guided run",
        )
    )


def accounts() -> None:
    """An account can be disabled, and a lost password set anew by a link that works once."""
    op.add_column("users", sa.Column("disabled_at", MOMENT))
    op.create_table(
        "password_links",
        sa.Column("token_hash", sa.LargeBinary, nullable=False),
        sa.Column("user_id", sa.Uuid, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False, server_default=NOW),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("token_hash", name="pk_password_links"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_password_links_user_id_users", ondelete="CASCADE"),
    )
    op.create_index("ix_password_links_user_id", "password_links", ["user_id"])


def downgrade() -> None:
    """Each part's function is called here, the last first."""
    op.drop_table("password_links")
    op.drop_column("users", "disabled_at")
    op.drop_table("demonstration_students")
    names_as_written()
    op.drop_table("idempotency_keys")
    op.drop_column("exam_plans", "time_zone")
    op.drop_column("users", "time_zone")
    no_schools()
    no_corrections()


# What was written, and which of them first: tasks before plans before what admins decided.
TOPICS = """
    SELECT 0 AS place, min(created_at) AS at, topic AS name FROM practice_tasks GROUP BY topic
    UNION ALL SELECT 1, min(created_at), named FROM exam_plans, unnest(topics) AS named GROUP BY named
    UNION ALL SELECT 2, decided_at, name FROM topics"""
ITEMS = """
    SELECT 0 AS place, min(created_at) AS at, item_id AS name FROM practice_tasks WHERE item_id IS NOT NULL
    GROUP BY item_id"""
IN_ORDER = 'SELECT name FROM ({written}) AS written ORDER BY place, at, name COLLATE "C"'
# A task may change both; the triggers carry the totals along.
RENAME = """
    UPDATE practice_tasks AS task
    SET topic = coalesce(topic.name, task.topic), item_id = coalesce(item.name, task.item_id)
    FROM practice_tasks AS old
    LEFT JOIN renamed AS topic ON topic.kind = 'topic' AND topic.written = old.topic
    LEFT JOIN renamed AS item ON item.kind = 'item' AND item.written = old.item_id
    WHERE old.id = task.id AND (topic.name IS NOT NULL OR item.name IS NOT NULL)"""
# As after a merge by hand: the next training learns the topics from scratch.
MERGED = """
    INSERT INTO audit_log (actor, act, subject, details)
    SELECT 'command line', 'topic merged', written, jsonb_build_object('into', name)
    FROM renamed WHERE kind = 'topic' ORDER BY written"""


def names_in_one_form() -> None:
    """Topics, exercises and people's names are one however coded, spaced and capitalised; the first spelling shows."""
    table = op.create_table(
        "spellings",
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("folded", sa.Text, nullable=False),
        sa.Column("first", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.CheckConstraint("kind IN ('topic', 'item')", name="ck_spellings_kind"),
        sa.PrimaryKeyConstraint("kind", "folded", name="pk_spellings"),
    )
    connection = op.get_bind()
    topics, items = ([*connection.scalars(sa.text(IN_ORDER.format(written=written)))] for written in (TOPICS, ITEMS))
    spelt = {"topic": spellings(topics), "item": spellings(items)}
    rows = [
        {"kind": kind, "folded": key, "first": first, "name": name}
        for kind, found in spelt.items()
        for key, (first, name) in found.items()
    ]
    op.bulk_insert(table, rows)
    called = {kind: renamed(written, spelt[kind]) for kind, written in (("topic", topics), ("item", items))}
    if any(called.values()):
        connection.execute(
            sa.text("CREATE TEMPORARY TABLE renamed (kind text, written text, name text) ON COMMIT DROP")
        )
        connection.execute(
            sa.text("INSERT INTO renamed VALUES (:kind, :written, :name)"),
            [
                {"kind": kind, "written": written, "name": name}
                for kind, names in called.items()
                for written, name in names.items()
            ],
        )
        connection.execute(sa.text("ANALYZE renamed"))
        connection.execute(sa.text(RENAME))
        connection.execute(sa.text(MERGED))
        rename_in_plans(connection, called["topic"])
        rename_decisions(connection, called["topic"])
    for row in connection.execute(sa.text("SELECT id, name FROM users WHERE name IS NOT NULL")).all():
        if (name := tidy(row.name)) != row.name:
            connection.execute(sa.text("UPDATE users SET name = :name WHERE id = :id"), {"id": row.id, "name": name})


def names_as_written() -> None:
    """What was merged stays merged."""
    op.drop_table("spellings")


def spellings(written: Iterable[str]) -> dict[str, tuple[str, str]]:
    """By what they share: the first of the texts that are one, and how it is shown."""
    found = dict[str, tuple[str, str]]()
    for text in written:
        found.setdefault(folded(text), (text, tidy(text) if 1 <= len(tidy(text)) <= 200 else text))
    return found


def renamed(written: Iterable[str], spelt: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    """What is called otherwise than it was written."""
    return {text: name for text in written for _, name in (spelt[folded(text)],) if text != name}


def rename_in_plans(connection: sa.Connection, called: Mapping[str, str]) -> None:
    """A plan names each topic once; of two chances at its start the shown spelling's stays."""
    plans = sa.text("SELECT id, topics, chances_at_start FROM exam_plans WHERE topics && CAST(:written AS text[])")
    change = sa.text("UPDATE exam_plans SET topics = :topics, chances_at_start = :chances WHERE id = :id").bindparams(
        sa.bindparam("chances", type_=sa.JSON)
    )
    for plan in connection.execute(plans, {"written": [*called]}).all():
        chances = {called.get(topic, topic): chance for topic, chance in plan.chances_at_start.items()}
        chances |= {topic: chance for topic, chance in plan.chances_at_start.items() if topic not in called}
        topics = [*dict.fromkeys(called.get(topic, topic) for topic in plan.topics)]
        connection.execute(change, {"id": plan.id, "topics": topics, "chances": chances})


def rename_decisions(connection: sa.Connection, called: Mapping[str, str]) -> None:
    """What was decided of the shown spelling holds; where nothing was, what was decided last of another."""
    decisions: list[Any] = [*connection.execute(sa.text("SELECT name, state FROM topics ORDER BY decided_at DESC"))]
    decided = {row.name for row in decisions}
    for row in decisions:
        name = called.get(row.name)
        if name is None:
            continue
        sql = (
            "DELETE FROM topics WHERE name = :old"
            if name in decided
            else "UPDATE topics SET name = :name WHERE name = :old"
        )
        connection.execute(sa.text(sql), {"old": row.name, "name": name})
        decided.add(name)


def schools() -> None:
    """Keys that see their own students only; students who let a school record for them."""
    op.add_column(
        "service_keys", sa.Column("school_id", sa.Uuid, nullable=False, server_default=sa.text("gen_random_uuid()"))
    )
    op.add_column("service_keys", sa.Column("own_students", sa.Boolean, nullable=False, server_default="false"))
    op.execute("""
        UPDATE service_keys AS key SET school_id = first.id
        FROM (SELECT DISTINCT ON (name) name, id FROM service_keys ORDER BY name, created_at) AS first
        WHERE first.name = key.name""")
    op.add_column("practice_tasks", sa.Column("school_id", sa.Uuid))
    op.create_index(
        "ix_practice_tasks_of_school",
        "practice_tasks",
        ["school_id", sa.text("created_at DESC"), sa.text("id DESC")],
        postgresql_where=sa.text("school_id IS NOT NULL"),
    )
    op.add_column("exam_plans", sa.Column("school_id", sa.Uuid))
    op.create_table(
        "allowed_schools",
        sa.Column("user_id", sa.Uuid, nullable=False),
        sa.Column("school_id", sa.Uuid, nullable=False),
        sa.Column("allowed_at", MOMENT, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("user_id", "school_id", name="pk_allowed_schools"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_allowed_schools_user_id_users", ondelete="CASCADE"),
    )
    op.execute(frozen("0012", "complete_tasks"))


def no_schools() -> None:
    op.execute(frozen("0007", "complete_tasks"))
    op.drop_table("allowed_schools")
    op.drop_column("exam_plans", "school_id")
    op.drop_column("practice_tasks", "school_id")
    op.drop_column("service_keys", "own_students")
    op.drop_column("service_keys", "school_id")
