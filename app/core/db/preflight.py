"""What has to be true of the surroundings before anything is served: asked at the start and by /readyz.

A fault keeps the service from working; a warning is told and the service goes on.
"""

import asyncio
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy import Connection, Engine, text

from app.core.db import addresses, timeouts

OLDEST_SERVER = 14  # PostgreSQL's major version; older ones get no more fixes
FULL_BYTES, SCARCE_BYTES = 20 << 20, 500 << 20  # free on a disk
CLOCK_SECONDS = 30.0  # that the database's clock may differ from ours
SERVER = """SELECT current_setting('server_encoding'), current_setting('server_version_num')::int,
                   extract(epoch FROM clock_timestamp())::float8, pg_is_in_recovery(),
                   current_setting('transaction_read_only')::boolean"""
# A new file of one page: an update might find room where a task finds none.
WRITE = "TRUNCATE write_checks", "INSERT INTO write_checks DEFAULT VALUES"


class UnfitSurroundings(RuntimeError):
    """The service can't work here; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Server:
    """A database server as one of the drivers sees it."""

    encoding: str
    version: int  # such as 180003
    now: float  # its clock, seconds since 1970
    is_standby: bool
    is_read_only: bool


def of_server(connection: Connection) -> Server:
    """Ask through psycopg2."""
    return Server(*connection.execute(text(SERVER)).one())


def of_server_by_asyncpg(url: str) -> Server:
    """Ask through asyncpg, which reads the address by rules of its own."""

    async def ask() -> Any:
        connection = await asyncpg.connect(
            addresses.for_asyncpg(url), timeout=timeouts.CONNECT_SECONDS, statement_cache_size=0
        )
        try:
            async with connection.transaction():
                return await connection.fetchrow(SERVER, timeout=timeouts.STATEMENT_SECONDS)
        finally:
            connection.terminate()

    return Server(*asyncio.run(ask()))


def faults(server: Server) -> Iterator[str]:
    """Say why no service can work on this server, a sentence each."""
    if server.encoding != "UTF8":
        yield (
            f"The database's encoding is {server.encoding}, which can't hold every alphabet: create it anew with "
            "CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0."
        )
    if server.version < OLDEST_SERVER * 10_000:
        yield f"The database is PostgreSQL {server.version // 10_000}; SmartStudy needs {OLDEST_SERVER} or newer."
    if server.is_standby:
        yield "The database is a standby, which can only be read: DATABASE_URL has to name the primary."
    elif server.is_read_only:
        yield "The database can only be read (default_transaction_read_only is on): let it be written to."


def warnings(server: Server) -> Iterator[str]:
    """Say what is wrong though the service works."""
    apart = server.now - time.time()
    if abs(apart) > CLOCK_SECONDS:
        way = "ahead of" if apart > 0 else "behind"
        yield f"The database's clock is {abs(apart):,.0f} s {way} this machine's: set both by NTP."


def check(engine: Engine, url: str) -> list[str]:
    """Return warnings about the server, as both drivers reach it.

    Raises:
        UnfitSurroundings: with a sentence for each fault.
        DBAPIError, asyncpg.PostgresError, OSError: the database does not answer one of the drivers.
    """
    with engine.connect() as connection:
        servers = [of_server(connection), of_server_by_asyncpg(url)]
    if found := dict.fromkeys(fault for server in servers for fault in faults(server)):
        raise UnfitSurroundings(" ".join(found))
    return list(dict.fromkeys(warning for server in servers for warning in warnings(server)))


def check_write(connection: Connection) -> None:
    """Commit a row. Raises DBAPIError where a full disk, or a database that can only be read, does not allow it."""
    connection.execute(text("SET LOCAL lock_timeout = '500ms'"))
    connection.execute(text("SET LOCAL statement_timeout = '1s'"))
    for statement in WRITE:
        connection.execute(text(statement))
    connection.commit()


def disk(folders: Mapping[str, Path]) -> tuple[list[str], list[str]]:
    """Return faults and warnings about the free room in folders, by the name of the setting that names each."""
    full, scarce = list[str](), list[str]()
    for setting, folder in folders.items():
        try:
            free = shutil.disk_usage(_existing(folder)).free
        except OSError as why:
            full.append(f"{setting} ({folder}) can't be reached: {why.strerror}.")
            continue
        if free < SCARCE_BYTES:
            said = f"{setting} ({folder}) has {free / 2**20:,.0f} MB of free disk left: make room."
            (full if free < FULL_BYTES else scarce).append(said)
    return full, scarce


def _existing(folder: Path) -> Path:
    """Return the folder, or the nearest above it that is there already."""
    return next(each for each in (folder, *folder.parents) if each.exists())
