"""What the process says, as whoever reads its log sees it."""

import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.core.observability import logs
from app.core.settings import settings
from tests.school import PASSWORD, Student

ROOT = Path(__file__).parents[3]


class Said:
    """The lines of the log since it was asked last."""

    def __init__(self, stream: io.StringIO) -> None:
        self._stream = stream

    def text(self) -> str:
        said = self._stream.getvalue()
        self._stream.seek(0)
        self._stream.truncate()
        return said

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines()]


@pytest.fixture
def said(environment: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Said]:
    """The log of a process that logs JSON and every request."""
    monkeypatch.setenv("LOG_FORMAT", "json")
    monkeypatch.setenv("ACCESS_LOG", "true")
    yield from _logging()


def _logging() -> Iterator[Said]:
    settings.cache_clear()
    stream, before = io.StringIO(), logging.root.handlers[:]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.formatter())
    levels = {name: logging.getLogger(name).level for name in ("", *logs.as_dict()["loggers"])}
    for name, given in logs.as_dict()["loggers"].items():
        logging.getLogger(name).setLevel(given["level"])
    logging.root.handlers = [handler]
    yield Said(stream)
    logging.root.handlers = before
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def test_a_line_is_one_object_whatever_was_said(said: Said) -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("anybody").exception("it failed: %s", "so\nit is")
    (line,) = said.lines()
    assert (line["level"], line["logger"], line["event"]) == ("error", "anybody", "it failed: so\nit is")
    assert line["timestamp"].endswith("Z")
    assert "Traceback" in line["exception"]
    assert "ValueError: two\nlines" in line["exception"]
    assert "request_id" not in line


def test_a_request_has_one_line_with_its_names_and_its_route_but_nothing_of_what_it_said(
    said: Said, service: TestClient
) -> None:
    ada = Student.registered(service, "ada")
    task = ada.ask(topic="Secret topic").json()["id"]
    said.text()
    answer = ada.get(f"/practice-tasks/{task}", secret="in the query")
    (text,) = said.text().splitlines()
    line = json.loads(text)
    assert (line["method"], line["route"], line["status"]) == ("GET", "/practice-tasks/{task_id}", 200)
    assert line["duration_ms"] > 0
    assert line["request_id"] == answer.headers["x-request-id"]
    assert line["trace_id"] == answer.headers["traceparent"].split("-")[1]
    for secret in (task, "query", ada.secret, "ada@example.com", "Secret topic", PASSWORD):
        assert secret not in text


def test_only_what_failed_is_logged_unless_all_is_wanted(
    environment: Path, monkeypatch: pytest.MonkeyPatch, service: TestClient
) -> None:
    async def broken() -> None:
        raise RuntimeError("a bug")

    app: Any = service.app
    monkeypatch.setattr(app.router, "routes", [*app.router.routes])  # other tests have the same application
    app.add_api_route("/broken/{secret}", broken)
    monkeypatch.setenv("LOG_FORMAT", "json")
    for said in _logging():
        service.get("/healthz")
        assert said.text() == ""
        answer = service.get("/broken/hidden")
        (line,) = (line for line in said.lines() if line["event"] == "request")
        assert (line["level"], line["route"], line["status"]) == ("error", "/broken/{secret}", 500)
        assert line["request_id"] == answer.json()["request_id"]


@pytest.mark.parametrize(
    ("secret", "said_instead"),
    [
        ("postgresql://ada:hush@host/db", "postgresql://ada:[removed]@host/db"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer [removed]"),
        ("for ada@example.com", "for [removed]"),
        ("eyJhbGciOi.eyJzdWIi.c2ln", "[removed]"),
    ],
)
def test_a_library_that_tells_a_secret_is_not_repeated(said: Said, secret: str, said_instead: str) -> None:
    logging.getLogger("library").warning("it said %s", secret)
    assert said.lines()[0]["event"] == f"it said {said_instead}"


def test_for_people_it_is_a_line_too(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_FORMAT", "console")
    for said in _logging():
        logging.getLogger("smartstudy").info("hello")
        line = said.text()
    assert line.endswith("Z info     smartstudy: hello\n")


def process(code: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )


def test_warnings_and_what_nobody_caught_are_objects_too(environment: Path) -> None:
    code = "from app.core.observability import logs; logs.configure(); import warnings; warnings.warn('old'); 1 / 0"
    lines = [json.loads(line) for line in process(code, LOG_FORMAT="json").stderr.splitlines()]
    assert [line["level"] for line in lines] == ["warning", "critical"]
    assert "old" in lines[0]["event"]
    assert "ZeroDivisionError" in lines[1]["exception"]


def test_json_is_what_a_program_gets_and_the_level_can_be_set(environment: Path) -> None:
    code = (
        "import logging; from app.core.observability import logs; logs.configure(); "
        "log = logging.getLogger('smartstudy.x'); log.info('quiet'); log.error('loud')"
    )
    assert [json.loads(line)["event"] for line in process(code).stderr.splitlines()] == ["quiet", "loud"]
    assert "quiet" not in process(code, LOG_LEVEL="error").stderr
    refused = process(code, LOG_LEVEL="loudest")
    assert "LOG_LEVEL" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_run_says_which_it_is(said: Said) -> None:
    token = logs.run_id.set(7)
    logging.getLogger("smartstudy.training").warning("it failed")
    logs.run_id.reset(token)
    assert said.lines()[0]["run_id"] == 7
