"""A replica answers what is only read, as long as it has all that the database itself has acknowledged."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, NotSupportedError, ProgrammingError
from sqlalchemy.orm import Session

T = TypeVar("T")
logger = logging.getLogger("smartstudy")
PATIENCE_SECONDS = 0.1  # that a page waits for a replica that is behind; in a data centre it is so by a millisecond
SNAPSHOT_PATIENCE_SECONDS = 10.0  # the same of a training
POLL_SECONDS = 0.005
BEHIND_SECONDS, AWAY_SECONDS = 1.0, 10.0  # until one that was behind, or did not answer, is asked again
# Which database it is, and how far it has come: what was acknowledged stands before that place.
PLACE = "SELECT pg_current_wal_flush_lsn() AS place, (SELECT system_identifier FROM pg_control_system()) AS cluster"
REPLAYED = """
    SELECT pg_is_in_recovery() AND (SELECT system_identifier FROM pg_control_system()) = :cluster AS follows,
        pg_last_wal_replay_lsn() >= CAST(:place AS pg_lsn) AS has_come"""


def at_once(db: Session, ask: Callable[[Session], T]) -> T:
    """Ask in one snapshot: all of it is of the same moment."""
    db.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
    found = ask(db)
    db.rollback()
    return found


class NotAReplica(Exception):
    """It is no standby of the database, such as one that was made a database of its own."""


class Replica:
    """The standby that DATABASE_READ_URL names. Where it can't answer, the database itself does, and the log says so
    once."""

    def __init__(self, engine: Engine, reason: Callable[[BaseException], str]) -> None:
        self._engine, self._reason = engine, reason
        self._again = 0.0  # when it is asked again
        self.problem: str | None = None  # in a sentence, while there is one

    @contextmanager
    def instead_of(self, db: Session, patience: float = PATIENCE_SECONDS) -> Iterator[Session]:
        """Lend a session that reads from the replica, or else this one; which is committed, and holds no connection
        meanwhile."""
        with Session(self._engine) as replica:
            yield replica if self._has_come(db, replica, patience) else db

    def at_once(self, db: Session, ask: Callable[[Session], T]) -> T:
        """Ask in one snapshot of the replica; where that fails, such as by a conflict with what it replays, in one of
        the database itself."""
        with self.instead_of(db, SNAPSHOT_PATIENCE_SECONDS) as session:
            if session is not db:
                try:
                    return at_once(session, ask)
                except DBAPIError as why:
                    self._leave(self._reason(why))
        return at_once(db, ask)

    def _has_come(self, db: Session, replica: Session, patience: float) -> bool:
        if time.monotonic() < self._again:
            return False
        try:
            place = dict(db.execute(text(PLACE)).mappings().one())
        except (NotSupportedError, ProgrammingError) as why:  # a hosted database may keep this to itself
            db.rollback()
            self._leave(self._reason(why))
            return False
        db.commit()
        until = time.monotonic() + patience
        try:
            while not self._is_at(place, replica):
                if time.monotonic() >= until:
                    self._again = time.monotonic() + BEHIND_SECONDS
                    return False
                time.sleep(POLL_SECONDS)
        except (DBAPIError, NotAReplica) as why:
            replica.rollback()
            self._leave(self._reason(why))
            return False
        if self.problem is not None:
            logger.warning("The replica is back.")
        self.problem = None
        return True

    def _is_at(self, place: dict[str, object], replica: Session) -> bool:
        found = replica.execute(text(REPLAYED), place).one()
        replica.rollback()  # what is read afterwards is of a moment after that
        if not found.follows:
            raise NotAReplica("it is no standby of the database that DATABASE_URL names")
        return bool(found.has_come)

    def _leave(self, why: str) -> None:
        if self.problem is None:
            logger.warning("The replica (DATABASE_READ_URL) does not answer, and the database itself does: %s", why)
        self.problem = f"The replica (DATABASE_READ_URL) does not answer, and the database itself does: {why}"
        self._again = time.monotonic() + AWAY_SECONDS
