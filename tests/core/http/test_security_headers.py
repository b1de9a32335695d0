"""Every answer tells the browser what it may do, errors too."""

import re
from base64 import b64encode
from hashlib import sha256
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.core.http import security_headers as headers
from app.main import create_app
from tests.school import Student

STRICT = "default-src 'self'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"


def guarded(answer: Any, referrer: str = "no-referrer") -> None:
    said = answer.headers
    assert said["x-content-type-options"] == "nosniff"
    assert said["x-frame-options"] == "DENY"
    assert said.get_list("referrer-policy") == [referrer]
    assert said["cross-origin-opener-policy"] == "same-origin"
    assert "camera=()" in said["permissions-policy"]
    assert said["content-security-policy"].startswith(STRICT)
    assert said.get_list("content-security-policy") == [said["content-security-policy"]]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/healthz", 200),
        ("GET", "/model/status", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/static-offline-docs/swagger-ui.css", 200),
        ("GET", "/static-offline-docs/none", 404),
        ("GET", "/practice-tasks", 401),
        ("GET", "/nothing", 404),
        ("DELETE", "/practice-tasks", 405),
        ("POST", "/auth/register", 422),
    ],
)
def test_every_answer_is_guarded(service: TestClient, method: str, path: str, status: int) -> None:
    answer = service.request(method, path)
    assert answer.status_code == status
    guarded(answer)
    assert answer.headers["content-security-policy"] == STRICT or path == "/"
    assert "strict-transport-security" not in answer.headers


def test_an_error_of_ours_is_guarded_too(service: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("app.routers.model.model_status", broken)
    answer = service.get("/model/status")
    assert answer.status_code == 500
    guarded(answer)


def test_a_body_that_is_too_long_is_refused_with_guards(service: TestClient) -> None:
    answer = service.post("/practice-tasks", content=b"x" * 70_000)
    assert answer.status_code == 413
    guarded(answer)
    assert answer.headers["x-request-id"] == answer.json()["request_id"]


def test_https_is_asked_for_only_where_it_is_spoken(environment: object) -> None:
    with TestClient(create_app(), base_url="https://testserver") as client:
        assert client.get("/healthz").headers["strict-transport-security"] == "max-age=31536000"


def test_what_is_personal_is_kept_by_no_cache(student: Any) -> None:
    ada: Student = student()
    task = ada.ask()
    for answer in (task, ada.get("/practice-tasks"), ada.get(f"/practice-tasks/{task.json()['id']}")):
        assert answer.headers["cache-control"] == "no-store"
    token = ada.client.post("/auth/token", data={"username": "ada@example.com", "password": "wrong"})
    assert token.headers["cache-control"] == "no-store"
    for path in ("/", "/docs", "/openapi.json", "/static-offline-docs/swagger-ui.css"):
        assert "no-store" not in ada.client.get(path).headers.get("cache-control", "")


@pytest.mark.parametrize("path", sorted(headers.REFERENCE))
@pytest.mark.parametrize("root", ["", "/smartstudy"])
def test_the_reference_pages_may_run_their_own_scripts_and_no_other(environment: object, path: str, root: str) -> None:
    with TestClient(create_app(), root_path=root) as client:
        page = client.get(root + path)
        assert page.status_code == 200
        guarded(page)
        rules = dict(rule.strip().split(" ", 1) for rule in page.headers["content-security-policy"].split(";"))
        allowed = rules["script-src"].split()
        for attributes, script in re.findall(r"<script([^>]*)>(.*?)</script>", page.text, re.DOTALL):
            if source := re.search(r'src="([^"]+)"', attributes):
                assert client.get(source[1]).status_code == 200  # ours
            else:
                assert f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" in allowed
        assert "'unsafe-inline'" not in allowed
        assert not re.search(r"""<[^>]+\son\w+=|["']\s*javascript:""", page.text)
        assert not re.search(r'(?:src|href)="(?:https?:)?//(?!fastapi)', page.text)


def test_a_page_of_ours_needs_nothing_but_ours(service: TestClient) -> None:
    page = service.get("/", headers={"Accept": "text/html"})
    guarded(page, referrer="same-origin")
    assert page.headers["content-security-policy"] == STRICT
    assert page.headers["cache-control"] == "no-store"
    assert not re.search(r"<style|style=|<script>|\son\w+=", page.text)
    for address in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        assert address.startswith(("/", "#"))
        assert not address.startswith("//")
    for file in re.findall(r'"(/static/[^"]+)"', page.text):
        answer = service.get(file)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        guarded(answer)
    assert service.get("/static/style.css").headers["cache-control"] == "no-cache"
