"""A replica answers what is only read, as long as it has all that the database itself has acknowledged."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

import psycopg2
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, NotSupportedError, ProgrammingError
from sqlalchemy.orm import Session

from app.core.db import timeouts

T = TypeVar("T")
logger = logging.getLogger("smartstudy")
PATIENCE_SECONDS = 0.1  # that a page waits for a replica that is behind; in a data centre it is so by a millisecond
SNAPSHOT_PATIENCE_SECONDS = 10.0  # the same of a training
POLL_SECONDS = 0.005
BEHIND_SECONDS, AWAY_SECONDS = 1.0, 10.0  # until one that was behind, or did not answer, is asked again
# It ended, or gave up what was in the way of what it replays; of a COPY they come as psycopg2's own.
GAVE_UP = (DBAPIError, psycopg2.Error)
# Which database it is, and how far it has come: what was acknowledged stands before that place.
# A standby that was promoted goes on by a timeline of its own, and so does what follows it.
PLACE = """
    SELECT pg_current_wal_flush_lsn() AS place, (SELECT system_identifier FROM pg_control_system()) AS cluster,
        CAST(CAST('x' || left(pg_walfile_name(pg_current_wal_flush_lsn()), 8) AS bit(32)) AS int) AS timeline"""
REPLAYED = """
    SELECT pg_is_in_recovery() AND (SELECT system_identifier FROM pg_control_system()) = :cluster AS follows,
        pg_last_wal_replay_lsn() >= CAST(:place AS pg_lsn) AS has_come,
        coalesce((SELECT received_tli FROM pg_stat_wal_receiver),  -- of those who may read it
                 greatest((SELECT timeline_id FROM pg_control_checkpoint()),
                          (SELECT min_recovery_end_timeline FROM pg_control_recovery()))) AS timeline"""


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
        with ExitStack() as stack:
            replica = self._lent(db, patience, stack)
            try:
                yield replica or db
            except GAVE_UP as why:
                if replica is not None:  # asked again, the database itself answers
                    self._leave(self._reason(why))
                raise

    def ask(self, db: Session, question: Callable[[Session], T], patience: float = PATIENCE_SECONDS) -> T:
        """Ask the replica; where it gives that up, such as for a conflict with what it replays, the database itself."""
        asked = db
        try:
            with self.instead_of(db, patience) as asked:
                return question(asked)
        except GAVE_UP:
            if asked is db:
                raise
        return question(db)

    def at_once(self, db: Session, question: Callable[[Session], T]) -> T:
        """Ask the same in one snapshot."""
        return self.ask(db, lambda session: at_once(session, question), SNAPSHOT_PATIENCE_SECONDS)

    def _lent(self, db: Session, patience: float, stack: ExitStack) -> Session | None:
        """Return a session of the replica if that has come as far as the database."""
        if time.monotonic() < self._again:
            return None
        try:
            place = dict(db.execute(text(PLACE)).mappings().one())
        except (NotSupportedError, ProgrammingError) as why:  # a hosted database may keep this to itself
            db.rollback()
            self._leave(self._reason(why))
            return None
        db.commit()
        try:
            with timeouts.watch.at_most(timeouts.STATEMENT_SECONDS):
                # What has been asked how far it is answers, too: the address may name several.
                replica = stack.enter_context(Session(stack.enter_context(self._engine.connect())))
                has_come = self._has_come(place, replica, patience)
        except (DBAPIError, NotAReplica) as why:
            self._leave(self._reason(why))
            return None
        if not has_come:
            self._again = time.monotonic() + BEHIND_SECONDS
            return None
        if self.problem is not None:
            logger.warning("The replica is back.")
        self.problem = None
        return replica

    def _has_come(self, place: dict[str, object], replica: Session, patience: float) -> bool:
        until = time.monotonic() + patience
        while not self._is_at(place, replica):
            if time.monotonic() >= until:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def _is_at(self, place: dict[str, object], replica: Session) -> bool:
        found = replica.execute(text(REPLAYED), place).one()
        replica.rollback()  # what is read afterwards is of a moment after that
        if not found.follows:
            raise NotAReplica("it is no standby of the database that DATABASE_URL names")
        if found.has_come and found.timeline != place["timeline"]:
            raise NotAReplica(
                f"it is on timeline {found.timeline}, and the database that DATABASE_URL names on {place['timeline']}: "
                "another one was promoted, or it has yet to note that this one was (within its checkpoint_timeout)"
            )
        return bool(found.has_come)

    def _leave(self, why: str) -> None:
        if self.problem is None:
            logger.warning("The replica (DATABASE_READ_URL) does not answer, and the database itself does: %s", why)
        self.problem = f"The replica (DATABASE_READ_URL) does not answer, and the database itself does: {why}"
        self._again = time.monotonic() + AWAY_SECONDS
