"""What happens is told as it happens: to whom it concerns, after a break too, and not for ever."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core.http import connections
from app.core.http.connections import BoundedProtocol
from app.core.http.cookies import SESSION
from app.core.settings import settings
from app.crud import accounts, browser_sessions, events
from app.main import connect
from app.ml.training import scheduler as trainer
from app.monitoring import feed
from tests.finished import account_of
from tests.routers.test_explanation import Plain, answered_by
from tests.school import SOMEBODY, Student, nobody_trains, until

PATIENCE = 30.0  # seconds; nothing here should take long


class Event(NamedTuple):
    name: str
    data: Any
    id: str


@contextmanager
def running(application: FastAPI) -> Iterator[tuple[httpx.Client, uvicorn.Server]]:
    """The service on a port, as `smartstudy serve` has it: a TestClient waits for the end of an answer."""
    connect(application)
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(application, http=BoundedProtocol, log_config=None, log_level="warning"))
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    until(lambda: server.started, PATIENCE)
    address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    with httpx.Client(base_url=address, timeout=PATIENCE) as client:
        yield client, server
    server.should_exit = True
    thread.join(PATIENCE)
    connections.room.cache_clear()


@pytest.fixture
def live(
    environment: Path, application: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[httpx.Client, uvicorn.Server]]:
    monkeypatch.setattr(trainer.Trainer, "_supervised", nobody_trains)
    with running(application) as made:
        yield made


@pytest.fixture
def client(live: tuple[httpx.Client, uvicorn.Server]) -> httpx.Client:
    return live[0]


@pytest.fixture
def ada(client: httpx.Client) -> Student:
    return Student.registered(client, "ada")


class Stream:
    """An answer that is read event by event."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self._lines = answer.iter_lines()

    def next(self) -> Event | None:
        """The next event; none at the end."""
        found: dict[str, str] = {}
        until = time.monotonic() + PATIENCE
        for line in self._lines:
            assert time.monotonic() < until, "nothing but signs of life came"
            if not line and "data" in found:
                return Event(found["event"], json.loads(found["data"]), found["id"])
            name, _, value = line.partition(": ")
            found[name] = value
        return None

    def of(self, name: str) -> Event:
        """The next event of that name."""
        while (event := self.next()) is not None:
            if event.name == name:
                return event
        raise AssertionError(f"the stream ended without {name}")


@contextmanager
def listening(client: httpx.Client, **headers: str) -> Iterator[Stream]:
    with client.stream("GET", "/events", headers=headers) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield Stream(answer)


def test_ones_own_tasks_are_told_and_nobody_elses(client: httpx.Client, ada: Student) -> None:
    grace = Student.registered(client, "grace")
    with listening(client, **ada.headers) as stream:
        grace.do(topic="Not Ada's")
        done = ada.do(topic="Waves", seconds=12.5)
        told = [stream.of("task").data]
        while not told[-1]["completed"]:  # created and finished may be told at once
            told.append(stream.of("task").data)
        assert {each["topic"] for each in told} == {"Waves"}
        assert told[-1] == done


def test_a_correction_is_told_though_the_task_is_old(client: httpx.Client, ada: Student, db: Session) -> None:
    done = ada.do(topic="Waves")
    db.execute(
        text("UPDATE practice_tasks SET created_at = now() - interval '1 day', completed_at = now() - interval '1 day'")
    )
    db.commit()
    with listening(client, **ada.headers) as stream:
        stream.of("version")
        body = {"is_correct": False, "actual_time_seconds": 5.0}
        assert client.put(f"/practice-tasks/{done['id']}/result", json=body, headers=ada.headers).status_code == 200
        assert stream.of("task").data["is_correct"] is False


def test_a_discarded_task_is_told_also_to_who_was_away(client: httpx.Client, ada: Student) -> None:
    grace = Student.registered(client, "grace")
    with listening(client, **ada.headers) as stream:
        first, second = (ada.ask(topic=name).json()["id"] for name in ("First", "Second"))
        others = grace.ask().json()["id"]
        while stream.of("task").data["id"] != second:
            pass
        for whose, task in ((grace, others), (ada, first)):
            assert client.delete(f"/practice-tasks/{task}", headers=whose.headers).status_code == 204
        last = stream.of("discarded")
        assert last.data["id"] == first
    client.delete(f"/practice-tasks/{second}", headers=ada.headers)
    with listening(client, **ada.headers, **{"Last-Event-ID": last.id}) as stream:
        while stream.of("discarded").data["id"] != second:  # some comes twice
            pass


def test_training_and_versions_are_told_at_once_and_when_they_change(
    client: httpx.Client, ada: Student, db: Session
) -> None:
    with listening(client, **ada.headers) as stream:
        assert stream.of("training").data["counter"]["since_training"] == 0
        assert stream.of("version").data["model_version"] == "prior"
        for _ in range(2):
            ada.do()
        while stream.of("training").data["counter"]["since_training"] < 2:
            pass
        answered_by(db, Plain())
        while stream.of("version").data["model_version"] != "embedding_v2":
            pass


def test_what_happened_while_one_was_away_is_told_on_coming_back(client: httpx.Client, ada: Student) -> None:
    with listening(client, **ada.headers) as stream:
        ada.ask(topic="Before")
        last = stream.of("task")
    missed = [ada.do(topic=name)["topic"] for name in ("First", "Second")]
    with listening(client, **ada.headers, **{"Last-Event-ID": last.id}) as stream:
        told: list[str] = []
        while not told or told[-1] != "Second":
            told.append(stream.of("task").data["topic"])
        assert [name for name in told if name != "Before"] == missed
    with listening(client, **ada.headers) as stream:  # without it, only what is to come
        ada.ask(topic="Third")
        assert stream.of("task").data["topic"] == "Third"


@pytest.mark.parametrize("last", ["nonsense", "-1", "9" * 40, "9" * 17, "0"])
def test_an_id_that_is_none_of_ours_does_no_harm(client: httpx.Client, ada: Student, last: str) -> None:
    with listening(client, **ada.headers, **{"Last-Event-ID": last}) as stream:
        assert stream.of("training").data["is_paused"] is False


def test_a_key_is_told_of_the_student_it_names(client: httpx.Client, db: Session) -> None:
    school = Student(client, accounts.create_key(db, "school"))
    db.commit()
    with client.stream("GET", f"/events?user_id={SOMEBODY}", headers=school.headers) as answer:
        school.ask(user_id=SOMEBODY, topic="Optics")
        assert Stream(answer).of("task").data["topic"] == "Optics"


def test_a_school_is_told_only_of_what_it_recorded_itself(client: httpx.Client, ada: Student, db: Session) -> None:
    key = Student(client, accounts.create_key(db, "North", own_students=True))
    db.commit()
    assert client.post("/users/me/schools", json={"name": "North"}, headers=ada.headers).status_code == 201
    who = str(account_of(db))
    with client.stream("GET", f"/events?user_id={who}", headers=key.headers) as answer:
        stream = Stream(answer)
        stream.of("version")
        ada.do(topic="Her own")
        key.ask(user_id=who, topic="The school's")
        assert stream.of("task").data["topic"] == "The school's"


@pytest.mark.parametrize("how", ["token ended", "erased", "password"])
def test_who_is_out_is_told_so_and_hears_no_more(client: httpx.Client, ada: Student, how: str) -> None:
    with listening(client, **ada.headers) as stream:
        stream.of("training")
        if how == "token ended":
            session = ada.get("/users/me/sessions").json()[0]["id"]
            client.delete(f"/users/me/sessions/{session}", headers=ada.headers)
        elif how == "erased":
            client.delete("/users/me", headers=ada.headers)
        else:
            body = {"old_password": "correct horse battery staple", "new_password": "seven green bottles there"}
            client.post("/users/me/password", json=body, headers=ada.headers)
        assert "ended" in stream.of("end").data["reason"]
        assert stream.next() is None
    with client.stream("GET", "/events", headers=ada.headers) as answer:
        assert answer.status_code == 401


def test_pages_listen_by_their_cookie_and_other_sites_do_not(client: httpx.Client, ada: Student, db: Session) -> None:
    cookie = browser_sessions.start(db, account_of(db), 3600)
    db.commit()
    headers = {"Cookie": f"{SESSION}={cookie}", "Sec-Fetch-Site": "same-origin"}
    with listening(client, **headers) as stream:
        ada.ask(topic="Waves")
        assert stream.of("task").data["topic"] == "Waves"
        browser_sessions.end(db, cookie)
        db.commit()
        assert stream.of("end")
    for refused in (headers, headers | {"Sec-Fetch-Site": "cross-site"}, {}):
        with client.stream("GET", "/events", headers=refused) as answer:
            assert answer.status_code == 401


def test_a_student_listens_five_times_at_most(client: httpx.Client, ada: Student) -> None:
    grace = Student.registered(client, "grace")
    opened = [listening(client, **ada.headers) for _ in range(feed.MOST_OF_CALLER)]
    for each in opened:
        each.__enter__()
    with client.stream("GET", "/events", headers=ada.headers) as answer:
        assert answer.status_code == 429
        assert answer.headers["retry-after"] == "30"
    with listening(client, **grace.headers) as stream:
        assert stream.of("training")
    for each in opened:
        each.__exit__(None, None, None)

    def has_room() -> bool:
        with client.stream("GET", "/events", headers=ada.headers) as answer:
            return answer.status_code == 200

    assert until(has_room, PATIENCE)


def test_half_of_an_addresss_connections_are_left_to_those_who_ask(
    environment: Path, application: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAX_CONNECTIONS_PER_ADDRESS", "4")
    settings.cache_clear()
    connections.room.cache_clear()
    with running(application) as (client, _):
        ada = Student.registered(client, "ada")
        with listening(client, **ada.headers), listening(client, **ada.headers):
            with client.stream("GET", "/events", headers=ada.headers) as answer:
                assert answer.status_code == 429
            assert ada.get("/users/me").status_code == 200


def test_listeners_do_not_hold_up_the_end_of_the_service(
    live: tuple[httpx.Client, uvicorn.Server], ada: Student
) -> None:
    client, server = live
    with listening(client, **ada.headers) as stream:
        stream.of("training")
        server.should_exit = True
        while stream.next() is not None:  # it ends as an answer ends, and is not cut off
            pass


def test_an_answer_outlives_the_deadlines_of_a_connection(
    environment: Path, application: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HEADER_TIMEOUT_SECONDS", "BODY_TIMEOUT_SECONDS"):
        monkeypatch.setenv(name, "1")
    settings.cache_clear()
    connections.room.cache_clear()
    with running(application) as (client, _):
        ada = Student.registered(client, "ada")
        with listening(client, **ada.headers) as stream:
            stream.of("version")
            time.sleep(2.5)
            ada.ask(topic="Late")
            assert stream.of("task").data["topic"] == "Late"


def test_nobody_listens_nobody_looks(client: httpx.Client, ada: Student, db: Session) -> None:
    """The database is looked at once for all who listen, and not at all while nobody does."""
    looked = 0
    plain = feed.Feed._look

    def counted(self: feed.Feed, listeners: list[feed.Listener]) -> feed.News:
        nonlocal looked
        looked += 1
        return plain(self, listeners)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(feed.Feed, "_look", counted)
        with listening(client, **ada.headers) as one, listening(client, **ada.headers) as other:
            for number in range(3):
                ada.ask(topic=f"{number}")
                assert one.of("task").data == other.of("task").data
        seen = looked
        assert seen <= 8
        time.sleep(2.5 * feed.POLL_SECONDS)
        assert looked <= seen + 1


def test_a_moment_without_the_database_ends_no_answer(
    client: httpx.Client, ada: Student, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening(client, **ada.headers) as stream:
        stream.of("version")
        with monkeypatch.context() as patched:
            patched.setattr(events, "now", _away)
            time.sleep(2 * feed.POLL_SECONDS)
        ada.ask(topic="Back")
        assert stream.of("task").data["topic"] == "Back"


def _away(db: Session) -> None:
    db.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))


def test_without_a_token_nothing_is_told(service: TestClient) -> None:
    assert service.get("/events").status_code == 401
