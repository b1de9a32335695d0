"""What is only read comes from a replica that knows all that was acknowledged, else from the database itself."""

import io
import logging
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from app.core import database
from app.core.database import engine_for
from app.core.db import migrations, replica
from app.core.db.replica import Replica
from app.crud import attempts, person, practice_tasks
from app.privacy import export
from tests.conftest import set_to
from tests.standby import Standby, streaming
from tests.web.browsing import Browser

GiveUp = Callable[[Session, Callable[[Session], object]], None]
WHERE = text("SELECT pg_is_in_recovery(), (SELECT count(*) FROM answers)")


@pytest.fixture(scope="module")
def standby() -> Iterator[Standby]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        with streaming(Path(folder)) as made:
            engine = engine_for(made.url)
            with engine.begin() as connection:
                connection.execute(text("CREATE TABLE answers (n int)"))
            engine.dispose()
            yield made


@pytest.fixture
def engine(standby: Standby) -> Iterator[Engine]:
    made = engine_for(standby.url)
    with made.begin() as connection:
        connection.execute(text("TRUNCATE answers"))
    yield made
    made.dispose()


@pytest.fixture
def reader(standby: Standby) -> Iterator[Replica]:
    made = engine_for(standby.read_url)
    yield Replica(made, str)
    made.dispose()


def patient(reader: Replica, db: Session) -> tuple[bool, int]:
    """Whether the replica answers, given ten seconds to come, and how many answers it knows."""
    with reader.instead_of(db, 10) as session:
        is_replica, n = session.execute(WHERE).one()
    return is_replica, n


def test_each_read_knows_what_was_acknowledged_before(engine: Engine, reader: Replica) -> None:
    for n in range(1, 30):
        with Session(engine) as db:
            db.execute(text("INSERT INTO answers VALUES (1)"))
            db.commit()
            assert patient(reader, db) == (True, n)


def test_a_replica_that_lags_is_not_asked(engine: Engine, reader: Replica, standby: Standby) -> None:
    standby.set("recovery_min_apply_delay", "1h")
    try:
        with Session(engine) as db:
            found, answers = (True, 0), 0
            while found == (True, answers) and answers < 1_000:  # until what replays has taken the setting up
                db.execute(text("INSERT INTO answers VALUES (1)"))
                db.commit()
                answers += 1
                with reader.instead_of(db) as session:
                    found = tuple(session.execute(WHERE).one())
            assert found == (False, answers)
            begun = time.monotonic()
            with reader.instead_of(db, patience=60) as session:  # it is not waited for by each request
                assert tuple(session.execute(WHERE).one()) == (False, answers)
            assert time.monotonic() - begun < 30
    finally:
        standby.set("recovery_min_apply_delay", "0")


def test_a_replica_that_ends_is_replaced_and_told_once(
    engine: Engine, reader: Replica, standby: Standby, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica, "AWAY_SECONDS", 0.0)
    caplog.set_level(logging.WARNING, "smartstudy")
    with Session(engine) as db:
        assert patient(reader, db) == (True, 0)
        standby.kill()
        for _ in range(3):
            assert patient(reader, db) == (False, 0)
        assert reader.problem
        assert "the database itself does" in reader.problem
        standby.start()
        assert patient(reader, db) == (True, 0)
    assert reader.problem is None
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert told[0].startswith("The replica (DATABASE_READ_URL) does not answer, and the database itself does: ")
    assert told[1] == "The replica is back."


def copied(db: Session) -> None:
    """As a training reads its tasks."""
    db.connection().connection.cursor().copy_expert("COPY (SELECT pg_sleep(30)) TO STDOUT", io.StringIO())


@pytest.fixture
def in_the_way(standby: Standby) -> Iterator[GiveUp]:
    """Has a replica give up what a session asks, for a conflict with what it has to replay."""
    standby.set("max_standby_streaming_delay", "0")
    primary = engine_for(standby.url)

    def change() -> None:
        with primary.begin() as connection:
            connection.execute(text("TRUNCATE answers"))

    def give_up(db: Session, ask: Callable[[Session], object]) -> None:
        db.execute(text("SELECT count(*) FROM answers"))
        changing = threading.Timer(0.3, change)
        changing.start()
        try:
            ask(db)
        finally:
            changing.join()

    yield give_up
    primary.dispose()
    standby.set("max_standby_streaming_delay", "30s")


def test_a_training_whose_tasks_the_replica_gives_up_reads_them_from_the_database(
    engine: Engine, reader: Replica, in_the_way: GiveUp
) -> None:
    asked = list[bool]()

    def ask(db: Session) -> int:
        asked.append(bool(db.scalar(text("SELECT pg_is_in_recovery()"))))
        if asked[-1]:
            in_the_way(db, copied)
        return 1

    with Session(engine) as db:
        assert reader.at_once(db, ask) == 1
    assert asked == [True, False]
    assert "conflict with recovery" in str(reader.problem)


def test_a_training_reads_from_the_database_what_a_replica_that_ends_does_not_finish(
    engine: Engine, reader: Replica, standby: Standby
) -> None:
    asked = list[bool]()

    def ask(db: Session) -> int:
        asked.append(bool(db.scalar(text("SELECT pg_is_in_recovery()"))))
        if asked[-1]:
            threading.Timer(0.3, standby.kill).start()
            copied(db)
        return 1

    try:
        with Session(engine) as db:
            assert reader.at_once(db, ask) == 1
    finally:
        standby.start()
    assert asked == [True, False]


def test_what_is_asked_how_far_it_is_answers(engine: Engine, standby: Standby, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address may name several standbys, of which each connection reaches another one."""
    made = engine_for(standby.read_url)
    backend = text("SELECT pg_backend_pid()")
    others = [made.connect() for _ in range(3)]
    for each in others:
        each.execute(backend)
        each.close()
    reader, asked = Replica(made, str), list[int | None]()
    is_at = reader._is_at

    def noted(place: dict[str, object], replica: Session) -> bool:
        asked.append(replica.scalar(backend))
        replica.rollback()
        return is_at(place, replica)

    monkeypatch.setattr(reader, "_is_at", noted)
    with Session(engine) as db, reader.instead_of(db, 10) as session:
        assert session is not db
        assert session.scalar(backend) == asked[-1]
    made.dispose()


def test_a_snapshot_that_the_replica_gives_up_is_read_from_the_database(engine: Engine, reader: Replica) -> None:
    asked = list[bool]()

    def ask(db: Session) -> tuple[str, int]:
        is_replica, n = db.execute(WHERE).one()
        asked.append(is_replica)
        if is_replica:
            db.execute(text("CREATE TEMPORARY TABLE no_replica_can (n int)"))
        isolation = db.scalar(text("SHOW transaction_isolation"))
        return str(isolation), n

    with Session(engine) as db:
        assert reader.at_once(db, ask) == ("repeatable read", 0)
    assert asked == [True, False]
    assert reader.problem


@pytest.fixture
def service(
    standby: Standby, application: FastAPI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TestClient]:
    """The running service, with its tables on the primary."""
    from app.main import connect

    monkeypatch.setenv("DATABASE_READ_URL", standby.read_url)
    monkeypatch.setenv("RETRAIN_EVERY", "1000")
    with set_to(standby.url, tmp_path, monkeypatch):
        migrations.migrate(database.engine())
        connect(application)
        with TestClient(application) as client:
            yield client


def test_a_page_right_after_a_result_shows_it_whatever_the_replica_does(service: TestClient, standby: Standby) -> None:
    ada = Browser(service).register()

    def named_in_history() -> int:
        answer = ada.get("/dashboard/history")
        assert answer.status_code == 200
        return answer.text.count("Algebra")

    ada.practise("Algebra")
    once = named_in_history()
    assert once
    standby.set("recovery_min_apply_delay", "1h")
    ada.practise("Algebra")
    twice = named_in_history()
    assert twice > once
    assert ada.get("/dashboard/analytics").status_code == 200
    standby.kill()
    ada.practise("Algebra")
    assert named_in_history() > twice
    assert len(ada.get("/dashboard/settings/export", format="csv").text.splitlines()) == 4
    while (found := service.get("/readyz").json())["status"] == "ok":
        time.sleep(0.1)  # it was left alone for a second, being behind
    assert any("DATABASE_READ_URL" in why for why in found["reasons"])
    standby.set("recovery_min_apply_delay", "0", running=False)
    standby.start()
    assert named_in_history() > twice


@pytest.mark.parametrize("what", ["a page", "an export"])
def test_what_the_replica_gives_up_midway_is_whole_all_the_same(
    service: TestClient, in_the_way: GiveUp, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(export, "PAGE", 1)
    ada, given_up = Browser(service).register(f"{what.split()[1]}-reader"), list[bool]()
    for _ in range(3):
        ada.practise("Algebra")
    module, name = (practice_tasks, "newest") if what == "a page" else (person, "tasks")
    found = getattr(module, name)

    def gives_up(db: Session, *asked: Any, **more: Any) -> Any:
        if db.scalar(text("SELECT pg_is_in_recovery()")) and (what == "a page" or asked[1] != person.BEFORE_ALL):
            given_up.append(True)
            in_the_way(db, lambda db: db.execute(text("SELECT pg_sleep(30)")))
        return found(db, *asked, **more)

    monkeypatch.setattr(module, name, gives_up)
    if what == "a page":
        answer = ada.get("/dashboard/history")
        assert (answer.status_code, answer.text.count("Algebra") > 2) == (200, True)
    else:
        assert len(ada.get("/dashboard/settings/export", format="csv").text.splitlines()) == 4
    assert given_up


def test_a_training_reads_its_tasks_from_the_replica(service: TestClient) -> None:
    asked = list[bool]()

    def ask(db: Session) -> int:
        asked.append(bool(db.scalar(text("SELECT pg_is_in_recovery()"))))
        return attempts.count(db)

    Browser(service).register("bob").practise("Waves")
    with Session(database.engine()) as db:
        known = attempts.count(db)
    assert database.at_once(database.engine(), ask) == known
    assert asked == [True]


def test_a_database_that_does_not_say_how_far_it_has_come_answers_itself(
    engine: Engine, reader: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica, "PLACE", "SELECT no_such_function()")
    with Session(engine) as db:
        assert patient(reader, db) == (False, 0)
    assert "no_such_function" in str(reader.problem)


def test_a_database_that_is_no_standby_of_ours_is_not_read(engine: Engine, standby: Standby) -> None:
    other = engine_for(standby.url)  # the primary itself
    reader = Replica(other, str)
    with Session(engine) as db:
        assert patient(reader, db) == (False, 0)
    other.dispose()
    assert "no standby of the database" in str(reader.problem)


def test_what_follows_another_than_the_database_since_one_was_promoted_is_not_read() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        with streaming(Path(folder)) as promoted, promoted.twin() as url:
            before, ours, theirs = (engine_for(each) for each in (promoted.url, promoted.read_url, url))
            reader = Replica(theirs, str)
            with before.begin() as connection:
                connection.execute(text("CREATE TABLE answers (n int)"))
            with Session(before) as db:
                assert patient(reader, db) == (True, 0)
            with Session(ours) as db:
                promoted.promote()
                db.execute(text("INSERT INTO answers VALUES (1)"))
                db.commit()
                with before.begin() as connection:  # it has come further than the database, by another way
                    connection.execute(text("INSERT INTO answers SELECT generate_series(1, 9999)"))
                assert patient(reader, db) == (False, 1)
            assert "it is on timeline 1, and the database that DATABASE_URL names on 2" in (reader.problem or "")
            for engine in (before, ours, theirs):
                engine.dispose()
