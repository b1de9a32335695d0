"""Answers stay within times that happen here."""

import numpy as np
import pytest

from app.core.settings import settings
from app.ml.calibration.time_limits import USUAL, limits, time_limits, within


def times(n: int, typical: float, spread: float = 0.6) -> np.ndarray:
    return typical * np.random.default_rng(n).lognormal(0, spread, n)


def test_ordinary_times_keep_the_documents_limits() -> None:
    assert time_limits(times(5_000, 60, 0.4)) == USUAL
    assert time_limits(np.zeros(0)) == USUAL


def test_quick_tasks_are_answered_below_five_seconds() -> None:
    seconds = times(5_000, 6)
    least, most = time_limits(seconds)
    assert 0.1 <= least < np.quantile(seconds, 0.001)
    assert most == 600


def test_long_tasks_are_answered_above_ten_minutes() -> None:
    seconds = times(5_000, 900)
    least, most = time_limits(seconds)
    assert least == 5
    assert most > np.quantile(seconds, 0.999)


@pytest.mark.parametrize("n", [3, 30, 3_000])
def test_a_window_left_open_over_night_does_not_move_the_limits(n: int) -> None:
    seconds = times(n, 40)
    seconds[-1] = 86_400.0
    assert time_limits(seconds)[1] == 600


def test_a_tenth_of_long_tasks_among_short_ones_is_enough() -> None:
    seconds = np.concatenate([times(900, 20), times(100, 900)])
    assert time_limits(seconds)[1] > seconds.max()


@pytest.mark.parametrize("seconds", [[1e-300], [86_400.0] * 50, [0.01] * 50, [5.0]])
def test_absurd_times_come_to_limits_that_can_be_used(seconds: list[float]) -> None:
    least, most = time_limits(np.array(seconds))
    assert 0.1 <= least <= 5 < 600 <= most <= 86_400


def test_what_is_set_holds(environment: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIN_SECONDS", "2")
    settings.cache_clear()
    assert limits((0.5, 900.0)) == (2, 900)
    monkeypatch.setenv("MAX_SECONDS", "30")
    settings.cache_clear()
    assert limits((0.5, 900.0)) == (2, 30)


def test_a_limit_that_is_set_alone_takes_the_other_with_it() -> None:
    assert within((5.0, 600.0), None, 3.0) == (3, 3)
    assert within((5.0, 600.0), 700.0, None) == (700, 700)


def test_an_empty_setting_leaves_it_to_the_data(environment: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIN_SECONDS", "")
    settings.cache_clear()
    assert limits((0.5, 900.0)) == (0.5, 900)
