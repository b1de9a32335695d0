from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import jwt
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core import security, settings
from app.crud import accounts
from app.domain.tasks import Claim
from tests.school import PASSWORD, Student


def register(service: TestClient, **change: object) -> int:
    body = {"email": "ada@example.com", "password": PASSWORD, **change}
    return int(service.post("/auth/register", json=body).status_code)


def test_a_student_registers_signs_in_and_works(student: Callable[..., Student]) -> None:
    assert student().ask().status_code == 201


def test_an_address_registers_once_in_any_spelling(service: TestClient) -> None:
    assert register(service) == 201
    assert register(service, email=" ADA@Example.com ") == 409
    signed_in = service.post("/auth/token", data={"username": "Ada@EXAMPLE.com", "password": PASSWORD})
    assert (signed_in.status_code, signed_in.json()["token_type"]) == (200, "bearer")


@pytest.mark.parametrize(
    "change", [{"email": "nobody"}, {"email": "a b@c"}, {"password": "short"}, {"is_admin": True}, {"email": "a\x00@b"}]
)
def test_a_wrong_registration_is_refused(service: TestClient, change: dict[str, object]) -> None:
    assert register(service, **change) == 422


@pytest.mark.parametrize("form", [("ada@example.com", "wrong"), ("nobody@example.com", PASSWORD), ("a\x00", "b")])
def test_wrong_password_and_unknown_address_sound_the_same(service: TestClient, form: tuple[str, str]) -> None:
    register(service)
    answer = service.post("/auth/token", data=dict(zip(("username", "password"), form, strict=True)))
    assert (answer.status_code, answer.json()["detail"]) == (401, "E-mail address or password is wrong.")


@pytest.mark.usefixtures("full_cost_passwords")
def test_passwords_are_stored_as_argon2id_only(service: TestClient, db: Session) -> None:
    """With memory (KiB), passes and lanes as RFC 9106 recommends where memory is scarce."""
    register(service)
    assert db.scalar(text("SELECT password_hash FROM users")).startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    answer = service.post("/auth/token", data={"username": "ada@example.com", "password": PASSWORD})
    assert answer.status_code == 200


def test_a_token_ends_when_it_expires_or_its_account_goes(
    service: TestClient, student: Callable[..., Student], db: Session
) -> None:
    ada = student()
    claims = jwt.decode(ada.secret, options={"verify_signature": False})
    claims["exp"] -= timedelta(days=30).total_seconds()
    old = jwt.encode(claims, settings.settings().signing_key(), security.ALGORITHM)
    assert Student(service, old).ask().status_code == 401
    unsigned = jwt.encode({**claims, "exp": claims["exp"] * 2}, "", "none")
    assert Student(service, unsigned).ask().status_code == 401
    db.execute(text("DELETE FROM users"))
    db.commit()
    assert ada.ask().status_code == 401


@pytest.mark.parametrize("field", ["username", "password"])
def test_letters_that_no_account_can_have_are_a_wrong_sign_in(service: TestClient, field: str) -> None:
    """A form may say that it is in UTF-7, which can write half of a character."""
    given = {"username": b"ada@example.com", "password": PASSWORD.encode(), field: b"+2AA-"}
    part = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    body = b"".join(part % (name.encode(), value) for name, value in given.items()) + b"--b--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=b; charset=utf-7"}
    assert register(service) == 201
    assert service.post("/auth/token", content=body, headers=kind).status_code == 401


def test_a_revoked_key_is_out_at_once(school: Student, db: Session) -> None:
    assert school.get("/practice-tasks").status_code == 200
    db.execute(text("UPDATE service_keys SET revoked_at = now()"))
    db.commit()
    assert school.get("/practice-tasks").status_code == 401


def test_the_signing_key_is_made_once_for_the_owner_only(environment: Path) -> None:
    key = settings.settings().signing_key()
    file = environment / "data" / "secret_key"
    assert file.stat().st_mode & 0o777 == 0o600
    assert settings.settings().signing_key() == key
    token, _ = security.issue_token(UUID(int=5), UUID(int=6))
    assert security.claim_by_token(token) == Claim(UUID(int=5), None, UUID(int=6))


def test_an_account_that_could_be_taken_for_another_is_refused(service: TestClient) -> None:
    def made(email: str) -> int:
        return int(service.post("/auth/register", json={"email": email, "password": PASSWORD}).status_code)

    assert made("copa@example.com") == 201
    assert made("\u0441\u043e\u0440\u0430@example.com") == 409  # all Cyrillic
    assert made("c\u043epa@example.com") == 422
    assert made("\u0438\u0432\u0430\u043d@example.com") == 201


def test_a_weak_password_is_refused_in_a_sentence(service: TestClient) -> None:
    for password, email in (("password", "a@example.com"), ("ada.lovelace", "ada.lovelace@example.com")):
        answer = service.post("/auth/register", json={"email": email, "password": password})
        assert (answer.status_code, "would soon be guessed" in answer.json()["detail"]) == (422, True)
    page = service.post("/register", data={"email": "a@example.com", "password": "password"})
    assert page.status_code == 422
    assert "would soon be guessed" in page.text
    german = service.post(
        "/register", data={"email": "a@example.com", "password": "password"}, headers={"Accept-Language": "de"}
    )
    assert "bald erraten" in german.text


def test_an_account_of_before_there_was_a_rule_signs_in_as_it_always_did(service: TestClient, db: Session) -> None:
    odd = "jose\u0301 b@localhost"
    accounts.register(db, odd, None, security.hash_password(PASSWORD))
    db.commit()
    assert service.post("/auth/token", data={"username": odd, "password": PASSWORD}).status_code == 200


def test_a_name_is_stored_in_one_form(service: TestClient) -> None:
    body = {"email": "ada@example.com", "password": PASSWORD, "name": " A\u030ada \u00a0Love "}
    assert service.post("/auth/register", json=body).json()["name"] == "\u00c5da Love"
