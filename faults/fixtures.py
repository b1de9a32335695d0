"""Where faults happen: one database server, worlds to start from, and a copy of one for each case."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import psycopg2

from app.core import database, security, settings
from app.core.db import embedded_postgres, migrations
from app.domain.attempts import DIFFICULTIES, Attempts
from app.domain.interactions import Interaction, student_uuid, uuid5
from app.ml.evaluation.simulated import school, simulate
from app.ml.registry import BY_NAME
from app.ml.serving import model_order, version_store
from app.ml.serving.version_store import VersionStore
from app.ml.training import dataset, scheduler
from app.ml.training.worker import TrainingDied, TrainingProcess
from faults import child_process

connect = psycopg2.connect
STRAGGLERS = """SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
                WHERE datname = '{name}' AND usename = user"""  # an autovacuum worker is not ours to end
TASKS = 60  # finished before
MORE = 5  # and finished since the last training
CACHED: tuple[Any, ...] = (
    settings.settings,
    database.database_url,
    database.engine,
    database.new_session,
    security._signing_key,
    model_order.serving_models,
    version_store.version_store,
    scheduler.trainer,
)


@dataclass(frozen=True, slots=True)
class World:
    """A database and what lies beside it."""

    url: str
    folder: Path
    kinds: tuple[str, ...]  # that are trained
    key: str = ""  # of a school
    has_store: bool = False  # versions lie elsewhere for good, and MODEL_DIR holds what was fetched

    @property
    def model_dir(self) -> Path:
        return self.folder / "models"

    @property
    def store(self) -> VersionStore:
        return VersionStore(self.model_dir, (self.folder / "store").as_uri() if self.has_store else "")

    def enter(self, **more: str) -> None:
        """This process belongs to this world from now on."""
        given = {"DATABASE_URL": self.url, "MODEL_DIR": str(self.model_dir), "DATA_DIR": str(self.folder / "data")}
        given["MODEL_URL"] = self.store.url
        os.environ.update({"KEEP_VERSIONS": "2", "TRAINING_TIMEOUT_SECONDS": "60"} | given | more)
        os.chdir(self.folder)  # no .env of the developer's
        for cached in CACHED:
            cached.cache_clear()


class Worlds:
    """The server, and the worlds that cases start from: `fresh` has tasks, `trained` versions and new tasks, too."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[tuple[str, int, str], World] = {}
        embedded_postgres.SETTINGS["fsync"] = "off"  # no power cut here: twice as many faults a minute
        self._server = embedded_postgres.start(folder / "server")
        self._sql("CREATE DATABASE plain")
        engine = database.engine_for(self._named("plain"))
        migrations.migrate(engine)
        engine.dispose()

    def close(self) -> None:
        embedded_postgres.stop(self._folder / "server")

    def like(self, start: str, seed: int, kinds: str) -> World:
        """The world to start from, made where it is the first time."""
        wanted = (start, seed, kinds)
        if wanted not in self._made:
            name = f"{start}_{seed}_{kinds.replace(',', '_')}"
            folder = self._folder / name
            folder.mkdir()
            self._sql(f"CREATE DATABASE {name} TEMPLATE plain")
            world = World(self._named(name), folder, tuple(kinds.split(",")), has_store=seed % 2 == 1)
            key = child_process.done(lambda tell: _settle(world, start, seed, tell)).told[-1]
            self._made[wanted] = replace(world, key=key)
        return self._made[wanted]

    @contextmanager
    def copy(self, of: World, number: str) -> Iterator[World]:
        """The same, to be spoilt."""
        name = f"case_{number}"
        folder = self._folder / name
        shutil.copytree(of.folder, folder, symlinks=True)
        self._sql(f"CREATE DATABASE {name} TEMPLATE {of.folder.name}")
        try:
            yield replace(of, url=self._named(name), folder=folder)
        finally:
            self._sql(STRAGGLERS.format(name=name))
            self._sql(f"DROP DATABASE {name}")
            shutil.rmtree(folder, ignore_errors=True)

    def _named(self, name: str) -> str:
        return self._server.replace("/smartstudy?", f"/{name}?")

    def _sql(self, statement: str) -> None:
        connection = connect(self._server)
        try:
            connection.autocommit = True
            connection.cursor().execute(statement)
        finally:
            connection.close()


@contextmanager
def worlds() -> Iterator[Worlds]:
    with TemporaryDirectory(prefix="faults-") as name:
        folder = Path(name).resolve()
        folder.chmod(0o711)  # root's PostgreSQL runs as another account
        made = Worlds(folder)
        try:
            yield made
        finally:
            made.close()


def _settle(world: World, start: str, seed: int, tell: Callable[[str], None]) -> None:
    from app.crud import accounts, imports

    world.enter()
    with database.new_session().begin() as db:
        imports.add(db, rows(seed, 0, TASKS))
        tell(accounts.create_key(db, "school"))
    if start == "trained":
        for part in range(2):
            train(list(world.kinds) if len(world.kinds) < len(BY_NAME) else None)
            with database.new_session().begin() as db:
                imports.add(db, rows(seed, TASKS + part * MORE, TASKS + (part + 1) * MORE))


def train(kinds: list[str] | None, *, forced: bool = True) -> dict[str, Any]:
    """A run in this process; as its supervisor records it."""
    return scheduler.Trainer(Inside()).train_now(forced=forced, kinds=kinds)


class Inside(TrainingProcess):
    """The training process's work, in this one: a training that raises ends it."""

    def train(self, order: Any, say: Any, timeout: float) -> dict[str, Any]:
        from app.ml.training.run import train as run

        try:
            return run(order, say)
        except Exception as why:
            raise TrainingDied(f"The training process ended: {why!r}") from why


def go_on() -> None:
    """A run in this process goes on from the models there are, few as the tasks may be."""
    dataset.ALWAYS = 1


def rows(seed: int, first: int, last: int) -> list[Interaction]:
    """Simulated finished tasks."""
    attempts: Attempts = simulate(school(6, seed=seed), 40, seed=seed).attempts
    return [
        Interaction(
            uuid5(f"simulated {seed} {row}"),
            student_uuid(attempts.students[attempts.student[row]]),
            f"item {row % 7}" if row % 3 else None,
            attempts.topics[attempts.topic[row]],
            DIFFICULTIES[attempts.difficulty[row]],
            bool(attempts.correct[row]),
            float(attempts.seconds[row]),
            int(attempts.started[row]) / 1e6,
        )
        for row in range(first, last)
    ]


SOMEBODY = UUID(int=7)
