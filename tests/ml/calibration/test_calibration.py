"""Calibration makes what a model says honest, and leaves it alone while there is little to go by."""

import json

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit, logit

from app.ml import metrics
from app.ml.answers import Answers
from app.ml.calibration.calibration import INTERCEPT_SD, Calibration, log_odds

Floats = NDArray[np.float64]
RANDOM = np.random.default_rng(0)


def world(n: int, *, slope: float = 1.0, offset: float = 0.0) -> tuple[NDArray[np.bool_], Floats]:
    """Truth of n tasks, as (correct, p): the model says p, of which the logit is wrong by a line."""
    truth = RANDOM.normal(0, 1.2, n)
    return RANDOM.random(n) < expit(truth), np.asarray(expit((truth - offset) / slope))


def times(n: int, slower: float = 1.0) -> tuple[Floats, Floats]:
    """Seconds of n tasks, log-normal, and what the model says of them."""
    predicted = RANDOM.uniform(5, 100, n)
    return predicted * slower * RANDOM.lognormal(0, 0.5, n), predicted


def answers(calibration: Calibration, p: Floats, seconds: Floats) -> Answers:
    """From probabilities."""
    return calibration.answers_of_scores(log_odds(p), seconds)


def fitted(correct: NDArray[np.bool_], p: Floats, seconds: Floats, predicted: Floats) -> Calibration:
    """From tasks of as many students."""
    return Calibration.fitted(correct, p, seconds, predicted, np.arange(1, len(p) + 1, dtype=np.int32), INTERCEPT_SD)


def test_an_overconfident_model_is_made_honest() -> None:
    correct, p = world(6000, slope=0.5)
    found = fitted(correct[:3000], p[:3000], *times(3000))
    said = answers(found, p[3000:], np.ones(3000))
    assert found.slope == pytest.approx(0.5, abs=0.06)
    assert metrics.calibration_error(correct[3000:], said.probability) < 0.03
    assert metrics.log_loss(correct[3000:], said.probability) < metrics.log_loss(correct[3000:], p[3000:])


def test_half_of_a_level_is_carried_on() -> None:
    correct, p = world(6000, offset=0.4)
    seconds, predicted = times(6000, slower=1.5)
    found = fitted(correct, p, seconds, predicted)
    assert found.intercept == pytest.approx(0.2, abs=0.06)
    assert found.shift == pytest.approx(np.log(1.5) / 2, abs=0.03)
    said = answers(found, p, predicted)
    within = (said.seconds_low <= seconds) & (seconds <= said.seconds_high)
    assert within.mean() == pytest.approx(0.8, abs=0.03)  # of the held-out tasks themselves, whatever the level


def test_a_strong_class_that_joins_last_lifts_nobody_else() -> None:
    correct, p = world(3000, offset=0.8)
    seconds, predicted = times(3000, slower=0.5)
    known = np.repeat(np.arange(1, 31), 50).astype(np.int32)  # 30 students as expected, then 30 newcomers
    correct[:1500], p[:1500] = world(1500)
    seconds[:1500], predicted[:1500] = times(1500)
    found = Calibration.fitted(
        correct, p, seconds, predicted, np.concatenate([known, np.zeros(1500, np.int32)]), INTERCEPT_SD
    )
    said = answers(found, np.array([0.2, 0.5, 0.8]), np.full(3, 20.0))
    assert np.abs(said.probability - [0.2, 0.5, 0.8]).max() < 0.02
    assert said.seconds[0] == pytest.approx(20, rel=0.02)


def test_one_students_change_is_not_everybodys() -> None:
    correct, p = world(2000, offset=1.5)
    seconds, predicted = times(2000, slower=3.0)
    found = Calibration.fitted(correct, p, seconds, predicted, np.ones(2000, np.int32), INTERCEPT_SD)
    said = answers(found, np.array([0.5]), np.array([20.0]))
    assert said.probability[0] == pytest.approx(0.5, abs=0.03)
    assert said.seconds[0] == pytest.approx(20, rel=0.15)  # not 60


def test_a_slope_leaves_the_mean_probability_where_it_was() -> None:
    correct, p = world(3000, slope=0.7)
    p = expit(logit(p) + 1.0)
    correct = RANDOM.random(3000) < expit(0.7 * (logit(p) - 1.5) + 1.5)
    found = fitted(correct, p, *times(3000))
    neutral = expit(found.slope * logit(p) + found.intercept).mean()
    assert neutral == pytest.approx((p.mean() + correct.mean()) / 2, abs=0.02)


def test_what_is_right_already_stays() -> None:
    correct, p = world(3000)
    found = fitted(correct, p, *times(3000))
    assert np.abs(answers(found, p, np.ones(3000)).probability - p).max() < 0.03


@pytest.mark.parametrize("rows", [0, 2, 8])
def test_a_few_rows_hardly_change_anything(rows: int) -> None:
    found = fitted(np.ones(rows, np.bool_), np.full(rows, 0.4), np.full(rows, 60.0), np.full(rows, 20.0))
    said = answers(found, np.array([0.2, 0.5, 0.9]), np.full(3, 20.0))
    assert np.abs(said.probability - [0.2, 0.5, 0.9]).max() < 0.05
    assert said.seconds[0] == pytest.approx(20, rel=0.2)
    assert said.are_finite()


def test_four_of_five_times_lie_within_the_bounds() -> None:
    seconds, predicted = times(4000)
    correct, p = world(4000)
    found = fitted(correct[:2000], p[:2000], seconds[:2000], predicted[:2000])
    said = answers(found, p[2000:], predicted[2000:])
    within = (said.seconds_low <= seconds[2000:]) & (seconds[2000:] <= said.seconds_high)
    assert within.mean() == pytest.approx(0.8, abs=0.03)
    assert np.median(seconds[2000:] / said.seconds) == pytest.approx(1, abs=0.05)


def test_bounds_of_a_probability_shrink_with_the_rows_and_enclose_it() -> None:
    widths = []
    for rows in (20, 400, 20_000):
        correct, p = world(rows)
        said = answers(fitted(correct, p, *times(rows)), np.linspace(0.01, 0.99, 99), np.ones(99))
        assert ((said.probability_low <= said.probability) & (said.probability <= said.probability_high)).all()
        widths.append(np.mean(said.probability_high - said.probability_low))
    assert widths[0] > widths[1] > widths[2] > 0


def test_order_of_the_answers_stays() -> None:
    correct = RANDOM.random(500) < 0.5  # nothing to do with what was said, or even the opposite
    p = np.sort(RANDOM.random(500))
    said = answers(fitted(correct[::-1], p, *times(500)), p, np.ones(500)).probability
    assert (np.diff(said) > 0).all()


def test_one_answer_is_that_of_many() -> None:
    found = fitted(*world(1000), *times(1000))
    p, seconds = RANDOM.random(50), RANDOM.uniform(5, 50, 50)
    many = answers(found, p, seconds)
    for place in range(50):
        assert answers(found, p[place : place + 1], seconds[place : place + 1])[0] == many[place]


def test_kept_as_json_it_is_the_same() -> None:
    found = fitted(*world(1000), *times(1000))
    assert Calibration.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_what_an_earlier_release_kept_is_read_with_its_one_width() -> None:
    kept = {
        "slope": 0.9, "intercept": 0.1, "shift": 0.2, "time_low": -0.5, "time_high": 0.7,
        "at": [0.0], "p_low": [-0.3], "p_high": [0.3],
    }  # fmt: skip
    said = answers(Calibration.from_dict(kept), np.array([0.5, 0.9]), np.array([10.0, 40.0]))
    assert said.seconds == pytest.approx(np.exp(0.2) * np.array([10, 40]))
    assert said.seconds_low == pytest.approx(np.exp(0.2 - 0.5) * np.array([10, 40]))
    assert said.seconds_high == pytest.approx(np.exp(0.2 + 0.7) * np.array([10, 40]))


def test_what_is_no_number_stays_none() -> None:
    assert not answers(Calibration(), np.array([np.nan]), np.array([20.0])).are_finite()
    assert not answers(Calibration(), np.array([0.5]), np.array([np.nan])).are_finite()
