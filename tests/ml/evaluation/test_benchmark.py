"""Trained on some students, judged on others."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from app.domain.attempts import Attempts
from app.ml import metrics
from app.ml.answers import Answers
from app.ml.evaluation import benchmark
from app.ml.evaluation.benchmark import FittedContestant, as_dict, contestants, evaluate, split_by_student
from app.ml.evaluation.simulated import school, simulate
from app.ml.evaluation.sklearn_models import GradientBoosting, LogisticRegression

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
    evaluated = evaluate(TRAIN, TEST, FAST)
    assert evaluated.failures == {}
    scores = evaluated.scores
    found = {each.model: each for each in scores}
    assert list(found)[:5] == ["prior", "global mean", "item mean", "item + student", "lnirt"]
    losses = [found[name].log_loss or 0 for name in ("item + student", "item mean", "global mean")]
    assert losses[0] < losses[1] < losses[2]
    assert (found["lnirt"].rmse_log_time or 9) < (found["item mean"].rmse_log_time or 0)
    assert found["prior"].log_loss == pytest.approx(np.log(2))
    assert all(each.n == len(TEST) for each in scores)
    assert 0.7 < (found["gradient boosting"].time_interval_coverage or 0) < 0.9


def test_the_report_is_json_with_the_promised_keys() -> None:
    report: dict[str, Any] = as_dict(evaluate(TRAIN, TEST, FAST[:2]), TRAIN, TEST)
    (model, *_) = json.loads(json.dumps(report, allow_nan=False))["models"]
    assert set(model) == {
        *("model", "n", "auc", "log_loss", "brier", "calibration_error", "rmse_log_time", "mae_seconds"),
        *("time_interval_coverage", "train_seconds"),
    }


def test_a_model_that_fails_is_named_and_the_others_are_shown() -> None:
    def fails(train: Attempts, test: Attempts, progress: Any) -> tuple[Answers, float]:
        raise ValueError("no luck")

    found = evaluate(TRAIN, TEST, [FAST[0], FittedContestant("unlucky", fails)])
    assert [each.model for each in found.scores] == ["prior"]
    assert found.failures == {"unlucky": "no luck"}
    with pytest.raises(ValueError, match="no tasks to judge"):
        evaluate(TRAIN, TEST.take(slice(0)), FAST)


def test_one_class_only_has_no_auc() -> None:
    right = TEST.take(TEST.correct)
    (score,) = evaluate(TRAIN, right, FAST[:1]).scores
    assert score.auc is None


def without_times(attempts: Attempts, share: float) -> Attempts:
    gone = np.random.default_rng(1).random(len(attempts)) < share
    return replace(attempts, seconds=np.where(gone, np.nan, attempts.seconds))


def test_without_times_nothing_is_said_of_times_and_all_else_is() -> None:
    found = evaluate(without_times(TRAIN, 1), without_times(TEST, 1), FAST)
    assert found.failures == {}
    for each in found.scores:
        assert (each.rmse_log_time, each.mae_seconds, each.time_interval_coverage) == (None, None, None)
        assert each.log_loss is not None


def test_single_missing_times_spoil_neither_times_nor_their_intervals() -> None:
    whole = {each.model: each for each in evaluate(TRAIN, TEST, FAST).scores}
    for each in evaluate(without_times(TRAIN, 0.4), without_times(TEST, 0.4), FAST).scores:
        assert each.rmse_log_time == pytest.approx(whole[each.model].rmse_log_time, rel=0.1)
        assert each.time_interval_coverage == pytest.approx(whole[each.model].time_interval_coverage, abs=0.1)


def test_ctrl_c_keeps_the_models_that_have_finished_and_names_the_others() -> None:
    def interrupted(train: Attempts, test: Attempts, progress: Any) -> tuple[Answers, float]:
        raise KeyboardInterrupt

    said: list[str] = []
    steps: list[dict[str, Any]] = []
    those = [FAST[0], FittedContestant("slow", interrupted), FAST[1]]
    found = evaluate(TRAIN, TEST, those, steps.append, lambda name, _: said.append(name))
    assert [each.model for each in found.scores] == said == ["prior"]
    assert found.interrupted == ["slow", "global mean"]
    assert steps[-1] == {"model": "slow", "done": 1, "models": 3}


@pytest.mark.parametrize("peer", [GradientBoosting, LogisticRegression])
def test_peers_know_every_item_however_many_there_are(peer: Any) -> None:
    """Each of 400 items is always right or always wrong; nothing else tells."""
    n, random = 8_000, np.random.default_rng(0)
    item = random.integers(0, 400, n).astype(np.int32)
    easy = np.random.default_rng(1).random(400) < 0.5
    start = np.arange(n) * 100_000_000
    nothing = np.zeros(n, np.int32)
    world = Attempts(
        tuple(map(str, range(n))), ("t",), tuple(f"i{each}" for each in range(400)), np.arange(n, dtype=np.int32),
        nothing, nothing, item, start, start + 10_000_000, easy[item], np.where(easy[item], 10.0, 40.0),
    )  # fmt: skip
    said = peer(world.take(slice(6_000))).answers(world.take(slice(6_000, n)))
    assert metrics.auc(easy[item[6_000:]], said.probability) > 0.98
    assert metrics.rmse_log_time(world.seconds[6_000:], said.seconds) < 0.3


@pytest.mark.parametrize("peer", [GradientBoosting, LogisticRegression])
def test_peers_need_no_items(peer: Any) -> None:
    bare = [replace(each, item=np.full_like(each.item, -1)) for each in (TRAIN, TEST)]
    assert metrics.auc(TEST.correct, peer(bare[0]).answers(bare[1]).probability) > 0.6


def test_a_students_own_past_counts_as_it_comes_but_never_the_task_itself() -> None:
    late = int(len(TEST) * 0.8)
    changed = TEST.correct.copy()
    changed[late:] = ~changed[late:]
    other = replace(TEST, correct=changed)
    boosting = GradientBoosting(TRAIN)
    early = TEST.started < TEST.finished[late]
    before, after = (boosting.answers(a).probability for a in (TEST, other))
    assert np.array_equal(before[early], after[early])
    assert not np.array_equal(before, after)
    assert metrics.auc(TEST.correct, before) > 0.6


def test_topics_and_items_are_matched_by_name() -> None:
    shuffled = simulate(school(40, tuple(reversed(school(1).topics)), seed=4), 5, seed=9).attempts
    said = benchmark._item_means(TRAIN, shuffled, items=True)[0]
    for row in range(20):
        same = (np.array(TRAIN.topics)[TRAIN.topic] == shuffled.topics[shuffled.topic[row]]) & (
            TRAIN.difficulty == shuffled.difficulty[row]
        )
        share = TRAIN.correct[same].mean()
        assert abs(said[row] - share) < 0.1
