"""One caller is not everybody: requests, open tasks and topics of each are bounded."""

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from app.core import budget
from app.core.settings import settings
from tests.school import SOMEBODY, Student
from tests.web.browsing import Browser

Bounds = Callable[..., None]


@pytest.fixture
def bounds(service: TestClient, monkeypatch: pytest.MonkeyPatch) -> Bounds:
    def change(**most: int) -> None:
        """From now on; budgets are whole, and no time goes by in which they would become so again."""
        now = time.monotonic() + budget.MINUTE
        monkeypatch.setattr(budget, "time", SimpleNamespace(monotonic=lambda: now))
        for name, value in most.items():
            monkeypatch.setattr(settings(), name, value)

    return change


def is_refused(answer: httpx.Response) -> None:
    assert answer.status_code == 429
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["retry-after"] in answer.json()["detail"]


def test_who_asks_without_end_waits_and_nobody_else_does(student: Any, bounds: Bounds) -> None:
    ada, bob = student("ada"), student("bob")
    bounds(requests_per_student=20)
    statuses = [ada.get("/users/me").status_code for _ in range(25)]
    assert statuses == [200] * 20 + [429] * 5
    is_refused(ada.ask())
    is_refused(ada.complete(SOMEBODY))
    assert bob.ask().status_code == 201


def test_a_key_has_a_budget_of_its_own(student: Any, school: Student, bounds: Bounds) -> None:
    ada = student("ada")
    bounds(requests_per_key=5, requests_per_student=5)
    assert [school.ask(user_id=SOMEBODY).status_code for _ in range(6)] == [201] * 5 + [429]
    is_refused(school.get("/practice-tasks"))
    assert ada.ask().status_code == 201


def test_pages_count_as_the_api_does(service: TestClient, bounds: Bounds) -> None:
    browser = Browser(service).register()
    bounds(requests_per_student=3)
    answers = [browser.get("/dashboard/settings") for _ in range(6)]
    assert {each.status_code for each in answers} == {200, 429}
    assert "Too many requests" in answers[-1].text
    assert int(answers[-1].headers["retry-after"]) > 0
    assert service.get("/healthz").status_code == 200


def test_a_refusal_is_said_in_the_language_of_the_page(service: TestClient, bounds: Bounds) -> None:
    browser = Browser(service).register()
    browser.send("/preferences", language="de")
    bounds(max_open_tasks=1, max_topics=1)
    browser.practise("Algebra")
    new_topic = browser.send("/dashboard/tasks", topic="Geometry", difficulty="hard")
    assert (new_topic.status_code, "Du hast 1 Themen" in new_topic.text) == (409, True)
    assert 'value="Geometry"' in new_topic.text  # the form, as it was filled in
    browser.send("/dashboard/tasks", topic="Algebra")
    one_more = browser.send("/dashboard/tasks", topic="Algebra")
    assert (one_more.status_code, "Du hast 1 Aufgaben offen" in one_more.text) == (409, True)
    assert "Darauf hast du keinen Zugriff." in browser.get("/admin").text
    assert "Es ist fort, war nie da" in browser.get(f"/dashboard/tasks/{SOMEBODY}").text
    bounds(requests_per_student=1)
    browser.get("/dashboard/settings")
    too_much = browser.get("/dashboard/settings")
    assert too_much.status_code == 429
    assert f"Bitte versuche es in {too_much.headers['retry-after']} s noch einmal." in too_much.text


def test_a_student_has_so_many_open_tasks(student: Any, school: Student, bounds: Bounds) -> None:
    ada, bob = student("ada"), student("bob")
    bounds(max_open_tasks=3)
    tasks = [ada.ask().json()["id"] for _ in range(3)]
    refused = ada.ask()
    assert (refused.status_code, refused.json()["detail"][:12]) == (409, "3 open tasks")
    assert bob.ask().status_code == 201
    ada.complete(tasks[0])
    assert ada.ask().status_code == 201
    asked = [school.ask(user_id=SOMEBODY).status_code for _ in range(4)]
    assert asked == [201, 201, 201, 409]


def test_a_student_has_so_many_topics_finished_or_open(student: Any, bounds: Bounds) -> None:
    ada = student("ada")
    bounds(max_topics=3)
    ada.do(topic="A")
    ada.do(topic="B")
    assert ada.ask("C").status_code == 201
    refused = ada.ask("D")
    assert (refused.status_code, refused.json()["detail"][:8]) == (409, "3 topics")
    assert [ada.ask(topic).status_code for topic in "ABC"] == [201] * 3


def test_zero_bounds_nothing(student: Any, bounds: Bounds) -> None:
    ada = student("ada")
    bounds(max_topics=0, max_open_tasks=0, requests_per_student=0)
    assert {ada.ask(f"topic {n}").status_code for n in range(5)} == {201}
