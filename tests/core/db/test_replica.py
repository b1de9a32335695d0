"""What is only read comes from a replica that knows all that was acknowledged, else from the database itself."""

import logging
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from app.core import database
from app.core.database import engine_for
from app.core.db import migrations, replica
from app.core.db.replica import Replica
from app.crud import attempts
from tests.conftest import set_to
from tests.standby import Standby, streaming
from tests.web.browsing import Browser

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
