"""Nobody sets what is not theirs to set, and what belongs to others looks like nothing."""

import base64
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.domain.tasks import Task
from app.models import PracticeTask, User
from tests.school import PASSWORD, SOMEBODY, Student

Students = Callable[..., Student]
ODD = ("__class__", "isAdmin", "role", "tasks", "version")
COLUMNS = {column.name for table in (PracticeTask, User) for column in table.__table__.columns}
EVERY_FIELD = sorted({*COLUMNS, *Task.__slots__, *ODD})
# Same in every answer to anybody, or of the request and not of what it asked for.
OF_THE_REQUEST = {"x-request-id", "traceparent", "date"}


def rows(db: Session) -> list[Any]:
    db.rollback()
    tables = ("users", "practice_tasks", "student_totals", "embedding_model_tracker", "service_keys")
    return [db.execute(text(f"SELECT * FROM {table} ORDER BY 1")).all() for table in tables]


def others(*fields: str) -> list[tuple[str, Any]]:
    """Every field there is anywhere but these, each with some values."""
    return [(name, value) for name in EVERY_FIELD if name not in fields for value in (True, None, SOMEBODY, 0.99)]


def test_registration_takes_no_other_field(service: TestClient, db: Session) -> None:
    before = rows(db)
    for name, value in others("email", "name", "password", "time_zone"):
        answer = service.post("/auth/register", json={"email": "ada@example.com", "password": PASSWORD, name: value})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, name)
    assert rows(db) == before


def test_a_new_task_takes_no_other_field(student: Students, school: Student, db: Session) -> None:
    ada = student()
    before = rows(db)
    for name, value in others("topic", "difficulty", "item_id", "user_id"):
        for answer in (ada.ask(**{name: value}), school.ask(user_id=SOMEBODY, **{name: value})):
            assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, name)
    assert rows(db) == before


def test_a_result_takes_no_other_field(student: Students, db: Session) -> None:
    ada = student()
    task = ada.ask().json()["id"]
    before = rows(db)
    for name, value in others("is_correct", "actual_time_seconds"):
        body = {"is_correct": True, "actual_time_seconds": 30, name: value}
        answer = ada.client.patch(f"/practice-tasks/{task}", json=body, headers=ada.headers)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, name)
    assert rows(db) == before


def test_a_student_names_no_student_not_even_themselves(student: Students, db: Session) -> None:
    ada, ben = student("ada"), student("ben")
    mine, theirs = (who.ask().json()["user_id"] for who in (ada, ben))
    before = rows(db)
    for user_id in (mine, theirs, str(uuid4())):
        assert ada.ask(user_id=user_id).status_code == 422
    assert rows(db) == before


def test_a_field_in_the_address_is_not_one_of_the_body(student: Students, service: TestClient) -> None:
    ada, ben = student("ada"), student("ben")
    theirs = ben.ask().json()["user_id"]
    body = {"topic": "Calculus", "difficulty": "medium"}
    answer = service.post("/practice-tasks", params={"user_id": theirs}, json=body, headers=ada.headers)
    assert answer.json()["user_id"] != theirs


@pytest.mark.parametrize("form", [{"is_admin": "true"}, {"scope": "admin"}, {"client_id": "a", "client_secret": "b"}])
def test_signing_in_gives_no_more_than_it_says(student: Students, service: TestClient, form: dict[str, str]) -> None:
    student("ada")
    answer = service.post("/auth/token", data={"username": "ada@example.com", "password": PASSWORD, **form})
    if answer.status_code == 200:
        token = answer.json()["access_token"]
        assert service.get("/audit", headers={"Authorization": f"Bearer {token}"}).status_code == 403


REQUESTS = [
    ("GET", "/practice-tasks/{}", None),
    ("GET", "/practice-tasks/{}/explanation", None),
    ("PATCH", "/practice-tasks/{}", {"is_correct": True, "actual_time_seconds": 30}),
    ("PATCH", "/practice-tasks/{}", {"is_correct": False, "actual_time_seconds": 12}),
    ("PATCH", "/practice-tasks/{}", {"is_correct": "perhaps"}),
    ("PUT", "/practice-tasks/{}", {}),
    ("DELETE", "/practice-tasks/{}", None),
]


def told(answer: httpx.Response) -> tuple[int, dict[str, Any], list[tuple[str, str]]]:
    """All that an answer says but the request's own name."""
    body = {name: value for name, value in answer.json().items() if name != "request_id"}
    headers = [(name, value) for name, value in answer.headers.items() if name not in OF_THE_REQUEST]
    return answer.status_code, body, headers


@pytest.mark.parametrize(("method", "path", "body"), REQUESTS)
@pytest.mark.parametrize("is_completed", [False, True])
def test_what_is_not_yours_looks_like_nothing(
    student: Students, school: Student, db: Session, method: str, path: str, body: Any, is_completed: bool
) -> None:
    ada, ben = student("ada"), student("ben")
    theirs = [ben.ask().json()["id"], school.ask(user_id=SOMEBODY).json()["id"]]
    if is_completed:
        assert ben.complete(theirs[0]).status_code == school.complete(theirs[1]).status_code == 200
    before = rows(db)
    answers = [
        ada.client.request(method, path.format(task), json=body, headers=ada.headers)
        for task in (*theirs, str(uuid4()), str(UUID(int=0)))
    ]
    assert len({repr(told(answer)) for answer in answers}) == 1
    assert 400 <= answers[0].status_code < 500
    assert rows(db) == before


def test_nothing_is_looked_up_for_a_stranger_that_is_not_for_the_owner(
    student: Students, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same statements run for a task of another's as for none, so the time can't tell them apart."""
    from app.core.db.statements import Statement

    ada, ben = student("ada"), student("ben")
    theirs = ben.ask().json()["id"]
    ran: list[str] = []

    def counted(kind: type[Statement], name: str) -> None:
        plain = getattr(kind, name)

        def run(self: Statement, *given: Any, **more: Any) -> Any:
            ran.append(self._sql)
            return plain(self, *given, **more)

        monkeypatch.setattr(kind, name, run)

    for name in ("rows", "rows_sync"):
        counted(Statement, name)
    for path in ("/practice-tasks/{}", "/practice-tasks/{}/explanation"):
        asked = []
        for task in (theirs, str(uuid4())):
            ran.clear()
            assert ada.get(path.format(task)).status_code == 404
            asked.append(list(ran))
        assert asked[0] == asked[1] != []


def test_a_list_shows_ones_own_whatever_is_asked_for(student: Students, school: Student) -> None:
    ada, ben = student("ada"), student("ben")
    mine = [ada.ask("A").json() for _ in range(2)]
    theirs = [ben.ask("B").json() for _ in range(3)]
    school.ask("C", user_id=SOMEBODY)
    nothing: dict[str, Any] = {"items": [], "next": None}
    for user_id in (theirs[0]["user_id"], SOMEBODY, str(uuid4())):
        assert ada.get("/practice-tasks", user_id=user_id, limit=1).json() == nothing
        assert ada.get("/practice-tasks", user_id=user_id, topic="B", completed=False).json() == nothing
    assert ada.get("/practice-tasks", topic="B").json() == nothing
    assert [task["id"] for task in ada.get("/practice-tasks").json()["items"]] == [task["id"] for task in mine[::-1]]
    assert len(ada.get("/practice-tasks", user_id=mine[0]["user_id"]).json()["items"]) == 2
    assert ada.get("/practice-tasks", limit=2).json()["next"] is None  # three of Ben's are none of hers


def test_a_position_in_somebody_elses_list_shows_only_ones_own(student: Students, school: Student) -> None:
    ada, ben = student("ada"), student("ben")
    mine = [ada.ask().json()["id"] for _ in range(2)]
    theirs = [ben.ask().json() for _ in range(3)]
    for _ in range(2):
        school.ask(user_id=SOMEBODY)
    cursors = [
        ben.get("/practice-tasks", limit=1).json()["next"],
        school.get("/practice-tasks", limit=1).json()["next"],
        base64.urlsafe_b64encode(f"9999-12-31T00:00:00+00:00 {theirs[0]['id']}".encode()).decode(),
        base64.urlsafe_b64encode(f"{theirs[0]['created_at'].replace('Z', '+00:00')} {uuid4()}".encode()).decode(),
    ]
    for cursor in cursors:
        assert [task["id"] for task in ada.get("/practice-tasks", before=cursor).json()["items"]] == mine[::-1]


def test_an_admin_sees_models_not_students(student: Students, db: Session) -> None:
    ada, grace = student("ada"), student("grace")
    db.execute(text("UPDATE users SET is_admin = true WHERE email = 'grace@example.com'"))
    db.commit()
    theirs = ada.do()
    assert grace.get("/practice-tasks").json()["items"] == []
    assert grace.get("/practice-tasks", user_id=theirs["user_id"]).json()["items"] == []
    assert grace.ask(user_id=theirs["user_id"]).status_code == 422
    assert grace.complete(theirs["id"]).status_code == 404
