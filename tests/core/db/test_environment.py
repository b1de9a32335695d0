"""Variables of the shell change nothing for an address that was given or embedded."""

import os
import subprocess
import sys

import pytest

from app.core.db import environment

# The right value of each: no change. From a shell that is used for other databases too.
SHELL = {
    "PGPORT": "5433",
    "PGHOST": "127.0.0.1",
    "PGUSER": "nobody",
    "PGDATABASE": "shop",
    "PGSERVICE": "shop",
    "PGOPTIONS": "-c search_path=elsewhere",
    "PGTARGETSESSIONATTRS": "standby",
    "PGREQUIREAUTH": "none",
    "PGCHANNELBINDING": "require",
    "PGGSSENCMODE": "require",
    "PGSSLMODE": "verify-full",
    "PGCLIENTENCODING": "LATIN1",
    "PGTZ": "Pacific/Auckland",
    "PGAPPNAME": "shop",
    "PGDATA": "/nowhere",
}
BOTH_DRIVERS = """
import asyncio
from sqlalchemy import text
from app.core import database
from app.core.settings import settings

SAID = " || ' ' || ".join(f"current_setting('{name}')" for name in ("search_path", "client_encoding", "TimeZone"))
WHERE = f"SELECT current_database() || ' ' || {SAID}"

async def through_asyncpg():
    async with database.AsyncDatabase().acquire() as connection:
        return await connection.fetchval(WHERE)

with database.engine().connect() as connection:
    print(connection.scalar(text(WHERE)))
print(asyncio.run(through_asyncpg()))
"""


def where(url: str, shell: dict[str, str]) -> list[str]:
    """What a process of its own, started in such a shell, is connected to: through psycopg2 and asyncpg."""
    env = {**os.environ, "DATABASE_URL": url, **shell}
    ran = subprocess.run([sys.executable, "-c", BOTH_DRIVERS], env=env, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


def test_the_shell_of_another_database_changes_nothing(database_url: str) -> None:
    plain = where(database_url, {})
    assert len(plain) == 2
    assert where(database_url, SHELL) == plain


def test_what_is_ignored_is_said_and_what_completes_an_address_stays(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PGPORT", "5433")
    monkeypatch.setenv("PGPASSWORD", "secret")
    environment.forget()
    assert "PGPORT" not in os.environ
    assert os.environ["PGPASSWORD"] == "secret"
    assert "PGPORT" in caplog.text
    assert "secret" not in caplog.text
