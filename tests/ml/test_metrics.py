"""The scores mean what their names say."""

import math

import numpy as np
import pytest

from app.ml import metrics

CORRECT = np.array([True, False, True, False])


def test_auc_counts_pairs_and_ties_half() -> None:
    assert metrics.auc(CORRECT, np.array([0.9, 0.1, 0.8, 0.2])) == 1
    assert metrics.auc(CORRECT, np.full(4, 0.3)) == 0.5
    assert metrics.auc(CORRECT, np.array([0.9, 0.9, 0.8, 0.2])) == pytest.approx(2.5 / 4)


def test_auc_of_one_class_is_not_defined() -> None:
    assert math.isnan(metrics.auc(np.ones(3, np.bool_), np.array([0.1, 0.2, 0.3])))


def test_auc_agrees_with_counting_every_pair() -> None:
    random = np.random.default_rng(0)
    correct, p = random.random(200) < 0.4, random.integers(0, 20, 200) / 20
    pairs = p[correct][:, None] - p[~correct]
    assert metrics.auc(correct, p) == pytest.approx((np.sign(pairs) / 2 + 0.5).mean())


def test_log_loss_and_brier_of_a_coin() -> None:
    assert metrics.log_loss(CORRECT, np.full(4, 0.5)) == pytest.approx(math.log(2))
    assert metrics.brier(CORRECT, np.full(4, 0.5)) == 0.25


def test_log_loss_of_a_sure_error_is_finite() -> None:
    assert math.isfinite(metrics.log_loss(CORRECT, np.array([0.0, 1.0, 1.0, 0.0])))


def test_calibration_error_weighs_bins_by_rows() -> None:
    assert metrics.calibration_error(CORRECT, np.full(4, 0.5)) == 0
    p = np.array([1.0, 0.0, 0.75, 0.0])  # three bins, one of them off by a quarter
    assert metrics.calibration_error(CORRECT, p) == pytest.approx(0.25 / 4)


def test_times() -> None:
    seconds = np.array([10.0, 20.0])
    assert metrics.rmse_log_time(seconds, seconds * math.e) == pytest.approx(1)
    assert metrics.mae_seconds(seconds, np.array([13.0, 19.0])) == 2


def test_the_summary_leaves_out_what_is_not_known_and_says_none_where_nothing_is() -> None:
    p, seconds = np.array([0.9, 0.2, 0.8, 0.3]), np.array([10.0, np.nan, 20.0, 30.0])
    low, high = np.array([5.0, 5.0, 25.0, np.nan]), np.array([15.0, 15.0, 30.0, 40.0])
    found = metrics.summary(CORRECT, p, seconds, np.array([12.0, 9.0, 19.0, 30.0]), low, high)
    assert (found.auc, found.mae_seconds, found.time_interval_coverage) == (1, 1, 0.5)
    assert found.log_loss == metrics.log_loss(CORRECT, p)
    untimed = metrics.summary(np.ones(4, np.bool_), p, np.full(4, np.nan), seconds)
    assert (untimed.auc, untimed.rmse_log_time, untimed.time_interval_coverage) == (None, None, None)
    assert metrics.summary(CORRECT[:0], p[:0], p[:0], p[:0]).brier is None
