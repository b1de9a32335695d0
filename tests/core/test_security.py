"""A token is good until it expires, however often it was seen."""

import time
from collections.abc import Callable
from pathlib import Path
from unicodedata import normalize
from uuid import uuid4

import pytest

from app.core import addresses, security
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
        ("SmartStudy2026", ()),
    ],
)
def test_a_password_that_would_soon_be_guessed_is_refused(password: str, known: tuple[str, ...]) -> None:
    with pytest.raises(WeakPassword):
        security.check_strength(password, *known)


@pytest.mark.parametrize("password", ["a long sentence", "correct horse battery staple", "pässwörd-été"])
def test_a_few_words_are_a_password(password: str) -> None:
    security.check_strength(password, "ada@example.com", None)


def test_a_password_of_many_signs_is_measured_by_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of these stands for letters, and zxcvbn tries them all: 72 of them took it ten seconds."""
    looked_at = list[str]()

    def strong(password: str, _told: list[str]) -> dict[str, int]:
        looked_at.append(password)
        return {"score": 4}

    monkeypatch.setattr("zxcvbn.zxcvbn", strong)
    security.check_strength("4@8({[<3g6&9#!1|70$5+7%2x" * 3)
    security.check_strength("a long sentence, " * 10)
    assert [len(each) for each in looked_at] == [20, 72]


@pytest.mark.parametrize("one", [lambda long: security.password_fits(long, None), addresses.plainest])
def test_what_is_too_long_is_not_looked_at(monkeypatch: pytest.MonkeyPatch, one: Callable[[str], object]) -> None:
    """Accents by the ten thousand held up everybody for seconds."""
    lengths = list[int]()

    def measured(_form: str, text: str) -> str:
        lengths.append(len(text))
        return text

    for module in (security, addresses):
        monkeypatch.setattr(module, "normalize", measured)
    assert not one("\u0301\u0316" * 16_000)
    assert max(lengths, default=0) <= security.LONGEST_PASSWORD


def test_a_password_that_is_too_long_fits_nothing() -> None:
    assert not security.password_fits("x" * 201, security.hash_password(""))


def test_a_password_fits_however_its_accents_are_written() -> None:
    one, other = "p\u00e4ssw\u00f6rd-\u00e9t\u00e9", normalize("NFD", "p\u00e4ssw\u00f6rd-\u00e9t\u00e9")
    assert security.password_fits(other, security.hash_password(one))
    assert security.password_fits(one, security.hash_password(other))
    before = security.HASHER.hash(other)  # of before there was one spelling
    assert security.password_fits(other, before)
    assert not security.password_fits(one + "x", before)
