"""By which names the service may be called."""

import pytest
from fastapi.testclient import TestClient

from app.core.http.allowed_hosts import host_name
from app.core.settings import Settings


def asked_as(service: TestClient, *hosts: str) -> int:
    status: int = service.get("/model/status", headers=[("host", host) for host in hosts]).status_code
    return status


def test_a_page_that_calls_us_by_its_own_name_is_refused(service: TestClient) -> None:
    refused = service.get("/model/status", headers={"host": "evil.example:4008"})
    assert refused.status_code == 400
    assert refused.headers["content-type"] == "application/problem+json"
    assert "evil.example" in refused.json()["detail"]
    assert asked_as(service, "testserver", "evil.example") == 400
    assert asked_as(service, "testserver:4008") == 200
    assert service.get("/healthz", headers={"host": "10.0.0.7"}).status_code == 200


def test_names_below_a_domain_can_be_allowed(service: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from app.core.settings import settings

    monkeypatch.setenv("ALLOWED_HOSTS", "*.example.org, example.org")
    settings.cache_clear()
    service.app.middleware_stack = None  # type: ignore[attr-defined]  # built by the next request
    assert asked_as(service, "a.example.org") == asked_as(service, "EXAMPLE.org:80") == 200
    assert asked_as(service, "example.org.evil.example") == asked_as(service, "badexample.org") == 400


@pytest.mark.parametrize(
    ("host", "allowed", "names"),
    [
        ("127.0.0.1", "", {"localhost", "127.0.0.1", "::1"}),
        ("::1", "", {"localhost", "127.0.0.1", "::1"}),
        ("0.0.0.0", "", {"*"}),  # noqa: S104
        ("0.0.0.0", "School.example", {"school.example"}),  # noqa: S104
        ("127.0.0.1", "*", {"*"}),
    ],
)
def test_by_default_only_this_machine_where_only_it_is_listened_to(host: str, allowed: str, names: set[str]) -> None:
    assert set(Settings(host=host, allowed_hosts=allowed).host_names()) == names


def test_the_port_is_no_part_of_a_name() -> None:
    assert [host_name(each) for each in ("[::1]:4008", "localhost:80", "A.example.", "[::1]")] == [
        "::1",
        "localhost",
        "a.example",
        "::1",
    ]


@pytest.mark.parametrize(
    "header",
    ["localhost:80@evil.example", "[::1]evil.example", "[::1", "localhost..", "localhost:x", "a@localhost", ""],
)
def test_what_only_begins_with_a_name_of_ours_is_none(header: str) -> None:
    assert host_name(header) not in Settings().host_names()
