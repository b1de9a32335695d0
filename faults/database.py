"""Failpoints at every statement and every commit, through psycopg2 and through asyncpg.

A lost connection is really lost: PostgreSQL ends the process behind it, and the driver finds out by itself.
"""

from typing import Any

import asyncpg
import psycopg2
from psycopg2 import extensions

from app.core.db import timeouts
from faults.failpoints import Failpoints

ENDED = "SELECT pg_terminate_backend(%s, 10000)"  # ms to wait until it has gone
connect = psycopg2.connect


def install(points: Failpoints, url: str) -> None:
    """From now on, and for good."""

    def lose(backend: int) -> None:
        if points.kills:
            points.fail()
        other = connect(url)
        other.cursor().execute(ENDED, (backend,))
        other.close()

    _install_psycopg2(points, lose)
    _install_asyncpg(points, lose)


def _install_psycopg2(points: Failpoints, lose: Any) -> None:
    class Cursor(timeouts.WatchedCursor):
        def execute(self, query: Any, *values: Any) -> None:
            if points.strikes("database", _short(query)):
                lose(self.connection.get_backend_pid())
            super().execute(query, *values)

        def copy_expert(self, sql: Any, file: Any, *size: Any, **options: Any) -> None:
            if points.strikes("database", _short(sql)):
                lose(self.connection.get_backend_pid())
            super().copy_expert(sql, _Pieces(self, file) if hasattr(file, "_pieces") else file, *size, **options)

    class _Pieces:
        """What is copied into the database, piece by piece."""

        def __init__(self, cursor: Cursor, file: Any) -> None:
            self._cursor, self._file = cursor, file

        def read(self, size: int = -1) -> bytes:
            if points.strikes("database", "COPY, in the middle"):
                lose(self._cursor.connection.get_backend_pid())
            return bytes(self._file.read(size))

    class Connection(timeouts.WatchedConnection):
        def commit(self) -> None:
            if points.strikes("database", "before COMMIT"):
                lose(self.get_backend_pid())
            super().commit()
            if points.strikes("database", "after COMMIT"):  # it holds, but nobody is told
                lose(self.get_backend_pid())
                extensions.cursor(self).execute("SELECT 1")

    def guarded(*places: Any, **options: Any) -> Any:
        return connect(*places, **{**options, "connection_factory": Connection, "cursor_factory": Cursor})

    psycopg2.connect = guarded


def _install_asyncpg(points: Failpoints, lose: Any) -> None:
    """Each of our statements there is a transaction of its own."""

    ask = asyncpg.Connection.fetch

    def guarded(call: Any) -> Any:
        async def call_or_lose(self: Any, query: str, *values: Any, **options: Any) -> Any:
            if points.strikes("database", f"{_short(query)}, before it is sent"):
                lose(self.get_server_pid())
            rows = await call(self, query, *values, **options)
            if points.strikes("database", f"{_short(query)}, before it is answered"):
                lose(self.get_server_pid())
                await ask(self, "SELECT 1")  # the connection is gone: this tells so
            return rows

        return call_or_lose

    for name in ("fetch", "fetchmany"):
        setattr(asyncpg.Connection, name, guarded(getattr(asyncpg.Connection, name)))


def _short(query: Any) -> str:
    words = (query.decode(errors="replace") if isinstance(query, bytes) else str(query)).split()
    return " ".join(words)[:60]
