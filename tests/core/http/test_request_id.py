"""Every answer is named, by the caller where that is well-formed, and belongs to the caller's trace."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.core.http import request_id
from app.core.http.request_id import names_of
from tests.school import Student

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-(00|01)")
HOSTILE = ["", "a" * 65, "a b", "é", "a\tb", "a\\nb", "<script>", "a;b", "${jndi:x}"]


def parts(traceparent: str) -> tuple[str, str, str]:
    found = TRACEPARENT.fullmatch(traceparent)
    assert found, traceparent
    return found[1], found[2], found[3]


def test_a_callers_trace_goes_on_in_a_span_of_its_own(service: TestClient) -> None:
    answer = service.get("/healthz", headers={"traceparent": f"00-{TRACE}-{SPAN}-01"})
    trace, span, flags = parts(answer.headers["traceparent"])
    assert (trace, flags) == (TRACE, "01")
    assert span not in (SPAN, "0" * 16)


@pytest.mark.parametrize(
    "given",
    [
        "",
        "nonsense",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}x-{SPAN}-01",
    ],
)
def test_a_trace_that_cant_be_read_is_a_new_one(service: TestClient, given: str) -> None:
    trace, span, flags = parts(service.get("/healthz", headers={"traceparent": given}).headers["traceparent"])
    assert trace not in (TRACE, "0" * 32)
    assert span not in (SPAN, "0" * 16)
    assert flags == "00"


def test_a_later_version_of_the_header_is_read_as_far_as_it_is_known() -> None:
    names = names_of([(b"traceparent", f"01-{TRACE}-{SPAN}-01-what comes next".encode())])
    assert names.trace.trace_id == TRACE


def test_two_traces_are_none() -> None:
    twice = [(b"traceparent", f"00-{TRACE}-{SPAN}-01".encode())] * 2
    assert names_of(twice).trace.trace_id != TRACE


def test_a_well_formed_request_id_is_kept(service: TestClient) -> None:
    for given in ("a", "A.b_c-9", "z" * 64):
        answer = service.get("/nowhere", headers={"X-Request-ID": given})
        assert answer.headers["x-request-id"] == answer.json()["request_id"] == given


@pytest.mark.parametrize("given", HOSTILE)
def test_another_is_never_repeated(service: TestClient, given: str) -> None:
    answer = service.get("/nowhere", headers={"X-Request-ID": given.encode()})
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_each_answer_is_named_once_whatever_it_is(
    service: TestClient, student: Callable[..., Student], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> None:
        raise RuntimeError("a bug")

    app: Any = service.app
    monkeypatch.setattr(app.router, "routes", [*app.router.routes])  # other tests have the same application
    app.add_api_route("/broken", broken)
    ada = student()
    for answer in (ada.ask(), ada.ask(difficulty="none"), service.get("/broken"), service.post("/healthz")):
        names = [name for name, _ in answer.headers.multi_items()]
        assert (names.count("x-request-id"), names.count("traceparent")) == (1, 1), answer.text


def test_no_name_outlives_its_request(service: TestClient) -> None:
    first, second = (service.get("/healthz").headers for _ in range(2))
    assert first["x-request-id"] != second["x-request-id"]
    assert first["traceparent"] != second["traceparent"]
    assert request_id.current.get() is None
