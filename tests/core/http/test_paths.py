"""HEAD is answered where GET is, and a slash too many loses nothing."""

import re
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.school import Student

OPEN_TO_ALL = (
    *("/", "/healthz", "/readyz", "/model/status", "/metrics"),
    *("/docs", "/openapi.json", "/sign-in", "/static/style.css"),
)
SLASHES = ("/practice-tasks/", "/practice-tasks//", "http://testserver//practice-tasks")


@pytest.mark.parametrize("path", SLASHES)
def test_a_post_with_a_slash_too_many_is_done(service: TestClient, student: Any, path: str) -> None:
    ada = student()
    body = {"topic": "Calculus", "difficulty": "easy"}
    made = service.post(path, json=body, headers=ada.headers, follow_redirects=False)
    assert made.status_code == 201
    done = f"/practice-tasks/{made.json()['id']}/"
    result = {"is_correct": True, "actual_time_seconds": 3}
    assert service.patch(done, json=result, headers=ada.headers, follow_redirects=False).status_code == 200


def test_no_redirect_says_where_else_to_go(service: TestClient) -> None:
    for path in ("/docs/", "/model/status/", "http://testserver//healthz", "/sign-in/"):
        answer = service.get(path, follow_redirects=False)
        assert answer.status_code == 200
        assert "location" not in answer.headers
    assert "sha256-" in service.get("/docs/").headers["content-security-policy"]


def test_head_answers_as_get_does_without_its_body(service: TestClient, student: Any) -> None:
    ada: Student = student()
    task = ada.do()["id"]
    for path in (*OPEN_TO_ALL, "/users/me", "/users/me/export", "/practice-tasks", f"/practice-tasks/{task}"):
        got, head = (service.request(method, path, headers=ada.headers) for method in ("GET", "HEAD"))
        assert (head.status_code, head.content) == (got.status_code, b""), path
        assert head.headers["content-type"] == got.headers["content-type"]
    assert service.head("/practice-tasks").status_code == 401
    assert service.head("/nothing").status_code == 404
    refused = service.head("/auth/token")
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")


def test_static_files_are_counted_as_such_and_head_as_head(service: TestClient) -> None:
    service.get("/static/style.css")
    service.head("/static/icon.svg")
    service.get("/static-offline-docs/swagger-ui.css")
    service.get("/nothing/here")
    told = service.get("/metrics").text
    for method, route in (("GET", "/static"), ("HEAD", "/static"), ("GET", "/static-offline-docs")):
        assert re.search(rf'http_requests_total{{method="{method}",route="{route}",status="200"}} ', told)
    assert re.search(r'route="unmatched",status="404"', told)
