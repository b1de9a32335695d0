"""Web processes on one database that outlives them."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg2

from app.core.database import engine_for
from app.core.db import embedded_postgres, migrations
from app.domain.attempts import Attempts
from app.ml.evaluation.simulated import school, simulate
from app.ml.serving.version_store import VersionStore
from benchmarks.service import Service, ended, wait_until_ready
from faults import invariants

LATEST = 300.0  # seconds for what has to happen


class Deployment:
    """A database, a folder and the web processes that were started on them."""

    def __init__(self, folder: Path, url: str, **environment: str) -> None:
        self.folder, self.url = folder, url
        self.environment = {"DATABASE_URL": url, **environment}
        self.services: list[Service] = []
        self.key = ""
        self.world = simulate(school(20, seed=3), 30, seed=3).attempts

    @property
    def model_dir(self) -> Path:
        return self.folder / "models"

    def start(self, port: int | None = None) -> Service:
        """One more web process, ready."""
        service = Service(self.folder, port, **self.environment)
        self.services.append(service)
        with service.client() as client:
            wait_until_ready(client, service.process)
        return service

    def furnish(self, tasks: int = 60) -> None:
        """Finished tasks and a key, through a service that runs."""
        first = self.services[0]
        first.add(part(self.world, tasks))
        self.key = first.key()

    def ask(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        connection = psycopg2.connect(self.url)
        try:
            cursor = connection.cursor()
            cursor.execute(statement, values)
            found: list[tuple[Any, ...]] = cursor.fetchall()
            return found
        finally:
            connection.close()

    def one(self, statement: str, *values: Any) -> Any:
        return self.ask(statement, *values)[0][0]

    def broken(self, *, settled: bool = False) -> list[str]:
        return invariants.broken(self.url, VersionStore(self.model_dir), settled=settled)

    def close(self) -> None:
        for service in self.services:
            if service.process.poll() is None:
                ended(service.process)


@contextmanager
def deployment(**environment: str) -> Iterator[Deployment]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="faults-"))).resolve()
        folder.chmod(0o711)  # root's PostgreSQL runs as another account
        url = embedded_postgres.start(folder / "server")
        stack.callback(embedded_postgres.stop, folder / "server")
        engine = engine_for(url)
        migrations.migrate(engine)
        engine.dispose()
        made = Deployment(folder, url, **environment)
        stack.callback(made.close)
        yield made


def part(world: Attempts, n: int) -> Attempts:
    """The first n attempts."""
    return world.take(slice(0, n))


def until(condition: Callable[[], Any], what: str, seconds: float = LATEST) -> Any:
    """Wait for it; what it was. Raises TimeoutError, saying what did not happen."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise TimeoutError(f"{what} did not happen within {seconds:g} s")
