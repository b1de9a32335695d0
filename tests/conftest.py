"""Each test has its own database, cloned from a migrated one on the embedded server of its process."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

import hypothesis
import psycopg2
import pytest
from argon2 import PasswordHasher
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from app.core import database, security, settings
from app.core.db import embedded_postgres, migrations
from app.ml.serving import model_order, version_store
from app.ml.training import scheduler as trainer
from app.ml.training.worker import TrainingProcess
from app.monitoring import feed
from tests import runs
from tests.school import Student, nobody_trains

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)  # time decides no test
hypothesis.settings.register_profile("explore", max_examples=1000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))
CACHED: tuple[Any, ...] = (
    settings.settings,
    database.database_url,
    database.engine,
    database.new_session,
    database.replica,
    security._signing_key,
    model_order.serving_models,
    version_store.version_store,
    trainer.trainer,
)
numbers = count(1)
RUN, FAILED = pytest.StashKey[Path](), pytest.StashKey[bool]()
# No test pulls the plug: what was written survives a killed server as it is. Copied files need no log of each page.
FOR_TESTS = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "autovacuum": "off"}
CLONE = "CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy"
SECRET_KEY = "the key that signs tokens in copies of a template"
FULL_COST = security.HASHER
security.HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)  # it takes long on purpose


def _sql(url: str, statement: str) -> None:
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        connection.cursor().execute(statement)
    finally:
        connection.close()


def _drop(server: str, name: str) -> None:
    """DROP DATABASE waits for an autovacuum worker; WITH (FORCE) would have to end it, which only a superuser may.

    A thread of the test's may have been about to connect, and a backend may take long to end on a busy machine.
    """
    for tries_left in reversed(range(5)):
        ours = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' AND usename = user"
        _sql(server, ours)
        try:
            _sql(server, f"DROP DATABASE {name}")
            return
        except psycopg2.errors.ObjectInUse:
            if not tries_left:
                raise


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """The run's folder, before pytest makes a temporary one; its workers, if it has some, share it."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        runs.sweep()
        config.stash[RUN] = runs.begin()
        config.option.basetemp = config.option.basetemp or str(config.stash[RUN] / "tmp")


def pytest_unconfigure(config: pytest.Config) -> None:
    if RUN in config.stash:
        runs.end(config.stash[RUN], keep_files=config.stash.get(FAILED, False))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[FAILED] = exitstatus != pytest.ExitCode.OK


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of a server with a migrated database `template_smartstudy`."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o711)  # where root runs the tests, PostgreSQL's account has to get through
    with patch.dict(embedded_postgres.SETTINGS, FOR_TESTS):
        url = embedded_postgres.start(folder)
    held = embedded_postgres._using.pop(folder.resolve())  # some tests give up every server that this process uses
    _sql(url, "CREATE DATABASE template_smartstudy")
    engine = database.engine_for(_named(url, "template_smartstudy"))
    migrations.migrate(engine)
    engine.dispose()
    yield url
    embedded_postgres.stop(folder)
    os.close(held)


def _named(url: str, name: str) -> str:
    return url.replace("/smartstudy?", f"/{name}?")


@pytest.fixture
def empty_database(server: str) -> Iterator[str]:
    """The URL of a database without tables."""
    name = f"test_{next(numbers)}"
    _sql(server, f"CREATE DATABASE {name}")
    yield _named(server, name)
    _drop(server, name)


@pytest.fixture
def database_url(server: str) -> Iterator[str]:
    """The URL of a migrated database of the test's own."""
    with clone(server, "template_smartstudy") as url:
        yield url


@contextmanager
def clone(server: str, template: str) -> Iterator[str]:
    """The URL of a copy of this database."""
    name = f"test_{next(numbers)}"
    _sql(server, CLONE.format(name, template))
    yield _named(server, name)
    _drop(server, name)


@pytest.fixture
def environment(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """This process is set to the test's database and folders."""
    with set_to(database_url, tmp_path, monkeypatch):
        yield tmp_path


@contextmanager
def set_to(database_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process works on that database, and keeps its files in that folder."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("DATA_DIR", str(folder / "data"))
    monkeypatch.setenv("MODEL_DIR", str(folder / "models"))
    monkeypatch.setenv("ALLOWED_HOSTS", "testserver,test,127.0.0.1")  # as test clients call the service
    monkeypatch.setenv("PORT", "0")  # a free one
    monkeypatch.setenv("KINDS", "embedding_v2,lnirt")  # the LSTM takes four fifths of a training
    monkeypatch.chdir(folder)  # no .env of the developer's
    _forget()
    try:
        yield
    finally:
        if database.engine.cache_info().currsize:
            database.engine().dispose()
        _forget()


@dataclass(frozen=True)
class Template:
    """A database that was filled once, of which each test gets a copy, and what there is to know of it."""

    name: str
    content: Any
    trains: bool  # whether a training does anything there


@pytest.fixture(scope="session")
def template(
    server: str, application: FastAPI, warm_process: "SharedProcess", tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Template]:
    """Have a database filled by a function, through the running service or its session; once in a process.

    Trainings do nothing there, unless `trains`.
    """

    @cache
    def filled(fill: Callable[[TestClient, Session], Any], trains: bool = False) -> Template:
        from app.main import connect

        name = f"template_{next(numbers)}"
        _sql(server, CLONE.format(name, "template_smartstudy"))
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("SECRET_KEY", SECRET_KEY)
            patched.setattr(trainer, "TrainingProcess", lambda: warm_process)
            if not trains:
                patched.setattr(trainer.Trainer, "_supervised", nobody_trains)
            with set_to(_named(server, name), tmp_path_factory.mktemp("template"), patched):
                connect(application)
                with TestClient(application) as client, database.new_session()() as session:
                    content = fill(client, session)
        return Template(name, content, trains)

    return filled


@contextmanager
def copy_of(server: str, made: Template, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a copy of what was filled, where tokens of those who were in there are good."""
    monkeypatch.setenv("SECRET_KEY", SECRET_KEY)
    if not made.trains:
        monkeypatch.setattr(trainer.Trainer, "_supervised", nobody_trains)
    with clone(server, made.name) as url:
        yield url


@pytest.fixture
def every_kind(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings fit the LSTM too."""
    monkeypatch.delenv("KINDS")
    settings.settings.cache_clear()


@pytest.fixture
def full_cost_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords are hashed as they are in service."""
    monkeypatch.setattr(security, "HASHER", FULL_COST)
    security._nobodys_hash.cache_clear()


def _forget() -> None:
    for cached in CACHED:
        cached.cache_clear()


class SharedProcess(TrainingProcess):
    """TensorFlow takes long to import: the tests share one warm process, which closing a trainer doesn't end."""

    def close(self, seconds: float = 3) -> None:
        pass

    def end(self) -> None:
        super().close()


@pytest.fixture(scope="session")
def warm_process() -> Iterator[SharedProcess]:
    process = SharedProcess()
    yield process
    process.end()


@pytest.fixture(scope="session")
def application() -> FastAPI:
    """The application of this process; its routes take longer to build than most tests take."""
    from app.main import create_app

    return create_app()


@pytest.fixture
def service(
    environment: Path, application: FastAPI, warm_process: SharedProcess, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TestClient]:
    """The running service."""
    from app.main import connect

    monkeypatch.setattr(trainer, "TrainingProcess", lambda: warm_process)
    monkeypatch.setattr(feed, "LONGEST_SECONDS", 0)  # a TestClient waits for the end of an answer
    connect(application)
    with TestClient(application, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def db(environment: Path) -> Iterator[Session]:
    with database.new_session()() as session:
        yield session


@pytest.fixture
def student(service: TestClient) -> Callable[..., Student]:
    """Make students, signed in."""

    def make(name: str = "ada") -> Student:
        return Student.registered(service, name)

    return make


@pytest.fixture
def school(service: TestClient) -> Student:
    """A school's back end with a service key."""
    from app.crud import accounts

    with database.new_session().begin() as session:
        return Student(service, accounts.create_key(session, "school"))
