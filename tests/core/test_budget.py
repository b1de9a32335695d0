"""A caller's budget of requests is whole again after a minute, and each caller has their own."""

import time

import pytest

from app.core import budget
from app.core.budget import Budget


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "monotonic", made)
    return made


def test_a_minutes_worth_may_come_at_once_and_the_next_waits_for_its_share(clock: Clock) -> None:
    made = Budget()
    assert [made.take("ada", 60) for _ in range(60)] == [0.0] * 60
    assert made.take("ada", 60) == pytest.approx(1)
    assert made.take("bob", 60) == 0
    clock.now += 1.001
    assert made.take("ada", 60) == 0
    assert made.take("ada", 60) > 0


def test_refused_requests_cost_nothing_more(clock: Clock) -> None:
    made = Budget()
    waits = [made.take("ada", 2) for _ in range(50)]
    assert waits[:2] == [0.0, 0.0]
    assert waits[2:] == pytest.approx([30.0] * 48)


def test_no_bound_is_no_bound(clock: Clock) -> None:
    made = Budget()
    assert {made.take("ada", 0) for _ in range(5_000)} == {0.0}


def test_those_who_called_long_ago_are_forgotten(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "FEW", 100)
    made = Budget()
    made._tidied_above = 100
    for caller in range(5_000):
        made.take(caller, 600)
        clock.now += 0.1
    assert len(made._whole_at) <= 101
