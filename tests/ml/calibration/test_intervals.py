"""Four times in five lie within their interval, whether a short or a long time was predicted."""

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.ml.calibration.intervals import NORMAL, Band

Floats = NDArray[np.float64]
USUAL = {"usual": 0.6, "rows": 50.0}


def uneven(n: int, seed: int = 0) -> tuple[Floats, Floats]:
    """Times of n tasks and what was predicted: short ones vary much, and more upwards; long ones little."""
    random = np.random.default_rng(seed)
    predicted = np.exp(random.uniform(np.log(3), np.log(60), n))
    spread = np.interp(np.log(predicted), np.log([3, 60]), [0.8, 0.2])
    off = random.normal(0, spread)
    return predicted * np.exp(np.where(off > 0, 1.5, 0.7) * off), predicted


def held_by_tenth(band: Band, seconds: Floats, predicted: Floats) -> Floats:
    low, high = band.around(predicted)
    within = (low <= seconds) & (seconds <= high)
    return np.array([within[part].mean() for part in np.array_split(np.argsort(predicted), 10)])


def test_four_in_five_are_held_in_each_tenth_of_the_predicted_time() -> None:
    held = held_by_tenth(Band.fitted(*uneven(4_000), usual=USUAL["usual"], rows=USUAL["rows"]), *uneven(20_000, seed=1))
    assert held.min() > 0.75
    assert held.max() < 0.85


def test_one_width_for_all_would_not_hold_them() -> None:
    seconds, predicted = uneven(20_000)
    low, high = np.quantile(np.log(seconds / predicted), [0.1, 0.9])
    held = held_by_tenth(Band(low=(float(low),), high=(float(high),)), seconds, predicted)
    assert held.min() < 0.7
    assert held.max() > 0.9


def test_where_tasks_are_cut_off_the_interval_reaches_to_the_limit_and_leaves_out_the_shortest() -> None:
    random = np.random.default_rng(2)
    predicted = np.exp(random.uniform(np.log(5), np.log(25), 24_000))
    seconds = np.minimum(predicted * random.lognormal(0, 0.5, len(predicted)), 30.0)
    band = Band.fitted(seconds[:4_000], predicted[:4_000], **USUAL)
    held = held_by_tenth(band, seconds[4_000:], predicted[4_000:])
    assert band.longest == 30.0
    assert band.around(np.array([25.0]))[1] == 30.0
    assert held.min() > 0.75
    assert held.max() < 0.85


@pytest.mark.parametrize("rows", [0, 1, 5, 30])
def test_a_few_rows_leave_about_the_usual_width(rows: int) -> None:
    random = np.random.default_rng(rows)
    predicted = random.uniform(5, 60, rows)
    low, high = Band.fitted(predicted * random.lognormal(0, 0.6, rows), predicted, **USUAL).around(
        np.array([2.0, 20.0])
    )
    assert np.log(low) == pytest.approx(np.log([2, 20]) - 0.6 * NORMAL, abs=0.3)
    assert np.log(high) == pytest.approx(np.log([2, 20]) + 0.6 * NORMAL, abs=0.3)


@pytest.mark.parametrize("rows", [1, 30, 400])
def test_times_that_are_all_the_same_are_no_error(rows: int) -> None:
    band = Band.fitted(np.full(rows, 20.0), np.full(rows, 20.0), **USUAL)
    low, high = band.around(np.array([20.0]))
    assert band.longest is None
    assert 2 < low[0] < 20 < high[0] < 200


def test_a_slip_of_a_day_does_not_widen_the_interval() -> None:
    seconds, predicted = uneven(500)
    before = Band.fitted(seconds, predicted, **USUAL).around(predicted)
    seconds[::100] = 86_400.0
    after = Band.fitted(seconds, predicted, **USUAL).around(predicted)
    assert np.abs(np.log(after[1] / before[1])).max() < 0.3
    assert np.abs(np.log(after[0] / before[0])).max() < 0.3


def test_a_model_that_knows_its_own_spreads_keeps_them_in_proportion() -> None:
    random = np.random.default_rng(3)
    predicted, spread = random.uniform(5, 60, 4_000), random.choice([0.2, 0.8], 4_000)
    band = Band.fitted(predicted * np.exp(1.4 * spread * random.normal(0, 1, 4_000)), predicted, spread)
    low, high = band.around(np.array([20.0, 20.0]), np.array([0.2, 0.8]))
    assert np.log(high / low) == pytest.approx(2 * 1.4 * NORMAL * np.array([0.2, 0.8]), rel=0.1)


def test_one_is_answered_as_many_are() -> None:
    seconds, predicted = uneven(1_000)
    band = Band.fitted(seconds, predicted, **USUAL)
    many = band.around(predicted[:50])
    for place in range(50):
        assert band.around(predicted[place : place + 1]) == (many[0][place], many[1][place])


def test_kept_as_json_it_is_the_same() -> None:
    band = Band.fitted(*uneven(1_000), usual=USUAL["usual"], rows=USUAL["rows"])
    kept: dict[str, Any] = json.loads(json.dumps(asdict(band)))
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in kept.items()}
    again = Band(**values)
    assert again == band
