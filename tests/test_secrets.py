"""Whatever goes well or wrong, no secret stands in a log, on a stream or in an error, even where all is told."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from app.cli import main
from app.core import database, security
from app.core.settings import settings
from app.crud import accounts
from tests.school import SOMEBODY

PASSWORD = "a password that nobody else has"
WRONG = "a password that is wrong, by a hair"
SHORT = "pw-7 ch"
SECRET_KEY = "the key that signs tokens, thirty-two bytes and more"
PREVIOUS = "the key that signed them before, as long as it should be"
EMAIL = "ada@example.com"


class Told(list[str]):
    """Everything that was logged, by anybody, with the values and the tracebacks."""

    def text(self) -> str:
        return "\n".join(self)


class Keeping(logging.Handler):
    def __init__(self, told: Told) -> None:
        super().__init__(logging.DEBUG)
        self.told = told
        self.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(self.format(record))  # with its traceback
        self.told.append(repr(record.__dict__))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    """All loggers at their most talkative."""
    told = Told()
    root, handler = logging.getLogger(), Keeping(told)
    talkative = [root, *(logging.getLogger(name) for name in ("sqlalchemy.engine", "sqlalchemy.pool", "asyncio"))]
    levels = [(logger, logger.level) for logger in talkative]
    for logger in talkative:
        logger.setLevel(logging.DEBUG)
    root.addHandler(handler)
    yield told
    root.removeHandler(handler)
    for logger, level in levels:
        logger.setLevel(level)


@pytest.fixture
def secret_settings(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", SECRET_KEY)
    monkeypatch.setenv("PREVIOUS_SECRET_KEY", PREVIOUS)
    settings.cache_clear()
    security._signing_key.cache_clear()


@pytest.fixture
def talkative(secret_settings: None, told: Told, service: TestClient) -> TestClient:
    """The service, with everything it does being told."""
    return service


def database_password() -> str:
    return str(urlsplit(database.database_url()).password)


def sign_in(service: TestClient, password: str) -> Any:
    return service.post("/auth/token", data={"username": EMAIL, "password": password})


def broken(*_: Any, **__: Any) -> None:
    raise RuntimeError("something broke")


def refused_by_the_database(db: Session, email: str, name: Any, password_hash: str, **_: Any) -> None:
    db.execute(text("INSERT INTO users (email, password_hash) VALUES (:e, :p), (:e, :p)"), {"e": email, "p": PASSWORD})


def test_no_secret_is_told(
    talkative: TestClient, told: Told, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], db: Session
) -> None:
    service, errors = talkative, list[str]()

    def ask(status: int, method: str, path: str, **request: Any) -> Any:
        answer = service.request(method, path, **request)
        assert answer.status_code == status, answer.text
        if status >= 400:
            errors.append(answer.text + repr(answer.headers))
        return answer

    registration = {"email": EMAIL, "password": PASSWORD}
    ask(201, "POST", "/auth/register", json=registration)
    ask(409, "POST", "/auth/register", json=registration)
    for wrong in (
        {"password": SHORT},
        {"password": [PASSWORD]},
        {"password": {"is": PASSWORD}},
        {"password": PASSWORD, "is_admin": PASSWORD},
        {"email": PASSWORD, "password": PASSWORD},
        {"password": PASSWORD * 20},
    ):
        ask(422, "POST", "/auth/register", json={**registration, **wrong})
    ask(
        400,
        "POST",
        "/auth/register",
        content=f'{{"password": "{PASSWORD}"',
        headers={"content-type": "application/json"},
    )
    ask(422, "POST", "/auth/token", data={"password": PASSWORD})
    ask(422, "POST", "/auth/token", data={"username": EMAIL, "password": PASSWORD, "grant_type": PASSWORD})
    ask(401, "POST", "/auth/token", data={"username": EMAIL, "password": WRONG})
    token = sign_in(service, PASSWORD).json()["access_token"]
    key = accounts.create_key(db, "school")
    db.commit()
    task = {"topic": "Calculus", "difficulty": "medium"}
    for secret, more in ((token, {}), (key, {"user_id": SOMEBODY})):
        headers = {"Authorization": f"Bearer {secret}"}
        made = ask(201, "POST", "/practice-tasks", json={**task, **more}, headers=headers).json()["id"]
        result = {"is_correct": True, "actual_time_seconds": 30}
        ask(200, "PATCH", f"/practice-tasks/{made}", json=result, headers=headers)
        ask(200, "GET", "/practice-tasks", headers=headers)
        ask(403, "GET", "/audit", headers=headers)
        ask(404, "GET", "/nothing", headers=headers)
        ask(422, "POST", "/practice-tasks", json={**task, "topic": [secret]}, headers=headers)
        ask(413, "POST", "/practice-tasks", content=secret * 2000, headers=headers)
        ask(401, "GET", "/practice-tasks", headers={"Authorization": f"Bearer {secret}x"})
        with monkeypatch.context() as change:
            change.setattr("app.crud.practice_tasks.newest", broken)
            ask(500, "GET", "/practice-tasks", headers=headers)
    with monkeypatch.context() as change:
        change.setattr("app.crud.accounts.sign_in_data", broken)
        ask(500, "POST", "/auth/token", data={"username": EMAIL, "password": PASSWORD})
        change.setattr("app.crud.accounts.register", refused_by_the_database)
        ask(500, "POST", "/auth/register", json=registration)
    out, err = capfd.readouterr()
    everything = told.text() + out + err + "\n".join(errors)
    assert "something broke" in everything  # it was told indeed
    assert "INSERT INTO users" in everything
    secrets = {
        "password": PASSWORD,
        "wrong password": WRONG,
        "short password": SHORT,
        "token": token,
        "signature": token.split(".")[2],
        "service key": key,
        "secret key": SECRET_KEY,
        "previous secret key": PREVIOUS,
        "password of the database": database_password(),
    }
    assert [name for name, secret in secrets.items() if secret in everything] == []


def test_an_error_of_the_database_does_not_quote_what_was_to_be_stored(db: Session) -> None:
    for statement in ("INSERT INTO users (email) VALUES (:secret)", "SELECT * FROM nothing WHERE a = :secret"):
        with pytest.raises(DBAPIError) as caught:
            db.execute(text(statement), {"secret": PASSWORD})
        db.rollback()
        assert "parameters hidden" in str(caught.value)


def test_a_database_that_refuses_the_password_does_not_repeat_it(
    environment: Path, told: Told, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    right = database_password()
    wrong = database.database_url().replace(right, WRONG.replace(" ", "%20"))
    monkeypatch.setenv("DATABASE_URL", wrong)
    for cached in (settings, database.database_url, database.engine, database.new_session):
        cached.cache_clear()
    result = CliRunner().invoke(main.app, ["key", "list"])
    assert result.exit_code == 1
    everything = told.text() + result.output + "".join(capfd.readouterr())
    assert "does not answer" in everything
    assert WRONG not in everything
    assert WRONG.replace(" ", "%20") not in everything


@pytest.mark.parametrize(
    "url", ["postgresql://ada:se/cret@host:5432/db", "postgresql://ada:secret@host:port/db", "mysql://ada:secret@h/d"]
)
def test_an_address_that_cannot_be_read_is_not_repeated(
    environment: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    settings.cache_clear()
    with pytest.raises(SystemExit) as caught:
        settings()
    assert "cret" not in str(caught.value)


def test_settings_hide_their_secrets_when_they_are_printed(secret_settings: None) -> None:
    shown = repr(settings()) + str(settings().model_dump())
    for secret in (SECRET_KEY, PREVIOUS, database_password()):
        assert secret not in shown
