"""LNIRT's answers are made honest in its own spreads, on newest and on older tasks."""

import json
from dataclasses import astuple
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit, logit

from app.ml.lnirt.ability import Predictive
from app.ml.lnirt.calibration import LnirtCalibration, calibrating

World = tuple[NDArray[np.bool_], NDArray[np.float64], Predictive[NDArray[np.float64]]]
NORMAL = 1.2815515655446004


def said(p: float, seconds: float, spread: float) -> Predictive[float]:
    low, high = expit(logit(p) - 0.5), expit(logit(p) + 0.5)
    return Predictive(p, float(low), float(high), float(np.log(seconds)), spread)


def one_of(told: Predictive[NDArray[np.float64]], place: int) -> Predictive[float]:
    return Predictive(*(float(each[place]) for each in told))


def fitted(correct: NDArray[np.bool_], seconds: NDArray[np.float64], told: Predictive[Any]) -> LnirtCalibration:
    """From tasks of as many students."""
    return LnirtCalibration.fitted(correct, seconds, told, np.arange(1, len(correct) + 1, dtype=np.int32))


def world(n: int, *, level: float = 0.0, slower: float = 0.0, wider: float = 1.0) -> World:
    """What happened in n tasks, and what was said: off by a level of the log odds, and in spreads of the time."""
    random = np.random.default_rng(n)
    p, typical, spread = random.uniform(0.1, 0.9, n), random.uniform(4, 60, n), random.uniform(0.3, 0.7, n)
    seconds = typical * np.exp(spread * (slower + wider * random.normal(0, 1, n)))
    told = Predictive(p, expit(logit(p) - 0.5), expit(logit(p) + 0.5), np.log(typical), spread)
    return random.random(n) < expit(logit(p) + level), seconds, told


def test_an_interval_that_was_too_narrow_holds_four_in_five() -> None:
    correct, seconds, told = world(4_000, wider=1.5)
    answers = fitted(correct, seconds, told).answers(told)
    within = (answers.seconds_low <= seconds) & (seconds <= answers.seconds_high)
    assert within.mean() == pytest.approx(0.8, abs=0.02)


def test_a_level_of_the_newest_tasks_is_carried_on_by_half() -> None:
    found = fitted(*world(6_000, level=0.3, slower=0.4))
    assert found.intercept == pytest.approx(0.15, abs=0.04)
    assert found.middle == pytest.approx(0.2, abs=0.04)


def test_newcomers_who_are_strong_and_quick_move_nobody_elses_answers() -> None:
    correct, seconds, told = world(2_000, level=1.5, slower=-1.0)
    found = LnirtCalibration.fitted(correct, seconds, told, np.zeros(2_000, np.int32))
    assert found.intercept == pytest.approx(0, abs=1e-9)
    assert found.middle == 0


@pytest.mark.parametrize("rows", [0, 3, 30])
def test_a_few_tasks_leave_what_lnirt_said(rows: int) -> None:
    correct, seconds, told = world(rows)
    asked = said(0.7, 20, 0.5)
    answer = fitted(correct, seconds, told).answer(asked)
    assert answer.probability == pytest.approx(0.7, abs=0.03)
    assert answer.seconds == pytest.approx(20, rel=0.1)
    assert answer.seconds_low == pytest.approx(20 * np.exp(-NORMAL * 0.5), rel=0.4)
    assert answer.seconds_high == pytest.approx(20 * np.exp(NORMAL * 0.5), rel=0.4)


def test_one_is_answered_as_many_are() -> None:
    correct, seconds, told = world(1_000)
    found = fitted(correct, seconds, told)
    many = found.answers(told)
    for place in range(20):
        assert astuple(found.answer(one_of(told, place))) == pytest.approx(astuple(many[place]))


def test_kept_as_json_it_says_the_same() -> None:
    correct, seconds, told = world(1_000)
    found = fitted(correct, seconds, told)
    again = LnirtCalibration(**json.loads(json.dumps(found.to_dict())))
    for place in range(20):
        assert again.answer(one_of(told, place)) == found.answer(one_of(told, place))


def test_what_an_earlier_release_kept_is_read() -> None:
    kept: dict[str, Any] = {"slope": 1.1, "intercept": 0.1, "middle": 0.1, "low": -1.5, "high": 1.4}
    answer = LnirtCalibration(**kept).answer(said(0.5, 20, 0.5))
    assert answer.seconds == pytest.approx(20 * np.exp(0.05))
    assert (answer.seconds_low, answer.seconds_high) == pytest.approx((20 * np.exp(-0.75), 20 * np.exp(0.7)))


def test_older_tasks_calibrate_beside_the_newest_and_strangers_have_no_code() -> None:
    student = np.array([0, 1, 0, 1, 0, 2, 0, 2], np.int32)
    rows, codes = calibrating(student, np.arange(5, 8))
    assert rows.tolist() == list(range(8))
    assert codes.tolist() == [1, 2, 1, 2, 1, 0, 1, 0]
