"""Pages of other origins: those that are named may call the API with a token, and nobody's cookie opens anything."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.core.http.cors import allowed
from app.core.settings import settings
from tests.school import PASSWORD, Student

APP, OTHER = "http://localhost:5173", "https://app.example.org"
ALLOWED, VARY = "access-control-allow-origin", "vary"
EXPOSED = {"X-Request-ID", "Retry-After", "Location", "Content-Disposition", "Idempotent-Replayed"}


@pytest.fixture
def opened(service: TestClient, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """The service, with two origins named."""
    return with_origins(service, monkeypatch, f"{APP}, {OTHER}")


def with_origins(service: TestClient, monkeypatch: pytest.MonkeyPatch, origins: str) -> TestClient:
    monkeypatch.setenv("CORS_ORIGINS", origins)
    settings.cache_clear()
    service.app.middleware_stack = None  # type: ignore[attr-defined]  # built by the next request
    return service


def preflight(service: TestClient, path: str, origin: str = APP, method: str = "POST") -> Any:
    asks = {"Origin": origin, "Access-Control-Request-Method": method}
    return service.options(path, headers=asks | {"Access-Control-Request-Headers": "authorization,content-type"})


def may_read(answer: Any, origin: str = APP) -> None:
    assert answer.headers.get_list(ALLOWED) == [origin]
    assert "Origin" in answer.headers[VARY]
    assert set(answer.headers["access-control-expose-headers"].split(", ")) >= EXPOSED
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("path", ["/practice-tasks", "/practice-tasks/x", "/auth/token", "/users/me", "/nothing"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_a_browser_is_told_before_a_call_that_it_may(opened: TestClient, path: str, method: str) -> None:
    answer = preflight(opened, path, method=method)
    assert answer.status_code == 204
    assert answer.headers[ALLOWED] == APP
    assert method in answer.headers["access-control-allow-methods"].split(", ")
    takes = {each.lower() for each in answer.headers["access-control-allow-headers"].split(", ")}
    assert takes == {"authorization", "content-type", "idempotency-key", "x-request-id", "last-event-id"}
    assert "access-control-allow-credentials" not in answer.headers
    assert answer.headers["x-request-id"]


def test_a_whole_story_is_read_by_the_page(opened: TestClient) -> None:
    sent = {"Origin": OTHER}
    given = {"email": "ada@example.com", "password": PASSWORD}
    registered = opened.post("/auth/register", json=given, headers=sent)
    form = {"username": given["email"], "password": PASSWORD}
    signed_in = opened.post("/auth/token", data=form, headers=sent)
    with_token = sent | {"Authorization": f"Bearer {signed_in.json()['access_token']}"}
    asked = opened.post("/practice-tasks", json={"topic": "Waves", "difficulty": "easy"}, headers=with_token)
    for answer in (registered, signed_in, asked, opened.get("/users/me/export", headers=with_token)):
        assert answer.status_code in (200, 201)
        may_read(answer, OTHER)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/practice-tasks", 401),
        ("GET", "/nothing", 404),
        ("DELETE", "/auth/register", 405),
        ("POST", "/auth/register", 422),
        ("GET", "/readyz", 200),
        ("GET", "/openapi.json", 200),
    ],
)
def test_refusals_can_be_read_too(opened: TestClient, method: str, path: str, status: int) -> None:
    answer = opened.request(method, path, headers={"Origin": APP})
    assert answer.status_code == status
    may_read(answer)


def test_so_can_what_stands_in_the_way_of_every_route(opened: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    may_read(opened.post("/practice-tasks", content=b"x" * 70_000, headers={"Origin": APP}))  # 413
    may_read(opened.get("/model/status", headers={"Origin": APP, "Host": "evil.example"}))  # 400

    def broken(*_: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("app.routers.model.model_status", broken)
    failed = opened.get("/model/status", headers={"Origin": APP})
    assert failed.status_code == 500
    may_read(failed)
    monkeypatch.setattr(settings(), "requests_per_student", 1)
    ada = Student.registered(opened, "ada")
    for _ in range(2):
        limited = opened.get("/users/me", headers=ada.headers | {"Origin": APP})
    assert limited.status_code == 429
    assert limited.headers["retry-after"]
    may_read(limited)
    opened.app.state.availability.closed = "The database is away."  # type: ignore[attr-defined]
    away = opened.get("/users/me", headers=ada.headers | {"Origin": APP})
    assert (away.status_code, preflight(opened, "/users/me").status_code) == (503, 204)
    may_read(away)


@pytest.mark.parametrize(
    "origin",
    ["http://localhost:5174", "http://localhost", "https://localhost:5173", "null", f"{APP}/", f"{APP}.evil.example"],
)
def test_other_origins_are_told_nothing(opened: TestClient, origin: str) -> None:
    asked = preflight(opened, "/practice-tasks", origin)
    answer = opened.get("/model/status", headers={"Origin": origin})
    assert (asked.status_code, answer.status_code) == (403, 200)
    assert asked.json()["detail"].endswith("the setting CORS_ORIGINS names those that may.")
    for each in (asked, answer, opened.get("/model/status")):
        assert not [name for name in each.headers if name.startswith("access-control-")]
        assert "Origin" in each.headers[VARY]  # no cache gives one origin what was said to another


def test_nobody_is_allowed_unless_somebody_says_so(service: TestClient) -> None:
    answer = service.get("/model/status", headers={"Origin": APP})
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert VARY not in answer.headers
    asked = preflight(service, "/practice-tasks")
    assert asked.status_code == 403
    assert "CORS_ORIGINS" in asked.json()["detail"]
    assert service.options("/practice-tasks").status_code == 405  # which no browser asks


@pytest.mark.parametrize("path", ["/dashboard", "/dashboard/settings/export", "/admin", "/sign-in", "/register"])
def test_pages_stay_closed(opened: TestClient, path: str) -> None:
    given = {"email": "ada@example.com", "password": PASSWORD}
    opened.post("/register", data=given, follow_redirects=False)
    assert "smartstudy" in opened.cookies
    answer = opened.get(path, headers={"Origin": APP}, follow_redirects=False)
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert preflight(opened, path).status_code == 405


def test_a_cookie_opens_no_route_and_no_form_for_another_origin(opened: TestClient) -> None:
    given = {"email": "ada@example.com", "password": PASSWORD}
    opened.post("/register", data=given, follow_redirects=False)
    assert opened.get("/users/me", headers={"Origin": APP}).status_code == 401
    form = {"topic": "Waves", "difficulty": "easy"}
    for said in ({"Origin": APP}, {"Origin": APP, "Sec-Fetch-Site": "same-site"}):
        assert opened.post("/dashboard/tasks", data=form, headers=said).status_code == 403


def test_a_connection_that_is_refused_says_it_to_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORS_ORIGINS", APP)
    settings.cache_clear()
    assert (b"access-control-allow-origin", APP.encode()) in allowed([(b"origin", APP.encode())])
    assert allowed([(b"origin", APP.encode())] * 2) == allowed([]) == [(b"vary", b"Origin")]
    settings.cache_clear()


@pytest.mark.parametrize(
    "written",
    [
        "*",
        "https://*.example.org",
        "https://app.example.org/",
        "https://app.example.org/start",
        "https://app.example.org:443",
        "HTTPS://app.example.org",
        "https://App.example.org",
        "https://ada@app.example.org",
        "ftp://app.example.org",
        "file://",
        "app.example.org",
        "null",
        "https://",
        "https://app.example.org:99999",
        "https://größe.example",
        f"{APP} {OTHER}",
    ],
)
def test_what_is_no_origin_stops_the_start(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    monkeypatch.setenv("CORS_ORIGINS", f"{APP},{written}")
    settings.cache_clear()
    with pytest.raises(SystemExit, match=r"CORS_ORIGINS: .* is no origin: write scheme, host and port as browsers do"):
        settings()
    settings.cache_clear()


def test_origins_may_be_names_addresses_and_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORS_ORIGINS", "http://localhost:5173,https://xn--gre-6ka8i.example,http://[::1]:808")
    settings.cache_clear()
    assert settings().origins() == {"http://localhost:5173", "https://xn--gre-6ka8i.example", "http://[::1]:808"}
    settings.cache_clear()
