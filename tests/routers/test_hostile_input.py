"""Whatever is sent, by whatever bytes: no crash, and who is refused is told what is accepted."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from app.crud import accounts
from app.domain.characters import tidy
from app.ml.training.scheduler import Trainer
from tests.hostile import (
    BODIES,
    CURSORS,
    FORMS,
    HEADERS,
    PATHS,
    QUERIES,
    TEXTS,
    TYPES,
    VALID,
    VALUES,
    Heard,
    send,
)
from tests.school import Student, nobody_trains

Students = Callable[..., Student]
JSON = (b"content-type", b"application/json")
FORM = (b"content-type", b"application/x-www-form-urlencoded")
HIDDEN = set("\x00\x07\x1b\x85\u2028\u2029\u200b\u202e\u2066\u2069\ufeff\uffff\U0010ffff")
SENT_AS_IT_IS = "%/;.=*~+&'{}:"
Route = tuple[str, str, dict[str, Any]]


@pytest.fixture
def admin(student: Students, db: Session, monkeypatch: pytest.MonkeyPatch) -> Student:
    """May call every route; trainings are done by nobody."""
    monkeypatch.setattr(Trainer, "_supervised", nobody_trains)
    who = student("grace")
    accounts.make_admin(db, "grace@example.com")
    db.commit()
    return who


def sound(heard: Heard, what: object) -> Heard:
    """The answer, which is no crash; a refusal is a problem that its request's id can be found by."""
    shown = f"{str(what)[:200]!r} -> {heard.status} {heard.body[:300]!r}"
    assert heard.status < 500, shown
    assert heard.headers["x-request-id"], shown
    if heard.status < 400:
        return heard
    assert heard.headers["content-type"] == "application/problem+json", shown
    problem = heard.json()
    assert (problem["status"], problem["request_id"]) == (heard.status, heard.headers["x-request-id"]), shown
    assert len(problem["detail"]) > 10, shown
    assert len(heard.body) < 20_000, shown
    assert "\x00" not in problem["detail"], shown
    return heard


def bearer(caller: Student) -> tuple[bytes, bytes]:
    return b"authorization", f"Bearer {caller.secret}".encode()


def routes(service: TestClient) -> Iterator[Route]:
    document = service.get("/openapi.json").json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if (method, path) != ("delete", "/users/me"):  # which only a caller who is gone could repeat
                yield method.upper(), path, resolved(operation, document)


def resolved(node: Any, document: Any) -> Any:
    """Without references."""
    if isinstance(node, list):
        return [resolved(each, document) for each in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return resolved(document["components"]["schemas"][node["$ref"].rsplit("/", 1)[1]], document)
    return {key: resolved(value, document) for key, value in node.items() if key != "responses"}


def body_of(operation: Any, kind: str) -> Any:
    """The schema of its body in this content type, or None."""
    schema = operation.get("requestBody", {}).get("content", {}).get(kind, {}).get("schema")
    return (
        next((part for part in schema["anyOf"] if "properties" in part), None)
        if schema and "anyOf" in schema
        else schema
    )


def parameters(operation: Any, where: str) -> list[str]:
    return [each["name"] for each in operation.get("parameters", []) if each["in"] == where]


def place(path: str, task: str) -> str:
    """The path with something there: a task, or a number."""
    return path.replace("{task_id}", task).replace("{version_id}", "1")


def test_no_field_of_any_body_breaks_anything(service: TestClient, admin: Student) -> None:
    task = admin.ask().json()["id"]
    for method, path, operation in routes(service):
        schema = body_of(operation, "application/json")
        for field in (schema or {}).get("properties", {}):
            whole = {key: json.dumps(value) for key, value in schema.get("examples", [{}])[0].items()}
            for value in VALUES:
                text = ", ".join(f'"{key}": {written}' for key, written in {**whole, field: value}.items())
                body = f"{{{text}}}".encode("utf-8", "surrogatepass")
                sound(send(service, method, place(path, task), body, bearer(admin), JSON), (path, field, value))


def test_no_body_breaks_anything(service: TestClient, admin: Student) -> None:
    task = admin.ask().json()["id"]
    for method, path, operation in routes(service):
        if "requestBody" not in operation and method == "GET":
            continue
        for body in BODIES:
            for kind in (JSON, FORM):
                sound(send(service, method, place(path, task), body, bearer(admin), kind), (path, kind, body))
        for content_type in TYPES:
            heads = [] if content_type is None else [(b"content-type", content_type)]
            sound(send(service, method, place(path, task), VALID, bearer(admin), *heads), (path, content_type))
        for form in FORMS:
            sound(send(service, method, place(path, task), form, FORM), (path, form))


def test_no_query_and_no_path_breaks_anything(service: TestClient, admin: Student) -> None:
    task = admin.ask().json()["id"]
    for method, path, operation in routes(service):
        for name in parameters(operation, "query"):
            for value in [*QUERIES, *(CURSORS if name == "before" else [])]:
                query = f"{name}={quote(value, safe=SENT_AS_IT_IS)}"
                sound(send(service, method, f"{place(path, task)}?{query}", b"", bearer(admin)), (path, query))
            query = f"{name}=1&{name}=x&{name}[]=2&{name}&&=&nonsense=%ff"
            sound(send(service, method, f"{place(path, task)}?{query}", b"", bearer(admin)), (path, query))
        for name in parameters(operation, "path"):
            for value in PATHS:
                target = place(path.replace(f"{{{name}}}", quote(value, safe=SENT_AS_IT_IS)), task)
                sound(send(service, method, target, b"{}", bearer(admin), JSON), (method, target))
        for target in (
            f"{path}/",
            f"//{path}",
            f"{path}/%00",
            f"{path}%2f",
            f"/..{path}",
            f"{path}/../..",
            path.upper(),
        ):
            sound(send(service, method, place(target, task), VALID, bearer(admin), JSON), (method, target))


def test_no_header_breaks_anything(service: TestClient, admin: Student) -> None:
    task = admin.ask().json()["id"]
    for method, path, _ in routes(service):
        for header in HEADERS:
            heads = [JSON, header] if header[0] == b"authorization" else [bearer(admin), JSON, header]
            sound(send(service, method, place(path, task), VALID, *heads), (method, path, header))


def test_unknown_paths_and_methods_are_problems_too(service: TestClient) -> None:
    for target in (
        "/nothing",
        "/%00",
        "/%ff",
        "/practice-tasks/x/y",
        "/" + "a" * 60_000,
        "/openapi.json/x",
        "/model",
    ):
        assert sound(send(service, "GET", target), target).status == 404
    known = [(method, path) for method, path, _ in routes(service)]
    for method, path in known:
        for other in {"PUT", "TRACE", "OPTIONS", "CONNECT", "BREW", "get"} - {each for each, of in known if of == path}:
            refused = sound(send(service, other, place(path, "x")), (other, path))
            assert refused.status == 405
            assert method in refused.headers["allow"].split(", ")


def test_any_text_that_can_be_seen_comes_back_as_it_went_in_but_for_its_spaces_and_the_code_of_its_accents(
    admin: Student,
) -> None:
    for topic in TEXTS:
        if not 0 < len(topic.strip()) <= 200:
            continue
        asked = admin.ask(topic, item_id=topic)
        heap_of_accents = re.search("(^|[\u0300-\u036f]{4})[\u0300-\u036f]", topic)
        if set(topic) & HIDDEN or heap_of_accents:
            assert asked.status_code == 422
            assert re.search(r"topic: must not hold U\+[0-9A-F]{4}", asked.json()["detail"])
            continue
        assert asked.status_code == 201, asked.text
        task, same = asked.json(), tidy(topic)
        assert (task["topic"], task["item_id"]) == (same, same)
        assert admin.complete(task["id"]).json()["topic"] == same
        assert admin.get(f"/practice-tasks/{task['id']}").json()["item_id"] == same
        assert [each["id"] for each in admin.get("/practice-tasks", topic=topic).json()["items"]] == [task["id"]]
        assert admin.get(f"/practice-tasks/{task['id']}/explanation").status_code == 200
