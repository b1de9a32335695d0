"""Which schema the code needs, and how a database gets there."""

import time
from pathlib import Path

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from app.core.settings import APP

REVISION = "0014"  # the newest file in alembic/versions; a test holds the two together

LOCK_NOT_AVAILABLE = "55P03"
WAIT_SECONDS = 120.0  # for those who work with the tables
# Less than `deadlock_timeout`: who holds one table and waits for another is not ended, for we let go first.
TAKE = "SELECT set_config('lock_timeout', '800ms', true)"
PAUSE_SECONDS = 0.2  # in which they come to an end
# What a task takes first comes first.
TABLES = """
    SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname = current_schema()
    ORDER BY tablename <> 'practice_tasks', tablename"""


class SchemaMismatch(RuntimeError):
    """The database's tables are not those that this code was written for."""


def revision(engine: Engine) -> str | None:
    """Return the revision of the database; none for an empty one."""
    with engine.connect() as connection:
        return revision_of(connection)


def revision_of(connection: Connection) -> str | None:
    if connection.scalar(text("SELECT to_regclass('alembic_version')")) is None:
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def check(engine: Engine) -> None:
    """Raise SchemaMismatch, with what to do, unless the database fits the code."""
    found = revision(engine)
    if found == REVISION:
        return
    if found is None or found < REVISION:
        raise SchemaMismatch(
            f"The database stands at revision {found or 'none'}, this code needs {REVISION}: run `smartstudy migrate`."
        )
    raise SchemaMismatch(
        f"The database stands at revision {found}, which is newer than this code ({REVISION}): "
        "install the SmartStudy that made it, or a later one."
    )


def ensure_current(engine: Engine) -> None:
    """Bring an embedded database up to date; a newer one is refused."""
    if revision(engine) != REVISION:
        migrate(engine)
    check(engine)


def migrate(engine: Engine) -> None:
    """Run every migration that is still to come. Two replicas may do it at once: the second waits and finds it done."""
    found = revision(engine)
    if found is not None and found > REVISION:
        check(engine)
    with engine.begin() as connection:
        upgrade(connection)


def upgrade(connection: Connection, to: str = "head") -> None:
    """Migrate in the caller's transaction."""
    from alembic import command

    command.upgrade(_config(connection), to)


def take_tables(connection: Connection) -> None:
    """Lock all tables before anything is changed.

    Else a completion, which holds the tasks and waits for the totals, and a migration, which does it the other way
    round, would end one another: after a minute's work, for nothing.

    Raises SchemaMismatch where somebody does not let go of them.
    """
    before = connection.scalar(text("SHOW lock_timeout"))
    tables = ", ".join(connection.scalars(text(TABLES)))
    until = time.monotonic() + WAIT_SECONDS
    while not _taken(connection, tables):
        if time.monotonic() >= until:
            raise SchemaMismatch(
                f"Others have worked with the tables for {WAIT_SECONDS:g} s, such as a backup, a long training or a "
                "console, so nothing was changed: end them, then run `smartstudy migrate` again."
            )
        time.sleep(PAUSE_SECONDS)
    connection.execute(text("SELECT set_config('lock_timeout', :before, true)"), {"before": before})


def _taken(connection: Connection, tables: str) -> bool:
    try:
        with connection.begin_nested():
            connection.execute(text(TAKE))
            connection.execute(text(f"LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE"))
    except OperationalError as why:
        if getattr(why.orig, "pgcode", None) != LOCK_NOT_AVAILABLE:
            raise
        return False
    return True


def remove(connection: Connection) -> None:
    """Take all tables away, in the caller's transaction."""
    from alembic import command

    command.downgrade(_config(connection), "base")


def _config(connection: Connection):  # type: ignore[no-untyped-def]  # Alembic is imported only where it is used
    from alembic.config import Config

    config = Config(_top() / "alembic.ini")
    config.attributes["connection"] = connection
    return config


def frozen(revision: str, name: str) -> str:
    """A database function with its triggers, as this revision defines it for good; `app/sql` has today's."""
    return (_top() / "alembic" / "sql" / revision / f"{name}.sql").read_text(encoding="utf-8")


def _top() -> Path:
    in_a_wheel = APP / "_alembic"
    return in_a_wheel if in_a_wheel.exists() else APP.parent
