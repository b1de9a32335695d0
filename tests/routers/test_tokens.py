"""Only a whole token of ours that has not expired opens a door; anything else is a 401, and quickly."""

import base64
import json
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from app.core import security
from app.core.settings import settings
from app.crud import browser_sessions, sessions
from tests.school import Student

Students = Callable[..., Student]
OTHER = "another key of thirty-two bytes, or so"


def status(service: TestClient, header: str | bytes) -> int:
    """Of a request with this Authorization header, the same by both doors."""
    raw = header if isinstance(header, bytes) else header.encode("latin-1")
    headers = [(b"authorization", raw)]
    found = service.get("/practice-tasks", headers=headers)
    asked = service.post("/practice-tasks", headers=headers, json={"topic": "a", "difficulty": "easy"})
    assert {200: 201}.get(found.status_code, 401) == asked.status_code
    return int(found.status_code)


def claims(caller: Student) -> dict[str, Any]:
    return dict(jwt.decode(caller.secret, options={"verify_signature": False}))


def signed(what: Any, algorithm: str = security.ALGORITHM, key: str | None = None, **header: Any) -> str:
    return jwt.encode(what, settings().signing_key() if key is None else key, algorithm, header or None)


def part(what: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(what).encode()).decode().rstrip("=")


def test_a_token_of_ours_opens_in_any_spelling_of_bearer(service: TestClient, student: Students) -> None:
    token = student().secret
    for header in (f"Bearer {token}", f"bearer {token}", f"BEARER   {token} "):
        assert status(service, header) == 200


def test_who_signs_in_without_end_ends_their_oldest_tokens_and_browsers(
    db: Session, student: Students, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MOST_KEPT", 3)
    ada, bob = student("ada"), student("bob")
    her = UUID(claims(ada)["sub"])
    for _ in range(3):
        sessions.start_token(db, her, 60)
        db.commit()
        browser_sessions.start(db, her, 60)
        db.commit()
    assert ada.get("/users/me").status_code == 401  # her first
    assert bob.get("/users/me").status_code == 200
    browser_sessions.start(db, her, 60)
    assert browser_sessions.count(db, her) == 3


def test_the_same_claims_signed_otherwise_open_nothing(service: TestClient, student: Students) -> None:
    mine = claims(student())
    assert status(service, f"Bearer {signed(mine)}") == 200
    for algorithm in ("HS384", "HS512"):
        assert status(service, f"Bearer {signed(mine, algorithm)}") == 401
    assert status(service, f"Bearer {signed(mine, 'none', '')}") == 401
    assert status(service, f"Bearer {signed(mine, key=OTHER)}") == 401
    for name in ("none", "None", "NONE", "nOnE", "RS256", "HS256 ", "", None, 5, ["HS256"], {"a": 1}):
        assert status(service, f"Bearer {part({'alg': name, 'typ': 'JWT'})}.{part(mine)}.") == 401
        head, body, signature = signed(mine).split(".")
        assert status(service, f"Bearer {part({'alg': name})}.{body}.{signature}") == 401
        assert head


@pytest.mark.parametrize(
    "change",
    [
        {"exp": None},
        {"exp": 1},
        {"exp": "soon"},
        {"exp": -1},
        {"sub": None},
        {"sub": "ada"},
        {"sub": ""},
        {"sub": 5},
        {"sub": ["a"]},
        {"nbf": 2**40},
        {"sub": str(uuid4())},
    ],
)
def test_claims_that_are_none_open_nothing(service: TestClient, student: Students, change: dict[str, Any]) -> None:
    """Signed by us all the same, as no sign-in would."""
    changed = {name: value for name, value in (claims(student()) | change).items() if value is not None}
    body = f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part(changed)}"
    signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(
        body.encode(), settings().signing_key().encode()
    )
    token = f"{body}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"
    assert status(service, f"Bearer {token}") == 401


@pytest.mark.parametrize("payload", ["[]", "null", "1", '"a"', "{", "", "[" * 400, '{"sub":' * 100])
def test_a_payload_that_is_no_object_opens_nothing(service: TestClient, environment: object, payload: str) -> None:
    made = jwt.api_jws.encode(payload.encode(), settings().signing_key(), security.ALGORITHM)
    assert status(service, f"Bearer {made}") == 401


def test_an_expired_token_opens_nothing(service: TestClient, student: Students) -> None:
    mine = claims(student())
    now = int(time.time())
    assert status(service, f"Bearer {signed({**mine, 'exp': now - security.LEEWAY_SECONDS - 1})}") == 401
    assert status(service, f"Bearer {signed({**mine, 'exp': now + 60})}") == 200


def test_part_of_a_token_opens_nothing(service: TestClient, student: Students) -> None:
    token = student().secret
    for length in (0, 1, 10, len(token) // 2, len(token) - 1):
        assert status(service, f"Bearer {token[:length]}") == 401
    for changed in (token[:-5] + "AAAAA", "." + token, token + ".", token + "A", token.replace(".", ""), token[::-1]):
        assert status(service, f"Bearer {changed}") == 401


def test_a_huge_token_is_refused_unread(service: TestClient, environment: object, monkeypatch: Any) -> None:
    monkeypatch.setattr(security, "_read", lambda *_: pytest.fail("it was read"))
    for token in ("x" * 100_000, "a.b." + "c" * 100_000, part({"a": "b" * 75_000}) + ".b.c"):
        assert status(service, f"Bearer {token}") == 401
    assert status(service, "Bearer ssk_" + "x" * 100_000) == 401


def test_a_header_nested_a_thousand_times_is_refused(environment: object, monkeypatch: Any) -> None:
    monkeypatch.setattr(security, "LONGEST_TOKEN", 10**6)
    deep = base64.urlsafe_b64encode(b'{"alg":' + b"[" * 100_000).decode().rstrip("=")
    assert security.claim_by_token(f"{deep}.e30.c2ln") is None


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic YWRhOnNlY3JldA==",
        "Token {}",
        "{}",
        "Bearer Bearer {}",
        "Bearer\t{}",
        "Bearer {},Bearer {}",
        b"\xff\xfe\x00",
        b"Bearer \xff\xfe\xfd.\xc3\xa4.\xe2\x82",
        b"Bearer ssk_\xff\xfe\x00",
        "Bearer äöü.ß.é",
        "Bearer a.b.c.d.e",
        "Bearer ...",
        "Bearer \x00",
        "ssk_none",
    ],
)
def test_garbage_opens_nothing(service: TestClient, student: Students, header: str | bytes) -> None:
    filled = header.replace("{}", student().secret) if isinstance(header, str) else header
    assert status(service, filled) == 401


def test_a_changed_secret_key_signs_nobody_out_while_the_previous_one_is_known(
    service: TestClient, student: Students, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = student().secret
    before = settings().signing_key()
    assert status(service, f"Bearer {old}") == 200  # and is remembered

    def now(**given: str) -> None:
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        settings.cache_clear()
        security._signing_key.cache_clear()

    now(SECRET_KEY=OTHER, PREVIOUS_SECRET_KEY=before)
    assert status(service, f"Bearer {old}") == 200
    claim = security.claim_by_token(old)
    assert claim is not None
    new, _ = security.issue_token(claim.student, claim.token)  # type: ignore[arg-type]
    assert jwt.decode(new, OTHER, [security.ALGORITHM])
    assert status(service, f"Bearer {new}") == 200
    now(PREVIOUS_SECRET_KEY="")
    assert status(service, f"Bearer {old}") == 401
    assert status(service, f"Bearer {new}") == 200


def test_a_token_in_the_address_or_the_body_opens_nothing(service: TestClient, student: Students) -> None:
    token = student().secret
    assert service.get("/practice-tasks", params={"access_token": token}).status_code == 401
    assert service.get("/practice-tasks", headers={"Cookie": f"access_token={token}"}).status_code == 401
    assert service.post("/practice-tasks", data={"access_token": token}).status_code == 401


def test_nothing_sets_a_cookie_or_leads_elsewhere(service: TestClient, student: Students) -> None:
    ada = student()
    for path in (
        "/",
        "/docs",
        "/practice-tasks",
        "/model/status",
        "/audit",
        "/practice-tasks/",
        "//example.com",
        "/nothing/",
    ):
        answer = ada.client.get(path, headers=ada.headers, params={"next": "//example.com"}, follow_redirects=False)
        assert "set-cookie" not in answer.headers
        assert answer.headers.get("location", "/").startswith(("/", "http://testserver/"))
