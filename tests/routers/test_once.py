"""A request that comes again with its Idempotency-Key is answered as the first time, and makes nothing twice."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core.settings import settings
from app.crud import accounts, idempotency_keys
from app.ml.training.scheduler import Trainer
from tests.school import PASSWORD, SOMEBODY, Student, nobody_trains

Students = Callable[..., Student]
KEY = "8e03978e-40d5-43dd-bc93-6894a57f9324"
TASK = {"topic": "Waves", "difficulty": "easy"}


@pytest.fixture(autouse=True)
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trainer, "_supervised", nobody_trains)


def send(caller: Student, path: str, body: Any, key: Any = KEY) -> httpx.Response:
    headers = caller.headers | {"Idempotency-Key": key}
    answer: httpx.Response = caller.client.post(path, json=body, headers=headers)
    return answer


def exam() -> dict[str, Any]:
    on = datetime.now(UTC).date() + timedelta(days=9)
    return {"exam_date": on.isoformat(), "topics": ["Waves"], "minutes_per_day": 30}


def count(db: Session, table: str) -> int:
    db.rollback()
    n: int = db.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()
    return n


def is_replayed(answer: httpx.Response) -> bool:
    return bool(answer.headers.get("idempotent-replayed") == "true")


@pytest.mark.parametrize(
    ("path", "body", "table"),
    [("/practice-tasks", TASK, "practice_tasks"), ("/preparation/plans", exam(), "exam_plans")],
)
def test_the_same_again_gets_the_first_answer(
    student: Students, db: Session, path: str, body: dict[str, Any], table: str
) -> None:
    ada = student()
    first, *others = [send(ada, path, body) for _ in range(3)]
    assert first.status_code == 201
    assert not is_replayed(first)
    for again in others:
        assert is_replayed(again)
        assert (again.status_code, again.content) == (201, first.content)
        assert again.headers["content-type"] == first.headers["content-type"]
    assert count(db, table) == 1
    assert not is_replayed(send(ada, path, body, "another"))
    assert count(db, table) == 2


def test_the_first_answer_is_as_it_was_though_the_task_went_on(student: Students) -> None:
    ada = student()
    first = send(ada, "/practice-tasks", TASK)
    ada.complete(first.json()["id"])
    assert send(ada, "/practice-tasks", TASK).json() == first.json()


def test_an_account_is_made_once(service: TestClient, db: Session) -> None:
    body = {"email": "ada@example.com", "password": PASSWORD}
    nobody = Student(service, "")
    first, again = (send(nobody, "/auth/register", body) for _ in range(2))
    assert (first.status_code, again.status_code, again.json()) == (201, 201, first.json())
    assert is_replayed(again)
    assert send(nobody, "/auth/register", body, "another").status_code == 409
    assert send(nobody, "/auth/register", body | {"password": f"{PASSWORD}!"}).status_code == 422
    stored = db.execute(text("SELECT * FROM idempotency_keys")).mappings().one()
    assert PASSWORD not in str(stored)


def test_a_key_is_for_one_request(student: Students, db: Session) -> None:
    ada = student()
    send(ada, "/practice-tasks", TASK)
    for path, body in (("/practice-tasks", TASK | {"difficulty": "hard"}), ("/preparation/plans", exam())):
        answer = send(ada, path, body)
        assert answer.status_code == 422
        assert answer.json()["detail"] == (
            "This Idempotency-Key came with another request in the last 24 hours: a new request needs a new key."
        )
    assert count(db, "practice_tasks") == 1


def test_each_caller_has_keys_of_their_own(student: Students, school: Student, db: Session) -> None:
    ada, bob = student("ada"), student("bob")
    assert send(ada, "/practice-tasks", TASK).json()["user_id"] != send(bob, "/practice-tasks", TASK).json()["user_id"]
    assert not is_replayed(send(school, "/practice-tasks", TASK | {"user_id": SOMEBODY}))
    assert count(db, "practice_tasks") == 3


def test_what_went_wrong_is_tried_again(student: Students, monkeypatch: pytest.MonkeyPatch) -> None:
    ada = student()
    assert send(ada, "/practice-tasks", {"topic": "Waves"}).status_code == 422
    monkeypatch.setattr(settings(), "max_open_tasks", 1)
    assert send(ada, "/practice-tasks", TASK, "first").status_code == 201
    refused = send(ada, "/practice-tasks", TASK)
    assert (refused.status_code, is_replayed(refused)) == (409, False)
    monkeypatch.setattr(settings(), "max_open_tasks", 10)
    assert send(ada, "/practice-tasks", TASK).status_code == 201

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("broken")

    with monkeypatch.context() as patched:
        patched.setattr("app.routers.preparation.plan_out", broken)
        assert send(ada, "/preparation/plans", exam(), "plan").status_code == 500
    made = send(ada, "/preparation/plans", exam(), "plan")
    assert (made.status_code, is_replayed(made)) == (201, False)
    assert len(ada.get("/preparation/plans").json()["items"]) == 1


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "ä".encode(), "tab\there"])
def test_a_key_that_can_not_be_one_is_named(student: Students, db: Session, key: Any) -> None:
    answer = send(student(), "/practice-tasks", TASK, key)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("Idempotency-Key: one key of 1 to 255 visible ASCII characters")
    assert count(db, "practice_tasks") == 0


def test_two_keys_are_none(student: Students) -> None:
    ada = student()
    headers = [*ada.headers.items(), ("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    assert ada.client.post("/practice-tasks", json=TASK, headers=headers).status_code == 422


def test_who_is_not_let_in_hears_nothing_of_it(student: Students, school: Student, db: Session) -> None:
    ada = student()
    me = ada.get("/users/me").json()["id"]
    send(ada, "/practice-tasks", TASK)
    body = TASK | {"user_id": SOMEBODY}
    send(school, "/practice-tasks", body)
    db.execute(text("DELETE FROM api_tokens"))
    db.execute(text("UPDATE service_keys SET revoked_at = now()"))
    db.commit()
    for caller, sent in ((ada, TASK), (school, body), (ada, TASK | {"topic": "x"})):
        assert send(caller, "/practice-tasks", sent).status_code == 401
    assert send(Student(ada.client, "no token"), "/practice-tasks", TASK).status_code == 401
    assert me


def test_a_day_later_it_is_another_request(student: Students, db: Session) -> None:
    ada = student()
    for key in ("other", KEY):
        send(ada, "/practice-tasks", TASK, key)
    db.execute(text("UPDATE idempotency_keys SET created_at = now() - interval '24 hours'"))
    db.commit()
    again = send(ada, "/practice-tasks", TASK | {"difficulty": "hard"})
    assert (again.status_code, is_replayed(again)) == (201, False)
    assert is_replayed(send(ada, "/practice-tasks", TASK | {"difficulty": "hard"}))
    assert count(db, "practice_tasks") == 3
    assert count(db, "idempotency_keys") == 1  # what is older went meanwhile


def test_it_goes_with_the_student(student: Students, school: Student, db: Session) -> None:
    ada, bob = student("ada"), student("bob")
    for who in (ada, bob):
        send(who, "/practice-tasks", TASK)
    send(school, "/practice-tasks", TASK | {"user_id": SOMEBODY})
    ada.client.delete("/users/me", headers=ada.headers)
    assert count(db, "idempotency_keys") == 2
    school.client.delete(f"/students/{SOMEBODY}", headers=school.headers)
    assert count(db, "idempotency_keys") == 1


def test_without_a_key_nothing_is_kept(student: Students, db: Session) -> None:
    student().ask()
    assert count(db, "idempotency_keys") == 0


def test_tokens_are_secrets_and_not_kept(service: TestClient, student: Students, db: Session) -> None:
    student()
    form = {"username": "ada@example.com", "password": PASSWORD}
    tokens = {service.post("/auth/token", data=form, headers={"Idempotency-Key": KEY}).text for _ in range(2)}
    assert len(tokens) == 2
    assert count(db, "idempotency_keys") == 0


def test_admins_acts_are_done_once(student: Students, db: Session) -> None:
    ada = student()
    ada.ask(topic="Waves")
    accounts.make_admin(db, "ada@example.com")
    db.commit()
    first, again = (send(ada, "/topics/rename", {"topic": "Waves", "to": "Wave"}) for _ in range(2))
    assert (first.status_code, again.status_code, again.json()) == (200, 200, first.json())
    paused, once_more = (send(ada, "/model/pause", {"reason": "exams"}, "pause") for _ in range(2))
    assert once_more.json() == paused.json()
    assert is_replayed(once_more)
    assert ada.client.get("/model/status").status_code == 200  # which everybody may read, key or not


def at_once(work: Callable[[int], httpx.Response], n: int) -> Sequence[httpx.Response]:
    with ThreadPoolExecutor(n) as pool:
        return list(pool.map(work, range(n)))


@pytest.mark.parametrize(
    ("path", "body", "table"),
    [
        ("/practice-tasks", TASK, "practice_tasks"),
        ("/preparation/plans", exam(), "exam_plans"),
        ("/auth/register", {"email": "eve@example.com", "password": PASSWORD}, "users WHERE email LIKE 'eve%'"),
    ],
)
def test_of_many_at_once_one_makes_it_and_all_get_its_answer(
    student: Students, db: Session, path: str, body: dict[str, Any], table: str
) -> None:
    ada = student()
    found = at_once(lambda _: send(ada, path, body), 8)
    assert {each.status_code for each in found} == {201}
    assert len({each.content for each in found}) == 1
    assert sum(not is_replayed(each) for each in found) == 1
    assert count(db, table) == 1


def test_of_two_bodies_at_once_one_is_made(student: Students, db: Session) -> None:
    ada = student()
    topics = ("Waves", "Optics")
    found = at_once(lambda n: send(ada, "/practice-tasks", {"topic": topics[n % 2], "difficulty": "easy"}), 8)
    assert {each.status_code for each in found} == {201, 422}
    assert count(db, "practice_tasks") == 1


def test_a_process_that_dies_before_the_commit_has_made_nothing(
    student: Students, db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Task and answer are stored together, so there is no moment at which only one of them is there."""
    ada = student()
    with monkeypatch.context() as patched:
        patched.setattr(idempotency_keys, "keep", lambda *_: 1 / 0)
        assert send(ada, "/practice-tasks", TASK).status_code == 500
        assert send(ada, "/preparation/plans", exam(), "plan").status_code == 500
    assert (count(db, "practice_tasks"), count(db, "exam_plans"), count(db, "idempotency_keys")) == (0, 0, 0)
    assert send(ada, "/practice-tasks", TASK).status_code == 201


def test_every_post_takes_a_key_but_those_that_answer_with_a_secret(service: TestClient) -> None:
    paths = service.get("/openapi.json").json()["paths"]
    takes = {
        (method, path): any(each["name"] == "Idempotency-Key" for each in operation.get("parameters", []))
        for path, operations in paths.items()
        for method, operation in operations.items()
    }
    without = {path for (method, path), takes_one in takes.items() if method == "post" and not takes_one}
    assert without == {
        "/auth/token",
        "/auth/reset-password",
        "/users/me/password",
        "/users/{account_id}/reset-password",
    }
    assert {method for (method, _), takes_one in takes.items() if takes_one} == {"post"}


def test_a_batch_that_comes_again_makes_its_tasks_once(student: Students, db: Session) -> None:
    ada = student()
    found = at_once(lambda _: send(ada, "/practice-tasks/batch", {"tasks": [TASK] * 20}), 4)
    assert {each.status_code for each in found} == {200}
    assert len({each.content for each in found}) == 1
    assert count(db, "practice_tasks") == 20


def test_what_is_old_is_found_by_its_age_however_many_keys_are_kept(db: Session) -> None:
    db.execute(
        text("INSERT INTO idempotency_keys SELECT 'caller', n, '', 201, '', now() FROM generate_series(1, 5000) AS n")
    )
    given = {"caller": "caller", "key": "new", "request": b"", "status": 201, "answer": ""}
    plan = db.execute(text(f"EXPLAIN {idempotency_keys.KEEP._clause.text}"), given).scalars()
    assert "using ix_idempotency_keys_created_at" in "\n".join(plan)
