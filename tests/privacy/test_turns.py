"""Exports leave room for everybody else."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from app.core.database import connections, engine
from app.crud import person
from app.privacy import export
from app.privacy.turns import AT_ONCE
from tests.school import Student
from tests.web.browsing import Browser

Students = Callable[..., Student]
EXPORTS = ("/users/me/export", "/users/me/export?format=csv")


def id_of(student: Student) -> UUID:
    return UUID(student.get("/users/me").json()["id"])


def test_an_account_has_one_export_at_a_time(service: TestClient, student: Students) -> None:
    ada, bob = student("ada"), student("bob")
    exports = service.app.state.exports  # type: ignore[attr-defined]
    with exports.only_one(id_of(ada)):
        for path in EXPORTS:
            refused = ada.get(path)
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "10")
            assert bob.get(path).status_code == 200
    for path in (*EXPORTS, *EXPORTS):  # each gives its turn back
        assert ada.get(path).status_code == 200


def test_the_page_keeps_to_it_too(service: TestClient) -> None:
    browser = Browser(service).register()
    assert browser.get("/dashboard/settings/export").status_code == 200
    assert browser.get("/dashboard/settings/export", format="csv").status_code == 200
    exports = service.app.state.exports  # type: ignore[attr-defined]
    with exports.only_one(next(iter(_accounts()))):
        assert browser.get("/dashboard/settings/export").status_code == 429


def _accounts() -> list[UUID]:
    with engine().connect() as connection:
        return list(connection.exec_driver_sql("SELECT id FROM users").scalars())


def test_an_export_that_breaks_off_does_not_keep_the_next_from_beginning(
    service: TestClient, student: Students, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = student()
    ada.ask()

    def broken(*_: object) -> Iterator[Any]:
        raise ConnectionError("the database is gone")
        yield

    with monkeypatch.context() as patched:
        patched.setattr(export, "pages", broken)
        with suppress(ConnectionError):  # the answer has begun, so there is no other
            ada.get(EXPORTS[0])
    assert len(ada.get(EXPORTS[0]).json()["tasks"]) == 1


def test_few_exports_are_at_work_at_once_and_hold_one_connection_each(
    student: Students, monkeypatch: pytest.MonkeyPatch
) -> None:
    students = [student(f"student{n}") for n in range(8)]
    for each in students:
        each.ask()
    monkeypatch.setattr(export, "PAGE", 1)
    plain, at_work, most, turn, held = person.tasks, 0, 0, threading.Lock(), list[int]()
    several = threading.Event()

    def counted(db: Session, *rest: Any) -> Any:
        nonlocal at_work, most
        with turn:
            at_work += 1
            most = max(most, at_work)
            if at_work == AT_ONCE:
                several.set()
        several.wait(10)  # until as many are at work as may be
        held.append(connections()[0])
        found = plain(db, *rest)
        with turn:
            at_work -= 1
        return found

    monkeypatch.setattr(person, "tasks", counted)
    with ThreadPoolExecutor(len(students)) as pool:
        answers = list(pool.map(lambda each: each.get("/users/me/export"), students))
    assert [len(each.json()["tasks"]) for each in answers] == [1] * len(students)
    assert most == AT_ONCE
    assert max(held) <= AT_ONCE


def test_totals_come_in_pages_too(student: Students, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "PAGE", 2)
    ada = student()
    for topic in "ABC":
        ada.do(topic=topic, item_id=f"exercise {topic}")
    found = [(each["scope"], each["key"]) for each in ada.get("/users/me/export").json()["totals"]]
    topics, items = [("topic", topic) for topic in "ABC"], [("item", f"exercise {topic}") for topic in "ABC"]
    assert found == [("all", ""), ("difficulty", "medium"), *items, *topics]
