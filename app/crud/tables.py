"""Whole tables as text, in and out: what a backup is made of. Works at any revision of the schema."""

from typing import Any, Protocol

from sqlalchemy import Connection, inspect, text

from app.models import Base

UNTOUCHED = (
    "embedding_model_tracker",
    "training_control",
    "rate_limits",
    "write_checks",
    "trainers",
)  # have rows before anything happened
COUNTED = ("practice_tasks", "users", "model_versions")


class Sink(Protocol):
    def write(self, data: bytes, /) -> object: ...


class Source(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


def present(connection: Connection) -> list[str]:
    """Those of our tables that are there, each after those that it refers to."""
    there = inspect(connection).get_table_names()
    return [table.name for table in Base.metadata.sorted_tables if table.name in there]


def columns(connection: Connection, table: str) -> list[str]:
    return [column["name"] for column in inspect(connection).get_columns(table)]


def count(connection: Connection, table: str) -> int:
    n: int = connection.scalar(text(f"SELECT count(*) FROM {_quoted(table)}"))
    return n


def holds_anything(connection: Connection) -> bool:
    """Whether anything happened in this database that somebody may miss."""
    return any(
        connection.scalar(text(f"SELECT EXISTS (SELECT FROM {_quoted(table)})"))
        for table in present(connection)
        if table not in UNTOUCHED
    )


def copy_out(connection: Connection, table: str, names: list[str], file: Sink) -> int:
    """Its rows, in PostgreSQL's own text form, which every release reads and no number loses a bit in; how many."""
    cursor = _cursor(connection)
    cursor.copy_expert(f"COPY {_target(table, names)} TO STDOUT (ENCODING 'UTF8')", file, 1 << 20)
    copied: int = cursor.rowcount
    return copied


def copy_in(connection: Connection, table: str, names: list[str], file: Source) -> int:
    """Back again, instead of the rows there are, and without what the triggers add: the totals come with the backup."""
    connection.execute(text(f"DELETE FROM {_quoted(table)}"))
    connection.execute(text(f"ALTER TABLE {_quoted(table)} DISABLE TRIGGER USER"))
    cursor = _cursor(connection)
    cursor.copy_expert(f"COPY {_target(table, names)} FROM STDIN (ENCODING 'UTF8')", file, 1 << 20)
    connection.execute(text(f"ALTER TABLE {_quoted(table)} ENABLE TRIGGER USER"))
    connection.execute(text(f"ANALYZE {_quoted(table)}"))
    copied: int = cursor.rowcount
    return copied


def empty(connection: Connection) -> None:
    """Take all rows away, before the tables themselves go; the triggers would do the same once more."""
    if there := present(connection):
        for table in there:
            connection.execute(text(f"ALTER TABLE {_quoted(table)} DISABLE TRIGGER USER"))
        connection.execute(text(f"TRUNCATE {', '.join(map(_quoted, there))}"))


def numbered(connection: Connection) -> list[tuple[str, str]]:
    """Table and column of each number that the database gives out itself."""
    found = inspect(connection)
    return [
        (table, column["name"])
        for table in present(connection)
        for column in found.get_columns(table)
        if str(column["default"]).startswith("nextval(")
    ]


def last_number(connection: Connection, table: str, column: str) -> int:
    """The last one given out, whether or not its row is still there; 0 for none."""
    sequence = connection.scalar(text("SELECT pg_get_serial_sequence(:t, :c)"), {"t": _quoted(table), "c": column})
    n: int = connection.scalar(text(f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {sequence}"))
    return n


def go_on_after(connection: Connection, table: str, column: str, last: int) -> None:
    """Give out none that was given before."""
    connection.execute(
        text(f"""SELECT setval(pg_get_serial_sequence(:t, :c), greatest(taken, 1), taken > 0)
                 FROM (SELECT greatest(CAST(:last AS bigint), max({_quoted(column)})) AS taken
                       FROM {_quoted(table)}) AS before"""),
        {"t": _quoted(table), "c": column, "last": last},
    )


def others_connected(connection: Connection) -> int:
    """Who else uses this database: a service, a training, somebody with a console."""
    n: int = connection.scalar(
        text("""SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid() AND usesysid IS NOT NULL
                  AND coalesce(backend_type, 'client backend') = 'client backend'""")
    )
    return n


def _cursor(connection: Connection) -> Any:
    return connection.connection.cursor()


def _target(table: str, names: list[str]) -> str:
    return f"{_quoted(table)} ({', '.join(map(_quoted, names))})"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
