"""The way to PostgreSQL: a synchronous door for everything, an asynchronous one for the two hot routes."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from functools import lru_cache
from typing import Any

import asyncpg
from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import Session, sessionmaker

from app.core.db import embedded_postgres, timeouts
from app.core.db.batching import Batcher
from app.core.db.statements import BatchedStatement, Rows, Statement
from app.core.settings import settings


@lru_cache
def database_url() -> str:
    """Where the database is, as libpq writes it; starts the embedded one where no DATABASE_URL names another."""
    given = settings().database_url
    if given is None:
        return embedded_postgres.start(settings().data_dir)
    scheme, rest = given.get_secret_value().split("://", 1)
    return f"postgresql://{rest}" if scheme else rest


def is_embedded() -> bool:
    return settings().database_url is None


def engine_for(url: str) -> Engine:
    """SQLAlchemy takes a bare postgresql:// for psycopg 3; ours is psycopg2. Errors are logged: no values in them."""
    return create_engine(
        url.replace("postgresql://", "postgresql+psycopg2://", 1),
        pool_pre_ping=True,
        hide_parameters=True,  # values may be secret, and errors are logged
        pool_timeout=timeouts.STATEMENT_SECONDS,
        connect_args=_connect_args(url),
    )


def _connect_args(url: str) -> dict[str, Any]:
    """Ours, unless the URL itself says otherwise."""
    given = make_url(url).query
    return {name: value for name, value in timeouts.CONNECT.items() if name not in given}


def without_password(said: str) -> str:
    """What the database or its driver said, fit for a log."""
    url = settings().database_url
    with suppress(ArgumentError):
        password = make_url(url.get_secret_value()).password if url else None
        return said.replace(str(password), "***") if password else said
    return "DATABASE_URL can't be read: postgresql://user:password@host/database"


def keep_up() -> bool:
    """Start an embedded database again that ended under us; True if it had to be."""
    return is_embedded() and embedded_postgres.revive(settings().data_dir)


@lru_cache
def engine() -> Engine:
    """The engine of this process; an embedded database is brought up to date first."""
    made = engine_for(database_url())
    if is_embedded():
        from app.core.db import (
            migrations as schema,  # here, for Alembic has no business in the import of the web process
        )

        schema.ensure_current(made)
    return made


def connections() -> tuple[int, int]:
    """Of the synchronous door: at work, and waiting for work."""
    if not engine.cache_info().currsize:
        return 0, 0
    pool: Any = engine().pool
    return pool.checkedout(), pool.checkedin()


@lru_cache
def new_session() -> sessionmaker[Session]:
    return sessionmaker(engine(), expire_on_commit=False)


def get_db() -> Iterator[Session]:
    """One request, one transaction, committed before the answer leaves."""
    with new_session().begin() as session:
        yield session


class Connection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg has no types
    """Goes back to the pool without a round trip: no statement of ours leaves anything behind in the session.

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
        self._together: dict[BatchedStatement, Batcher] = {}

    async def pool(self) -> asyncpg.Pool:
        """The pool; it has no connections to begin with, so it can be made while the database is away."""
        if self._pool is None:
            await self.open()
        return self._pool

    async def open(self) -> None:
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    await asyncio.to_thread(database_url),
                    min_size=0,
                    max_size=self._size,
                    timeout=timeouts.CONNECT_SECONDS,
                    command_timeout=timeouts.STATEMENT_SECONDS,
                    connection_class=Connection,
                    init=_keep_alive,
                )

    async def close(self) -> None:
        if self._pool is not None:
            self._pool.terminate()
            self._pool = None

    async def ping(self) -> None:
        """Raise, as any statement would, unless the database answers."""
        async with self.acquire() as connection:
            await connection.fetchval("SELECT 1")

    def connections(self) -> tuple[int, int]:
        """At work, and waiting for work."""
        if self._pool is None:
            return 0, 0
        idle = self._pool.get_idle_size()
        return self._pool.get_size() - idle, idle

    async def rows(self, statement: Statement, values: Mapping[str, object]) -> Rows:
        """All rows of a statement, each in a transaction of its own or of its batch; committed."""
        if isinstance(statement, BatchedStatement):
            return [await self._together_for(statement).row(values)]
        async with self.acquire() as connection:
            return await statement.rows(connection, values)

    def _together_for(self, statement: BatchedStatement) -> Batcher:
        if statement not in self._together:
            self._together[statement] = Batcher(statement, self.acquire)
        return self._together[statement]

    def acquire(self) -> AbstractAsyncContextManager[Any]:
        """A connection for the length of a `with`."""
        return Acquired(self)


class Acquired:
    """A connection of the pool, for the length of a `with`. One that no longer answers is not waited for."""

    def __init__(self, database: AsyncDatabase) -> None:
        self._database = database

    async def __aenter__(self) -> Any:
        self._pool = await self._database.pool()
        try:
            self._connection = await self._pool.acquire(timeout=timeouts.CONNECT_SECONDS)
        except TimeoutError:
            raise
        except OSError as why:  # no such host, no such socket, several addresses that all refuse
            raise ConnectionError(str(why)) from why
        return self._connection

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, (TimeoutError, asyncpg.InternalClientError)):
            self._connection.terminate()
            await self._pool.expire_connections()  # the others have most likely died with it
        await self._pool.release(self._connection)


async def _keep_alive(connection: Any) -> None:
    timeouts.keep_alive(connection._transport)
