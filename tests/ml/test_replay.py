"""Replay predicts each task with what was known at its creation, by the newest model there was."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from app.domain.attempts import Attempts
from app.ml import baselines, material
from app.ml.answers import Answers
from app.ml.lnirt_service import fit_lnirt
from app.ml.networks.checkpoint import TrainingFailed
from app.ml.registry import ModelSpec
from app.ml.replay import BASELINES, Pace, Retrained, contestants, replay
from app.ml.simulated import SECOND, school, simulate
from tests.ml import following

ATTEMPTS = simulate(school(6), 40).attempts


def kind(name: str, fit: Any, go_on: Any = None) -> ModelSpec:
    def nowhere(_: Path) -> Any:
        raise NotImplementedError

    return ModelSpec(name, name, fit, nowhere, nowhere, go_on)


@dataclass(frozen=True)
class SaysItsSize:
    """A model whose time is the number of tasks it was fitted on."""

    completed: int
    report: ClassVar[dict[str, Any]] = {}

    @classmethod
    def fitted(cls, attempts: Attempts, _: Any) -> "SaysItsSize":
        return cls(len(attempts))

    def served(self) -> Any:
        return self

    def save(self, folder: Path) -> None:
        raise NotImplementedError

    def answers(self, attempts: Attempts, rows: NDArray[np.intp]) -> Answers:
        said = np.full(len(rows), float(self.completed))
        return Answers(np.full(len(rows), 0.5), *[said] * 5)


def test_every_task_is_answered_by_the_newest_model_there_was() -> None:
    contestant = Retrained(kind("size", SaysItsSize.fitted))
    outcome = contestant.answer(ATTEMPTS, Pace(5, 10), None)
    done = np.array([(ATTEMPTS.finished <= moment).sum() for moment in ATTEMPTS.started])
    expected = np.where(done < 10, 60, done // 5 * 5)
    assert outcome.seconds.tolist() == expected.tolist()
    assert outcome.by_model.tolist() == (done >= 10).tolist()


def test_a_failed_training_keeps_the_old_model_and_is_reported() -> None:
    def fit(attempts: Attempts, _: Any) -> SaysItsSize:
        if len(attempts) > 100:
            raise TrainingFailed("no luck")
        return SaysItsSize(len(attempts))

    report = replay(ATTEMPTS, contestants=[Retrained(kind("unlucky", fit))], retrain_every=20)
    assert report.failures["unlucky"][0].endswith("no luck")
    assert report.trainings["unlucky"] == 6  # 10, 20, 40, 60, 80, 100


def test_between_trainings_from_scratch_it_goes_on_with_what_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(material, "ALWAYS", 50)
    steps: list[tuple[str, int, int]] = []

    def fit(attempts: Attempts, _: Any) -> SaysItsSize:
        steps.append(("scratch", len(attempts), len(attempts)))
        return SaysItsSize(len(attempts))

    def go_on(before: SaysItsSize, attempts: Attempts, fresh: NDArray[np.bool_], _: Any) -> SaysItsSize:
        assert before.completed == len(attempts) - fresh.sum()
        assert fresh[-1]
        steps.append(("on", len(attempts), int(fresh.sum())))
        return SaysItsSize(len(attempts))

    Retrained(kind("toy", fit, go_on), growth=0.5).answer(ATTEMPTS, Pace(20, 10), None)
    assert steps[:5] == [("scratch", n, n) for n in (10, 20, 40)] + [("scratch", 60, 60), ("on", 80, 20)]
    assert [n for way, n, _ in steps[5:] if way == "scratch"] == [100, 160]  # grown by half
    assert {fresh for way, _, fresh in steps if way == "on"} == {20}
    steps.clear()
    Retrained(kind("toy", fit, go_on), growth=None).answer(ATTEMPTS, Pace(20, 10), None)
    assert {way for way, *_ in steps} == {"scratch"}


def test_young_services_train_when_tasks_have_doubled() -> None:
    assert Pace(2000, 10).due(5000).tolist() == [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 4560]
    assert Pace(2000, 10, early=False).due(5000).tolist() == [2000, 4000]
    assert Pace(5, 10).due(22).tolist() == [10, 15, 20]


@pytest.mark.parametrize("means", [baselines.global_mean, baselines.item_mean, baselines.item_and_student])
def test_baselines_know_nothing_of_later_tasks(means: Callable[[Attempts], baselines.Answers]) -> None:
    changed = 120
    correct, seconds = ATTEMPTS.correct.copy(), ATTEMPTS.seconds.copy()
    correct[changed:], seconds[changed:] = ~correct[changed:], 1.0
    before, after = (np.array(means(a)) for a in (ATTEMPTS, replace(ATTEMPTS, correct=correct, seconds=seconds)))
    early = ATTEMPTS.started < ATTEMPTS.finished[changed]
    np.testing.assert_allclose(before[:, early], after[:, early], rtol=1e-9)
    assert np.isfinite(before).all()


def test_the_report_has_a_row_per_model_and_group_and_is_json() -> None:
    report = replay(ATTEMPTS, contestants=BASELINES)
    assert len(report.scores) == 12
    assert [score.n for score in report.scores[:4]] == [240, 60, 180, 0]
    assert json.loads(json.dumps(report.as_dict(), allow_nan=False))["scores"][3]["log_loss"] is None
    empty: Attempts = ATTEMPTS.take(slice(0))
    assert replay(empty, contestants=BASELINES).tasks == 0


def test_times_are_answered_within_limits_that_follow_what_is_finished_or_are_set() -> None:
    quick = replace(ATTEMPTS, seconds=ATTEMPTS.seconds / 20)
    followed = replay(quick, contestants=BASELINES)
    kept = replay(quick, contestants=BASELINES, seconds_limits=(5.0, 600.0))
    assert followed.limits[0] < np.quantile(quick.seconds, 0.01)
    assert followed.outside < 0.1 < kept.outside
    assert kept.limits == (5, 600)
    assert followed.scores[0].mae_seconds < kept.scores[0].mae_seconds


def test_v2_and_lnirt_take_part() -> None:
    report = replay(ATTEMPTS, retrain_every=80, contestants=contestants())
    for name in ("embedding_v2", "lnirt"):
        assert report.trainings[name] > 2
        assert report.failures[name] == []
        assert report.by_prior[name] > 0


def overlapping(attempts: Attempts) -> Attempts:
    """Every other task was already open while the one before was done."""
    early = attempts.started - np.where(np.arange(len(attempts)) % 2, 120 * SECOND, 0)
    item = np.arange(len(attempts), dtype=np.int32) % 5 - 1
    return replace(attempts, started=early, items=tuple("abcd"), item=item)


@pytest.mark.parametrize("made", [ATTEMPTS, overlapping(ATTEMPTS)], ids=["one at a time", "overlapping"])
def test_lnirt_answers_each_task_from_all_that_was_finished_when_it_was_created(made: Attempts) -> None:
    fitted = fit_lnirt(made.take(slice(100)))
    moving = replace(fitted.bank.population, ability_kept=0.97, speed_kept=0.94, probit_item=0.2, time_topic=-0.1)
    model = fitted.moving_as(moving).served()
    rows = np.flatnonzero(made.started >= made.finished[99])[::7]
    said = model.predictions(made, rows)
    for place, row in enumerate(rows):
        asked = following.Task.of(made, int(row))
        expected = following.says(model, following.before(made, int(row)), asked.topic, asked.difficulty, asked.item)
        assert said.probability[place] == pytest.approx(expected.probability, abs=1e-9)
        assert said.log_seconds[place] == pytest.approx(expected.log_seconds, abs=1e-9)
        assert said.spread[place] == pytest.approx(expected.spread, rel=1e-9)
