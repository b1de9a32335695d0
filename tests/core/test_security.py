"""A token is good until it expires, however often it was seen."""

import time
from pathlib import Path
from unicodedata import normalize
from uuid import uuid4

import pytest

from app.core import security
from app.domain.errors import WeakPassword


def test_a_token_that_was_good_expires(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    student = uuid4()
    token, seconds = security.issue_token(student, uuid4())
    claim = security.claim_by_token(token)
    assert claim is not None
    assert claim.student == student
    later = time.time() + seconds + security.LEEWAY_SECONDS + 1
    monkeypatch.setattr("app.core.security.time.time", lambda: later)
    assert security.claim_by_token(token) is None


def test_a_forged_token_stays_one(environment: Path) -> None:
    token, _ = security.issue_token(uuid4(), uuid4())
    head, claims, signature = token.split(".")
    assert security.claim_by_token(token) is not None
    assert security.claim_by_token(f"{head}.{claims}.{signature[::-1]}") is None


def test_a_token_of_another_secret_is_not_known_again(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token, _ = security.issue_token(uuid4(), uuid4())
    assert security.claim_by_token(token) is not None
    monkeypatch.setattr(security, "_signing_key", lambda: "x" * 32)
    assert security.claim_by_token(token) is None


@pytest.mark.parametrize(
    ("password", "known"),
    [
        ("password", ()),
        ("Passw0rd!", ()),
        ("ada@example.com", ("ada@example.com",)),
        ("lovelace", ("ada@example.com", "Ada Lovelace")),
        ("x" * 200, ()),
    ],
)
def test_a_password_that_would_soon_be_guessed_is_refused(password: str, known: tuple[str, ...]) -> None:
    with pytest.raises(WeakPassword):
        security.check_strength(password, *known)


@pytest.mark.parametrize("password", ["a long sentence", "correct horse battery staple", "pässwörd-été"])
def test_a_few_words_are_a_password(password: str) -> None:
    security.check_strength(password, "ada@example.com", None)


def test_a_password_fits_however_its_accents_are_written() -> None:
    one, other = "p\u00e4ssw\u00f6rd-\u00e9t\u00e9", normalize("NFD", "p\u00e4ssw\u00f6rd-\u00e9t\u00e9")
    assert security.password_fits(other, security.hash_password(one))
    assert security.password_fits(one, security.hash_password(other))
    before = security.HASHER.hash(other)  # of before there was one spelling
    assert security.password_fits(other, before)
    assert not security.password_fits(one + "x", before)
