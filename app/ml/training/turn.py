"""The single writer's turn: one run at a time trains and publishes, in whatever process."""

import threading
import time

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from app.crud import training_runs

POLL_SECONDS = 0.2  # whether it is this run's turn


class Turn:
    """The lock of the single writer, held by a transaction on a connection of its own, which does nothing else.

    A pooler leaves a transaction its server, but not a session. The lock falls with the process; where only the
    connection fell, `keep` takes it anew. Should another run have been quicker, this one's next transaction ends it.
    """

    def __init__(self, engine: Engine, run_id: int, silent_seconds: float) -> None:
        self._engine, self._run_id, self._silent_seconds = engine, run_id, silent_seconds
        self._connection: Connection | None = None
        self._is_held = False  # as far as we are concerned
        self._using = threading.Lock()  # the connection: the heart beats in a thread of its own

    def wait(self) -> None:
        """Return when the lock is ours."""
        while not self._is_held:
            with self._using:
                self._is_held = self._take()
            if not self._is_held:
                time.sleep(POLL_SECONDS)

    def keep(self) -> None:
        """Use the connection, lest it is closed for idling, and take the lock anew where it fell."""
        with self._using:
            if not self._is_held:
                return
            try:
                if self._connection is None:
                    self._take()
                else:
                    self._connection.execute(text("SELECT 1"))
            except SQLAlchemyError:
                self._let_go()
                raise

    def close(self) -> None:
        """Let the next run have it."""
        with self._using:
            self._is_held = False
            self._let_go()

    def _take(self) -> bool:
        self._connection = self._engine.connect()
        is_ours = False
        try:
            is_ours = training_runs.take_turn(self._connection, self._run_id, self._silent_seconds)
            return is_ours
        finally:
            if not is_ours:
                self._let_go()

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            connection.rollback()
        except SQLAlchemyError:
            connection.invalidate()
        connection.close()
