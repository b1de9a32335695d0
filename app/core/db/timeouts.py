"""How long a web process waits for the database, which may have frozen or vanished without a word.

The server's own limits (`statement_timeout`) are no help then, and psycopg2 waits as long as its socket lives: so a
thread looks after the statements under way and cuts the socket of one that takes too long. COPY has no limit.
"""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg2.extensions

CONNECT_SECONDS = 3
STATEMENT_SECONDS = 6.0  # together with a new connection: an answer within ten
POLL_SECONDS = 0.2
KEEPALIVE = {"keepalives": 1, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
UNACKNOWLEDGED_MILLISECONDS = 15_000  # what was sent and nobody acknowledged: the other machine is gone


class StatementWatchdog:
    """Cuts connections whose statement takes too long, while there is a limit at all."""

    def __init__(self) -> None:
        self._limit: float | None = None
        self._until: dict[int, float] = {}  # file descriptor -> when it is cut
        self._turn = threading.Lock()
        self._thread: threading.Thread | None = None

    @contextmanager
    def at_most(self, seconds: float) -> Iterator[None]:
        """Limit every statement of this process meanwhile; imports and trainings have processes of their own."""
        before, self._limit = self._limit, seconds
        try:
            yield
        finally:
            self._limit = before

    @contextmanager
    def over(self, connection: Any) -> Iterator[None]:
        """Cut the connection if this takes too long."""
        if self._limit is None or connection.closed:
            yield
            return
        descriptor = connection.fileno()
        self._until[descriptor] = time.monotonic() + self._limit
        if self._thread is None or not self._thread.is_alive():  # the latter after a fork
            self._thread = threading.Thread(target=self._poll, name="database-timeouts", daemon=True)
            self._thread.start()
        try:
            yield
        finally:
            with self._turn:  # not in the middle of being cut: the number may soon be another socket's
                self._until.pop(descriptor, None)

    def _poll(self) -> None:
        while True:
            time.sleep(POLL_SECONDS)
            with self._turn:
                now = time.monotonic()
                for descriptor in [each for each, until in list(self._until.items()) if until < now]:
                    _cut(descriptor)
                    self._until.pop(descriptor, None)


def _cut(descriptor: int) -> None:
    """Shut the socket down, so that whoever reads from it finds it closed."""
    with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as same:
        same.shutdown(socket.SHUT_RDWR)


watch = StatementWatchdog()


class WatchedConnection(psycopg2.extensions.connection):  # type: ignore[misc]  # psycopg2 has no types
    """A connection of psycopg2 that is cut when a commit takes too long."""

    def commit(self) -> None:
        with watch.over(self):
            super().commit()

    def rollback(self) -> None:
        with watch.over(self):
            super().rollback()


class WatchedCursor(psycopg2.extensions.cursor):  # type: ignore[misc]
    """A cursor of psycopg2 whose connection is cut when a statement takes too long."""

    def execute(self, query: Any, vars: Any = None) -> None:
        with watch.over(self.connection):
            super().execute(query, vars)


CONNECT = {
    "connection_factory": WatchedConnection,
    "cursor_factory": WatchedCursor,
    "connect_timeout": CONNECT_SECONDS,
    "tcp_user_timeout": UNACKNOWLEDGED_MILLISECONDS,
    "application_name": "smartstudy",
    **KEEPALIVE,
}


async def keep_alive(connection: Any) -> None:
    """Set the same for a connection of asyncpg, which sets nothing itself."""
    found = connection._transport.get_extra_info("socket")
    if found is None or found.family not in (socket.AF_INET, socket.AF_INET6):
        return
    found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
    for name, value in zip(names, (*list(KEEPALIVE.values())[1:], UNACKNOWLEDGED_MILLISECONDS), strict=True):
        if hasattr(socket, name):
            found.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
