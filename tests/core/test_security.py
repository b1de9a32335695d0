"""A token is good until it expires, however often it was seen."""

import time
from pathlib import Path
from uuid import uuid4

import pytest

from app.core import security


def test_a_token_that_was_good_expires(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    student = uuid4()
    token, seconds = security.issue_token(student)
    assert security.student_of(token) == student
    later = time.time() + seconds + security.LEEWAY_SECONDS + 1
    monkeypatch.setattr("app.core.security.time.time", lambda: later)
    assert security.student_of(token) is None


def test_a_forged_token_stays_one(environment: Path) -> None:
    token, _ = security.issue_token(uuid4())
    head, claims, signature = token.split(".")
    assert security.student_of(token) is not None
    assert security.student_of(f"{head}.{claims}.{signature[::-1]}") is None


def test_a_token_of_another_secret_is_not_known_again(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token, _ = security.issue_token(uuid4())
    assert security.student_of(token) is not None
    monkeypatch.setattr(security, "_signing_key", lambda: "x" * 32)
    assert security.student_of(token) is None
