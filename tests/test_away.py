"""The database is gone, late, frozen or another one: the service says so, and goes on by itself."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import psycopg2
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core.db import timeouts
from app.core.db.migrations import REVISION
from app.ml.evaluation.simulated import school, simulate
from app.ml.training.scheduler import Trainer
from tests.conftest import SharedProcess
from tests.school import Student, imported, throw_away, until
from tests.tcp_proxy import TcpProxy

BACK_SECONDS = 10.0


@pytest.fixture
def proxy(database_url: str, monkeypatch: pytest.MonkeyPatch, environment: Path) -> Iterator[TcpProxy]:
    """What the test's service reaches its database through."""
    made = TcpProxy(database_url)
    monkeypatch.setenv("DATABASE_URL", made.url)
    from tests.conftest import _forget

    _forget()
    yield made
    made.cut()


def completed(student: Student, task: str) -> bool:
    return student.complete(task).status_code == httpx.codes.OK


def says(service: TestClient, what: str) -> bool:
    return what in service.get("/readyz").text


def refused(answer: httpx.Response) -> bool:
    """In the way that tells a client to come again."""
    return (
        answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
        and int(answer.headers["retry-after"]) > 0
        and answer.headers["content-type"] == "application/problem+json"
        and answer.json()["request_id"] == answer.headers["x-request-id"]
    )


def test_a_request_while_the_database_is_away_gets_503_and_the_next_after_it_is_back_is_answered(
    proxy: TcpProxy, service: TestClient
) -> None:
    ada = Student.registered(service, "ada")
    task = ada.ask().json()["id"]
    proxy.cut()
    for answer in (ada.ask(), ada.complete(task), ada.get("/practice-tasks"), service.get("/readyz")):
        assert refused(answer), answer.text
    assert service.get("/healthz").status_code == httpx.codes.OK
    proxy.mend()
    until(lambda: service.get("/readyz").status_code == httpx.codes.OK, BACK_SECONDS)
    assert ada.complete(task).status_code == httpx.codes.OK
    assert ada.status()["counter"]["since_training"] == 1


def test_connections_that_died_are_replaced(proxy: TcpProxy, service: TestClient) -> None:
    ada = Student.registered(service, "ada")
    ada.do()
    proxy.break_connections()
    until(lambda: ada.ask().status_code == httpx.codes.CREATED, BACK_SECONDS)
    assert ada.get("/practice-tasks").status_code == httpx.codes.OK


def test_a_connection_on_which_the_server_said_farewell_is_replaced(service: TestClient) -> None:
    """The server's last word has come, the end of the connection not yet."""
    ada = Student.registered(service, "ada")
    ada.do()
    fields = b"SFATAL\0VFATAL\0C57P02\0Mterminating connection because of crash of another server process\0\0"

    async def farewell() -> None:
        pool = await service.app.state.database.pool()  # type: ignore[attr-defined]
        for holder in pool._holders:
            if holder._con is not None:
                holder._con._protocol.data_received(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)

    assert service.portal is not None
    service.portal.call(farewell)
    assert refused(ada.ask())
    ada.do()
    assert ada.status()["counter"]["since_training"] == 2


def test_a_result_whose_answer_was_lost_counts_once_when_it_is_sent_again(proxy: TcpProxy, service: TestClient) -> None:
    ada = Student.registered(service, "ada")
    tasks = [ada.ask().json()["id"] for _ in range(3)]
    assert ada.complete(tasks[0]).status_code == httpx.codes.OK
    for task in tasks[1:]:
        proxy.cut_after_query = UUID(task).bytes
        assert refused(ada.complete(task))
        until(partial(completed, ada, task), BACK_SECONDS)
    assert ada.status()["counter"]["since_training"] == 3


def test_a_frozen_database_keeps_nobody_waiting_for_long(
    proxy: TcpProxy, service: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = Student.registered(service, "ada")
    task = ada.ask().json()["id"]
    proxy.freeze()
    started = time.monotonic()
    asked: list[httpx.Response] = []
    calls: list[Callable[[], httpx.Response]] = [
        *[lambda: ada.complete(task)] * 3,
        *[lambda: ada.ask()] * 3,
        lambda: ada.get("/practice-tasks"),
        lambda: service.get("/model/status"),
        lambda: service.post("/auth/token", data={"username": "ada@example.com", "password": "wrong"}),
        lambda: service.get("/readyz"),
    ]
    threads = [threading.Thread(target=lambda call=call: asked.append(call())) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in asked if not refused(answer)] == []
    assert time.monotonic() - started < 2 * (timeouts.CONNECT_SECONDS + timeouts.STATEMENT_SECONDS)
    assert service.get("/healthz").status_code == httpx.codes.OK
    proxy.mend()
    until(lambda: ada.complete(task).status_code == httpx.codes.OK, BACK_SECONDS)


def test_a_training_that_loses_its_connection_fails_and_says_so_though_the_next_one_closed_it(
    proxy: TcpProxy, db: Session, warm_process: SharedProcess, database_url: str
) -> None:
    imported(db, simulate(school(8, seed=5), 50, seed=5).attempts)
    db.close()

    def cut(step: Mapping[str, Any]) -> None:
        if str(step.get("step")).startswith("fit"):
            proxy.cut()

    trainer = Trainer(warm_process)
    assert trainer.train_now(cut, kinds=["lnirt"])["outcome"] == "failed"
    assert trainer.pid is not None  # the process lives on
    proxy.mend()
    assert trainer.train_now(kinds=["lnirt"])["outcome"] == "published"
    rows = db.execute(text("SELECT outcome, finished_at, message FROM training_runs ORDER BY id")).all()
    assert [row.outcome for row in rows] == ["failed", "published"]
    assert rows[0].message == "The database does not answer."
    assert all(row.finished_at and row.message for row in rows)
    trainer.close()


Serve = Callable[..., tuple[str, "subprocess.Popen[bytes]", Path]]


@pytest.fixture
def serve(environment: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Start `smartstudy serve` on a free port: its address, its process and what it writes to stderr."""
    started: list[subprocess.Popen[bytes]] = []

    def start(url: str | None, *options: str) -> tuple[str, "subprocess.Popen[bytes]", Path]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        variables = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
        variables |= {"DATABASE_URL": url} if url else {}
        log = environment / f"serve-{port}.log"
        command = [sys.executable, "-m", "app", "serve", "--port", str(port), *options]
        with log.open("wb") as file:
            process = subprocess.Popen(command, env=variables, stderr=file)
        started.append(process)
        return f"http://127.0.0.1:{port}", process, log

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
            process.wait(20)


def status(address: str, path: str) -> int | None:
    try:
        return httpx.get(f"{address}{path}", timeout=15).status_code
    except httpx.TransportError:
        return None


@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["one process", "two workers"])
def test_a_service_that_starts_before_its_database_waits_for_it(
    serve: Serve, database_url: str, options: tuple[str, ...]
) -> None:
    proxy = TcpProxy(database_url, listening=False)
    address, _, log = serve(proxy.url, *options)
    until(lambda: status(address, "/healthz") == httpx.codes.OK, 60)
    for path in ("/readyz", "/", "/docs", "/model/status", "/nowhere"):
        assert refused(httpx.get(f"{address}{path}")), path
    password = str(urlsplit(database_url).password)
    said = log.read_text()
    assert "The database does not answer; the service starts all the same and waits for it: " in said
    assert "Connection refused" in said
    assert password not in said
    proxy.mend()
    until(lambda: all(status(address, "/readyz") == httpx.codes.OK for _ in range(5)), BACK_SECONDS)
    body = {"email": "ada@example.com", "password": "correct horse battery staple"}
    assert httpx.post(f"{address}/auth/register", json=body).status_code == httpx.codes.CREATED
    assert password not in log.read_text()
    assert "Traceback" not in log.read_text()
    proxy.cut()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda url: url.replace(str(urlsplit(url).password), "wr0ngpassword"), "password authentication failed"),
        (lambda url: url.replace(urlsplit(url).path, "/nosuchdatabase"), 'database "nosuchdatabase" does not exist'),
        (lambda url: "postgresql://a:wr0ngpassword@database.invalid/x", "database.invalid"),
    ],
    ids=["password", "database", "host"],
)
def test_what_keeps_the_service_from_its_database_is_said_once_without_the_password(
    serve: Serve, database_url: str, wrong: Callable[[str], str], said: str
) -> None:
    address, _, log = serve(wrong(database_url))
    until(lambda: status(address, "/readyz") == httpx.codes.SERVICE_UNAVAILABLE, 60)
    # By the command and by the process that serves; JSON escapes quotes.
    until(lambda: log.read_text().replace('\\"', '"').count(said) >= 2, 20)
    assert status(address, "/healthz") == httpx.codes.OK
    written = log.read_text()
    assert written.count("\n") <= 4, written
    assert "wr0ngpassword" not in written
    assert "Traceback" not in written


def test_a_database_that_comes_back_with_other_tables_is_left_alone_until_it_is_migrated(
    proxy: TcpProxy, service: TestClient, database_url: str
) -> None:
    ada = Student.registered(service, "ada")
    task = ada.ask().json()["id"]

    def set_to(revision: str) -> None:
        with psycopg2.connect(database_url) as connection, connection.cursor() as cursor:
            cursor.execute("UPDATE alembic_version SET version_num = %s", [revision])

    for revision, said in (("0002", "smartstudy migrate"), ("9999", "newer than this code")):
        set_to(revision)
        until(partial(says, service, said), BACK_SECONDS)
        until(lambda: refused(service.get("/docs")), BACK_SECONDS)  # /readyz looks for itself
        for answer in (ada.ask(), ada.complete(task), ada.get("/practice-tasks"), service.get("/docs")):
            assert refused(answer), answer.text
            assert said in answer.text
        assert service.get("/healthz").status_code == httpx.codes.OK
    set_to(REVISION)
    until(lambda: service.get("/readyz").status_code == httpx.codes.OK, BACK_SECONDS)
    assert ada.complete(task).status_code == httpx.codes.OK


def test_tables_that_change_under_a_request_are_no_error_of_the_service(
    service: TestClient, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = Student.registered(service, "ada")
    task = ada.ask().json()["id"]
    with psycopg2.connect(database_url) as connection, connection.cursor() as cursor:
        cursor.execute("ALTER TABLE practice_tasks RENAME COLUMN topic TO subject")
        cursor.execute("DROP FUNCTION complete_tasks")
    for answer in (ada.ask(), ada.complete(task), ada.get("/practice-tasks")):
        assert refused(answer), answer.text
        assert "tables are not those of this service" in answer.text


OUTAGES = {
    "53100": "no room left",
    "53300": "no more connections",
    "25006": "can only be read",
    "57P03": "starting or stopping",
    "55P03": "Others hold",
    "40001": "Others were changing",
    "40P01": "Others were changing",
    "57014": "took too long",
    "58030": "can't read or write its files",
}


@pytest.mark.parametrize("code", OUTAGES)
def test_what_the_database_can_not_do_just_now_is_a_503_with_a_fitting_sentence(
    service: TestClient, database_url: str, code: str
) -> None:
    ada = Student.registered(service, "ada")
    task = ada.ask().json()["id"]
    with psycopg2.connect(database_url) as connection, connection.cursor() as cursor:
        cursor.execute(f"""CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
                           BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END $$""")
        for table in ("practice_tasks", "users"):
            cursor.execute(f"""CREATE TRIGGER fail BEFORE INSERT OR UPDATE ON {table}
                               FOR EACH ROW EXECUTE FUNCTION fail()""")
    body = {"email": "bob@example.com", "password": "correct horse battery staple"}
    for answer in (ada.ask(), ada.complete(task), service.post("/auth/register", json=body)):
        assert refused(answer), answer.text
        assert OUTAGES[code] in answer.text


def test_a_read_only_database_is_readable(service: TestClient, database_url: str) -> None:
    ada = Student.registered(service, "ada")
    name = urlsplit(database_url).path[1:]
    with psycopg2.connect(database_url) as connection, connection.cursor() as cursor:
        cursor.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
            [name],
        )
    until(lambda: "can only be read" in ada.ask().text, BACK_SECONDS)
    assert refused(ada.ask())
    assert ada.get("/practice-tasks").status_code == httpx.codes.OK


def postmaster(environment: Path) -> int | None:
    """The embedded server's process, by its own file; none while there is none."""
    try:
        return int((environment / "data" / "postgres" / "postmaster.pid").read_text().split("\n")[0])
    except (FileNotFoundError, ValueError):
        return None


def completed_in_the_end(student: Student) -> str:
    """Ask for a task and complete it, each again while it is refused, as a client does that is told to come again."""
    task = until(
        lambda: (asked := student.ask()).status_code == httpx.codes.CREATED and asked.json()["id"], BACK_SECONDS
    )
    until(partial(completed, student, task), BACK_SECONDS)
    return str(task)


def read(student: Student, path: str) -> Any:
    """What is there; none while it is refused."""
    answer = student.get(path)
    return answer.json() if answer.status_code == httpx.codes.OK else None


@pytest.mark.parametrize(
    "how",
    [signal.SIGKILL, *(pytest.param(how, marks=pytest.mark.slow) for how in (signal.SIGTERM, signal.SIGQUIT))],
    ids=lambda how: how.name,
)
def test_an_embedded_database_that_was_killed_is_started_again_and_nothing_is_lost(
    serve: Serve, environment: Path, how: signal.Signals
) -> None:
    address, process, _ = serve(None, "--workers", "2")
    until(lambda: status(address, "/readyz") == httpx.codes.OK, 60)
    with httpx.Client(base_url=address, timeout=15) as client:
        ada = Student.registered(client, "ada")
        for n in range(1, 3):
            done = [completed_in_the_end(ada) for _ in range(2)]
            ended = until(partial(postmaster, environment), BACK_SECONDS)
            os.kill(ended, how)
            # SIGTERM lets it answer those who are connected until somebody finds it ending.
            until(lambda: ada.ask() and postmaster(environment) not in (None, ended), 3 * BACK_SECONDS)  # noqa: B023
            until(lambda: status(address, "/readyz") == httpx.codes.OK, BACK_SECONDS)
            for each in done:  # the other process may take a moment longer to find its database again
                assert until(partial(read, ada, f"/practice-tasks/{each}"), BACK_SECONDS)["completed"]
            assert until(partial(read, ada, "/model/status"), BACK_SECONDS)["counter"]["since_training"] == 2 * n
    process.terminate()
    process.wait(20)
    throw_away(environment / "data")
