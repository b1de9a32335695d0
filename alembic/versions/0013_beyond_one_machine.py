"""Beyond one machine: each part has its functions here, which `upgrade` and `downgrade` call."""

import sqlalchemy as sa

from alembic import op
from app.core.db.migrations import frozen

revision = "0013"
down_revision = "0012"

NOW = sa.func.now()
MOMENT = sa.DateTime(timezone=True)
OVERRAN = "ck_training_runs_overran"


def upgrade() -> None:
    """Each part's function is called here."""
    discarded_tasks()
    trainers()
    last_tasks()


def discarded_tasks() -> None:
    """Those who listen are told what was discarded; a key completes for accounts that allow its school."""
    op.create_table(
        "discarded_tasks",
        sa.Column("task_id", sa.Uuid, nullable=False),
        sa.Column("user_id", sa.Uuid, nullable=False),
        sa.Column("school_id", sa.Uuid),
        sa.Column("at", MOMENT, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("task_id", name="pk_discarded_tasks"),
    )
    op.create_index("ix_discarded_tasks_user_id", "discarded_tasks", ["user_id", "at"])
    op.create_index("ix_discarded_tasks_at", "discarded_tasks", ["at"])
    op.execute(frozen("0013", "complete_tasks"))


def no_discarded_tasks() -> None:
    op.execute(frozen("0012", "complete_tasks"))
    op.drop_table("discarded_tasks")


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
        sa.Column("rung", sa.SmallInteger, nullable=False, server_default="0"),
    ):
        op.add_column("training_runs", column)
    op.create_check_constraint(op.f(OVERRAN), "training_runs", "overran IN ('time', 'memory')")


def no_trainers() -> None:
    op.drop_constraint(op.f(OVERRAN), "training_runs")
    for column in ("rung", "overran", "peak_bytes", "seconds", "n_read", "tries", "trainer", "ordered"):
        op.drop_column("training_runs", column)
    op.drop_table("trainers")


# What a student did last is read backwards, so that the newest goes behind the others and pages of an index fill up.
INDEXES = {
    "of_student": ("user_id", "created_at", "id", None),
    "open": ("user_id", "created_at", "id", "NOT completed"),
    "newest": (None, "created_at", "id", None),
    "last_completed": ("user_id", "completed_at", "id", "completed"),
    "of_school": ("school_id", "created_at", "id", "school_id IS NOT NULL"),
}
LAST = """
    UPDATE student_totals AS total SET last_at = (last).completed_at, last_id = (last).id,
        last_correct = (last).is_correct, last_seconds = (last).seconds
    FROM (
        SELECT user_id,
            CASE grouping(topic, difficulty, item_id)
                WHEN 7 THEN 'all' WHEN 3 THEN 'topic' WHEN 5 THEN 'difficulty' ELSE 'item' END AS scope,
            CASE grouping(topic, difficulty, item_id)
                WHEN 7 THEN '' WHEN 3 THEN topic WHEN 5 THEN difficulty ELSE item_id END AS key,
            (max(ARRAY[ROW(completed_at, id, is_correct, actual_time_seconds)::last_task]))[1] AS last
        FROM practice_tasks WHERE completed
        GROUP BY GROUPING SETS ((user_id), (user_id, topic), (user_id, difficulty), (user_id, item_id))
    ) AS newest
    WHERE total.user_id = newest.user_id AND total.scope = newest.scope AND total.key = newest.key"""


def last_tasks() -> None:
    """The totals hold the task that each scope finished last, in place of two indexes."""
    op.execute(
        "CREATE TYPE last_task AS (completed_at timestamptz, id uuid, is_correct boolean, seconds double precision)"
    )
    op.add_column("student_totals", sa.Column("last_at", sa.DateTime(timezone=True)))
    op.add_column("student_totals", sa.Column("last_id", sa.Uuid))
    op.add_column("student_totals", sa.Column("last_correct", sa.Boolean))
    op.add_column("student_totals", sa.Column("last_seconds", sa.Double))
    op.execute("SET LOCAL work_mem = '64MB'")
    op.execute(LAST)
    op.execute("DROP FUNCTION student_totals_on_insert CASCADE")  # and its trigger
    op.execute("DROP FUNCTION student_totals_on_update CASCADE")
    for name in ("last_task_of", "newest_on_topic"):
        op.execute(frozen("0013", name))
    op.execute(frozen("0013", "student_totals_on_write"))
    op.execute(frozen("0013", "student_totals_on_delete"))
    op.drop_index("ix_practice_tasks_last_on_topic", "practice_tasks")
    op.drop_index("ix_practice_tasks_last_on_item", "practice_tasks")
    index_anew("")


def no_last_tasks() -> None:
    index_anew(" DESC")
    for scope, key, which in (
        ("topic", "topic", "completed"),
        ("item", "item_id", "completed AND item_id IS NOT NULL"),
    ):
        op.execute(
            f"CREATE INDEX ix_practice_tasks_last_on_{scope} ON practice_tasks "
            f"(user_id, {key}, completed_at DESC, id DESC) WHERE {which}"
        )
    op.execute("DROP FUNCTION student_totals_on_write CASCADE")
    op.execute(frozen("0004", "student_totals_on_insert"))
    op.execute(frozen("0012", "student_totals_on_update"))
    op.execute(frozen("0012", "student_totals_on_delete"))
    for name in ("last_seconds", "last_correct", "last_id", "last_at"):
        op.drop_column("student_totals", name)
    op.execute("DROP FUNCTION last_task_of, newest_on_topic")
    op.execute("DROP TYPE last_task")


def index_anew(order: str) -> None:
    for name, (first, at, id_, which) in INDEXES.items():
        op.drop_index(f"ix_practice_tasks_{name}", "practice_tasks")
        columns = ", ".join([*([first] if first else []), f"{at}{order}", f"{id_}{order}"])
        where = f" WHERE {which}" if which else ""
        op.execute(f"CREATE INDEX ix_practice_tasks_{name} ON practice_tasks ({columns}){where}")


def downgrade() -> None:
    """Each part's function is called here, the last first."""
    no_last_tasks()
    no_trainers()
    no_discarded_tasks()
