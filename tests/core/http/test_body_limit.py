"""What is too long is refused before it is read, by what is announced and by what arrives."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.types import Message

from app.core.http.body_limit import BodyLimit
from app.core.settings import settings
from tests.school import Student

FORM = {"content-type": "application/x-www-form-urlencoded"}
JSON = {"content-type": "application/json", "authorization": "Bearer ssk_nobody-has-it"}  # looked up behind the body


def pieces(n: int, size: int = 1000) -> Iterator[bytes]:
    for _ in range(n):
        yield b" " * size


@pytest.mark.parametrize(("path", "kind"), [("/practice-tasks", JSON), ("/auth/register", JSON), ("/auth/token", FORM)])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_long_body_is_a_413(service: TestClient, path: str, kind: dict[str, str], chunked: bool) -> None:
    body: Any = pieces(100) if chunked else b"x" * 100_000
    answer = service.post(path, content=body, headers=kind)
    assert answer.status_code == 413, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert "65,536 bytes" in answer.json()["detail"]


def test_a_body_of_nobody_is_not_even_read(service: TestClient) -> None:
    answer = service.post("/practice-tasks", content=pieces(100), headers={"content-type": "application/json"})
    assert answer.status_code == 401


def test_a_body_of_just_the_size_is_read(student: Any) -> None:
    ada: Student = student()
    body = b'{"topic": "Calculus", "difficulty": "medium"}'
    for size, status in ((65_536, 201), (65_537, 413)):
        answer = ada.client.post("/practice-tasks", content=body.ljust(size), headers={**ada.headers, **JSON})
        assert answer.status_code == status


@pytest.mark.parametrize(("length", "status"), [("-1", 400), ("ten", 400), ("", 400), ("1e3", 400), ("9" * 5000, 413)])
def test_a_length_that_is_none_is_refused(service: TestClient, length: str, status: int) -> None:
    request = service.build_request("POST", "/auth/register", content=b"{}", headers=JSON)
    request.headers["content-length"] = length
    answer = service.send(request)
    assert (answer.status_code, answer.json()["status"]) == (status, status)


def test_an_endless_body_is_read_no_further_than_the_limit(environment: object) -> None:
    read = 0

    async def receive() -> Message:
        nonlocal read
        read += 1000
        return {"type": "http.request", "body": b" " * 1000, "more_body": True}

    async def reads_all(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["more_body"]:
            pass

    async def ask() -> None:
        scope = {"type": "http", "headers": [(b"transfer-encoding", b"chunked")], "path": "/"}
        await BodyLimit(reads_all)(scope, receive, receive)  # type: ignore[arg-type]

    with pytest.raises(Exception, match="413"):
        asyncio.run(ask())
    assert read <= settings().max_body_bytes + 1000


def test_the_limit_can_be_set(service: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings(), "max_body_bytes", 2000)
    assert service.post("/auth/register", content=b"x" * 2001).status_code == 413


def test_the_document_says_so_wherever_there_is_a_body(service: TestClient) -> None:
    for path in service.get("/openapi.json").json()["paths"].values():
        for operation in path.values():
            assert ("413" in operation["responses"]) == ("requestBody" in operation), operation["summary"]
