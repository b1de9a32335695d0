"""A PostgreSQL and a standby that streams from it, both on unix sockets."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg2

from app.core.db import embedded_postgres
from app.core.db.embedded_postgres import NAME, EmbeddedPostgresError


@dataclass(frozen=True)
class Standby:
    """A database, and what streams from it."""

    folder: Path  # of the standby
    url: str  # of the primary
    read_url: str

    def set(self, name: str, value: str, *, running: bool = True) -> None:
        """Change a setting of the standby, which takes it up at once."""
        cluster = embedded_postgres._find(self.folder)
        assert cluster
        with (cluster.folder / "postgresql.auto.conf").open("a") as file:
            file.write(f"{name} = '{value}'\n")
        if running:
            embedded_postgres._pg_ctl(cluster, "reload")

    def kill(self) -> None:
        cluster = embedded_postgres._find(self.folder)
        assert cluster
        embedded_postgres._pg_ctl(cluster, "stop", "-m", "immediate")

    def promote(self) -> None:
        cluster = embedded_postgres._find(self.folder)
        assert cluster
        embedded_postgres._pg_ctl(cluster, "promote", "-w")

    def start(self) -> None:
        embedded_postgres.start(self.folder)

    @contextmanager
    def twin(self) -> Iterator[str]:
        """Yield the address of another standby of the same database."""
        folder = self.folder.with_name("third")
        embedded_postgres.stop(self.folder)
        subprocess.run(["cp", "-a", str(self.folder), str(folder)], check=True)  # noqa: S607
        self.start()
        try:
            yield embedded_postgres.start(folder)
        finally:
            with suppress(EmbeddedPostgresError):
                embedded_postgres.stop(folder)


@contextmanager
def streaming(top: Path) -> Iterator[Standby]:
    """A new primary and its standby, below a folder that PostgreSQL's account may enter."""
    first, second = top / "first", top / "second"
    embedded_postgres.start(first)
    embedded_postgres.stop(first)
    cluster = embedded_postgres._find(first)
    assert cluster
    replicates = f"ALTER ROLE {NAME} REPLICATION\n"
    embedded_postgres._run(cluster, "postgres", "--single", "-c", "exit_on_error=on", "postgres", stdin=replicates)
    with (cluster.folder / "pg_hba.conf").open("a") as file:
        file.write(f"local replication {NAME} scram-sha-256\n")
    second.mkdir(mode=0o711)
    subprocess.run(["cp", "-a", str(cluster.folder), str(second / "postgres")], check=True)  # noqa: S607
    shutil.copy(first / "postgres.password", second)
    url = embedded_postgres.start(first)
    at = psycopg2.extensions.parse_dsn(url)
    from_ = f"host={at['host']} user={at['user']} password={at['password']}"
    with (second / "postgres" / "postgresql.auto.conf").open("a") as file:
        file.write(f"primary_conninfo = '{from_}'\n")
    (second / "postgres" / "standby.signal").touch()
    shutil.chown(second / "postgres" / "standby.signal", cluster.folder.owner(), cluster.folder.group())
    try:
        yield Standby(second, url, embedded_postgres.start(second))
    finally:
        for folder in (second, first):
            with suppress(EmbeddedPostgresError):
                embedded_postgres.stop(folder)
