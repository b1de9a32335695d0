"""The way to PostgreSQL: psycopg2 through SQLAlchemy for everything, asyncpg for the hot routes."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from functools import lru_cache
from typing import Any, TypeVar

import asyncpg
import psycopg2
from sqlalchemy import Dialect, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session, sessionmaker

from app.core.db import addresses, embedded_postgres, migrations, timeouts
from app.core.db import replica as replicas
from app.core.db.batching import Batcher
from app.core.db.statements import BatchedStatement, Rows, Statement
from app.core.settings import settings

T = TypeVar("T")
RESTART_SECONDS = 3.0  # that a pooler may take to be back
AGAIN_SECONDS = 0.1  # between two tries
LOST = (
    *(ConnectionError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.InternalClientError),
    *(asyncpg.AdminShutdownError, asyncpg.CannotConnectNowError),
)


@lru_cache
def database_url() -> str:
    """Return the URL of the database; the embedded one is started where DATABASE_URL names no other."""
    given = settings().database_url
    if given is None:
        return embedded_postgres.start(settings().data_dir)
    return addresses.with_socket(f"postgresql://{given.get_secret_value().split('://', 1)[1]}")


def is_embedded() -> bool:
    return settings().database_url is None


def engine_for(url: str, patience: Callable[[], float] = lambda: 0.0) -> Engine:
    """SQLAlchemy takes a bare postgresql:// for psycopg 3; ours is psycopg2.

    A new connection that is refused is tried for again for so many seconds.
    """
    given = make_url(url).query  # has the last word
    made = create_engine(
        url.replace("postgresql://", "postgresql+psycopg2://", 1),
        pool_pre_ping=True,
        hide_parameters=True,  # values may be secret, and errors are logged
        pool_timeout=timeouts.STATEMENT_SECONDS,
        connect_args={name: value for name, value in timeouts.CONNECT.items() if name not in given},
    )

    @event.listens_for(made, "do_connect")
    def connect(dialect: Dialect, _: object, arguments: list[Any], options: dict[str, Any]) -> Any:
        until = time.monotonic() + patience()
        while True:
            try:
                return dialect.connect(*arguments, **options)
            except psycopg2.OperationalError:
                if time.monotonic() >= until:
                    raise
                time.sleep(AGAIN_SECONDS)

    return made


def without_password(said: str) -> str:
    """Remove the passwords of DATABASE_URL and DATABASE_READ_URL from what a database or its driver said."""
    for url in (settings().database_url, settings().database_read_url):
        password = make_url(url.get_secret_value()).password if url else None
        said = said.replace(str(password), "***") if password else said
    return said


@lru_cache
def is_pooled() -> bool:
    """Whether a pooler hands our transactions to servers of its choice: who greeted us is not who answers.

    Nothing of a session may be counted on then: no prepared statement, no setting, no lock outlives a transaction.
    """
    with engine().connect() as connection:
        greeted: int = connection.connection.driver_connection.info.backend_pid  # type: ignore[union-attr]
        return bool(greeted != connection.scalar(text("SELECT pg_backend_pid()")))


def restart_seconds() -> float:
    """How long to wait for a database that was lost: as long as a pooler needs, if one is known to be there."""
    return RESTART_SECONDS if is_pooled.cache_info().currsize and is_pooled() else 0.0


def keep_up() -> bool:
    """Restart an embedded database that ended under us; True if it had to be."""
    return is_embedded() and embedded_postgres.revive(settings().data_dir)


@lru_cache
def engine() -> Engine:
    """Return the engine of this process; an embedded database is migrated first."""
    made = engine_for(database_url(), restart_seconds)
    if is_embedded():
        migrations.ensure_current(made)
    return made


@lru_cache
def replica() -> replicas.Replica | None:
    """Return the replica that DATABASE_READ_URL names, if it names one."""
    given = settings().database_read_url
    if given is None:
        return None
    url = addresses.with_socket(f"postgresql://{given.get_secret_value().split('://', 1)[1]}")
    return replicas.Replica(engine_for(url), _said)


def _said(why: BaseException) -> str:
    said = str(getattr(why, "orig", None) or why)
    return without_password(" ".join(said.split()))


def reading(db: Session) -> AbstractContextManager[Session]:
    """Lend a session to read with, the replica's or else this one, which holds no connection meanwhile."""
    found = replica()
    return found.instead_of(db) if found else nullcontext(db)


def asked_to_read(question: Callable[[Session], T]) -> T:
    """Ask the same where there is no session yet; where the replica gives it up, the database itself."""
    with new_session()() as db:
        return found.ask(db, question) if (found := replica()) else question(db)


def at_once(engine: Engine, ask: Callable[[Session], T]) -> T:
    """Ask in one snapshot, of the replica where there is one that knows all that the database does."""
    with Session(engine) as db:
        return found.at_once(db, ask) if (found := replica()) else replicas.at_once(db, ask)


def read_again_seconds() -> float:
    """How long a GET whose connection was lost may be tried again: by another server, where there is one."""
    return RESTART_SECONDS if replica() else restart_seconds()


def connections() -> tuple[int, int]:
    """Count the connections of psycopg2 in use and idle."""
    if not engine.cache_info().currsize:
        return 0, 0
    pool: Any = engine().pool
    return pool.checkedout(), pool.checkedin()


@lru_cache
def new_session() -> sessionmaker[Session]:
    return sessionmaker(engine(), expire_on_commit=False)


def get_db() -> Iterator[Session]:
    """Give a request its transaction, which is committed before the answer leaves.

    It may commit before: a request that works for long without the database holds no connection meanwhile.
    """
    with new_session()() as session:
        yield session
        session.commit()


class AsyncConnection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg has no types
    """A connection that returns to the pool without a round trip: our statements leave nothing behind in the session.

    A transaction that was left open is rolled back by asyncpg itself.
    """

    def get_reset_query(self) -> str:
        return ""


class AsyncDatabase:
    """A pool of asyncpg connections that opens when it is first needed."""

    def __init__(self, size: int = 10) -> None:
        self._size = size
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()
        self.is_pooled = False
        self._batchers: dict[BatchedStatement, Batcher] = {}

    async def pool(self) -> asyncpg.Pool:
        """Return the pool; it begins without connections, so it can be made while the database is away."""
        async with self._opening:
            if self._pool is None:
                self.is_pooled = await asyncio.to_thread(is_pooled)
                self._pool = await asyncpg.create_pool(
                    addresses.for_asyncpg(database_url()),
                    **({"statement_cache_size": 0} if self.is_pooled else {}),
                    min_size=0,
                    max_size=self._size,
                    timeout=timeouts.CONNECT_SECONDS,
                    command_timeout=timeouts.STATEMENT_SECONDS,
                    connection_class=AsyncConnection,
                    init=timeouts.keep_alive,
                )
        return self._pool

    async def close(self) -> None:
        if self._pool is not None:
            self._pool.terminate()
            self._pool = None

    def connections(self) -> tuple[int, int]:
        """Count the connections in use and idle."""
        if self._pool is None:
            return 0, 0
        idle = self._pool.get_idle_size()
        return self._pool.get_size() - idle, idle

    async def rows(self, statement: Statement, values: Mapping[str, object]) -> Rows:
        """Return all rows of a statement, which commits by itself or with its batch.

        Where a pooler lost it, most likely because it was started anew, the statement is sent again: what it stores has
        an id already, so it is stored once.
        """
        until = 0.0
        while True:
            try:
                return await self._rows(statement, values)
            except LOST:
                until = until or time.monotonic() + RESTART_SECONDS
                if not self.is_pooled or time.monotonic() >= until:
                    raise
                await asyncio.sleep(AGAIN_SECONDS)

    async def _rows(self, statement: Statement, values: Mapping[str, object]) -> Rows:
        if isinstance(statement, BatchedStatement):
            if statement not in self._batchers:
                self._batchers[statement] = Batcher(statement, self.acquire)
            return [await self._batchers[statement].row(values)]
        async with self.acquire() as connection:
            return await statement.rows(connection, values)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["Transaction"]:
        """Lend a database whose statements hold together: committed when the `with` ends well, else undone."""
        async with self.acquire() as connection, connection.transaction():
            yield Transaction(connection)

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Any]:
        """Lend a connection for the length of a `with`; one that no longer answers is closed.

        Behind a pooler that is one transaction: asyncpg prepares a statement and executes it in two steps, and between
        them the pooler would lend the server to somebody else.
        """
        pool = self._pool or await self.pool()
        try:
            connection = await pool.acquire(timeout=timeouts.CONNECT_SECONDS)
        except TimeoutError:
            raise
        except OSError as why:  # no such host, no such socket, several addresses that all refuse
            raise ConnectionError(str(why)) from why
        try:
            async with connection.transaction() if self.is_pooled else nullcontext():
                yield connection
        except (TimeoutError, asyncpg.InternalClientError):
            connection.terminate()
            await pool.expire_connections()  # the others have most likely died with it
            raise
        finally:
            await pool.release(connection)


class Transaction:
    """One transaction of the asynchronous door."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def rows(self, statement: Statement, values: Mapping[str, object]) -> Rows:
        """Return all rows of a statement."""
        return await statement.rows(self._connection, values)
