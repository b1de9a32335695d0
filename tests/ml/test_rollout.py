"""Another kind for some of the students, or only on the side."""

from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest

from app.core import settings
from app.domain.kinds import KINDS
from app.ml.serving.model_order import rolled_out_to

MANY = [uuid4() for _ in range(5000)]


def rollout(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    monkeypatch.setenv("ROLLOUT", written)
    settings.settings.cache_clear()


@pytest.fixture(autouse=True)
def _fresh_settings() -> Iterator[None]:
    yield
    settings.settings.cache_clear()


def test_the_share_of_students_is_the_one_asked_for_and_stays_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rollout(monkeypatch, "embedding_lstm:20, lnirt:5.5")
    first = [rolled_out_to(student) for student in MANY]
    assert 0.17 < first.count("embedding_lstm") / len(MANY) < 0.23
    assert 0.04 < first.count("lnirt") / len(MANY) < 0.07
    assert [rolled_out_to(UUID(str(student))) for student in MANY] == first


def test_a_growing_share_keeps_those_who_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    rollout(monkeypatch, "embedding_lstm:20")
    before = {student for student in MANY if rolled_out_to(student)}
    rollout(monkeypatch, "embedding_lstm:40")
    assert before < {student for student in MANY if rolled_out_to(student)}


def test_nobody_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    rollout(monkeypatch, "")
    assert not any(rolled_out_to(student) for student in MANY)
    rollout(monkeypatch, "embedding_lstm:shadow")
    assert not any(rolled_out_to(student) for student in MANY)
    assert settings.settings().shadows() == ("embedding_lstm",)


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("lstm:20", f"kinds are {', '.join(KINDS)}"),
        ("lnirt", "KIND:PERCENT"),
        ("lnirt:half", "KIND:PERCENT"),
        ("lnirt:nan", "between 0 and 100"),
        ("lnirt:-1", "between 0 and 100"),
        ("lnirt:60,embedding_lstm:60", "more than 100 %"),
        ("lnirt:10,lnirt:20", "each once"),
    ],
)
def test_what_can_not_be_read_is_refused_with_what_is_accepted(
    monkeypatch: pytest.MonkeyPatch, written: str, why: str
) -> None:
    rollout(monkeypatch, written)
    with pytest.raises(SystemExit, match=why):
        settings.settings()
