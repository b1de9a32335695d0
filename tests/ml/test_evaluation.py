"""Trained on some students, judged on others."""

import json
from typing import Any

import numpy as np
import pytest

from app.domain.attempts import Attempts
from app.ml import evaluation, metrics
from app.ml.answers import Answers
from app.ml.evaluation import Contestant, as_dict, contestants, evaluate, split_by_student
from app.ml.peers import GradientBoosting
from app.ml.simulated import school, simulate

WORLD = simulate(school(40, seed=4), 60, seed=4)
TRAIN, TEST = split_by_student(WORLD.attempts)
FAST = [each for each in contestants() if not each.name.startswith("embedding")]


def test_students_are_on_one_side_and_stay_there() -> None:
    assert not set(TRAIN.student) & set(TEST.student)
    assert 2 < len(set(TEST.student)) < 16
    again = split_by_student(WORLD.attempts.take(slice(1000)))[1]
    assert set(again.student) <= set(TEST.student)
    with pytest.raises(ValueError, match="--test"):
        split_by_student(WORLD.attempts.take(WORLD.attempts.student == 0))


def test_every_model_has_every_figure_and_knowing_more_helps() -> None:
    scores, failures = evaluate(TRAIN, TEST, FAST)
    assert failures == {}
    found = {each.model: each for each in scores}
    assert list(found)[:5] == ["prior", "global mean", "item mean", "item + student", "lnirt"]
    assert found["item + student"].log_loss < found["item mean"].log_loss < found["global mean"].log_loss
    assert found["lnirt"].rmse_log_time < found["item mean"].rmse_log_time
    assert found["prior"].log_loss == pytest.approx(np.log(2))
    assert all(each.n == len(TEST) for each in scores)
    assert 0.7 < found["gradient boosting"].time_interval_coverage < 0.9


def test_the_report_is_json_with_the_promised_keys() -> None:
    report: dict[str, Any] = as_dict(*evaluate(TRAIN, TEST, FAST[:2]), TRAIN, TEST)
    (model, *_) = json.loads(json.dumps(report, allow_nan=False))["models"]
    assert set(model) == {
        *("model", "n", "auc", "log_loss", "brier", "calibration_error", "rmse_log_time", "mae_seconds"),
        *("time_interval_coverage", "train_seconds"),
    }


def test_a_model_that_fails_is_named_and_the_others_are_shown() -> None:
    def fails(train: Attempts, test: Attempts, progress: Any) -> tuple[Answers, float]:
        raise ValueError("no luck")

    scores, failures = evaluate(TRAIN, TEST, [FAST[0], Contestant("unlucky", fails)])
    assert [each.model for each in scores] == ["prior"]
    assert failures == {"unlucky": "no luck"}
    with pytest.raises(ValueError, match="no tasks to judge"):
        evaluate(TRAIN, TEST.take(slice(0)), FAST)


def test_one_class_only_has_no_auc() -> None:
    right = TEST.take(TEST.correct)
    (score,), _ = evaluate(TRAIN, right, FAST[:1])
    assert score.auc is None


def test_a_students_own_past_counts_as_it_comes_but_never_the_task_itself() -> None:
    late = int(len(TEST) * 0.8)
    changed = TEST.correct.copy()
    changed[late:] = ~changed[late:]
    from dataclasses import replace

    other = replace(TEST, correct=changed)
    boosting = GradientBoosting(TRAIN)
    early = TEST.started < TEST.finished[late]
    before, after = (boosting.answers(a).probability for a in (TEST, other))
    assert np.array_equal(before[early], after[early])
    assert not np.array_equal(before, after)
    assert metrics.auc(TEST.correct, before) > 0.6


def test_topics_and_items_are_matched_by_name() -> None:
    shuffled = simulate(school(40, tuple(reversed(school(1).topics)), seed=4), 5, seed=9).attempts
    said = evaluation._item_means(TRAIN, shuffled, items=True)[0]
    for row in range(20):
        same = (np.array(TRAIN.topics)[TRAIN.topic] == shuffled.topics[shuffled.topic[row]]) & (
            TRAIN.difficulty == shuffled.difficulty[row]
        )
        share = TRAIN.correct[same].mean()
        assert abs(said[row] - share) < 0.1
