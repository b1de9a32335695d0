"""Replay predicts each task with what was known at its creation, by the newest model there was."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from app.domain.attempts import DIFFICULTIES, Attempts
from app.ml import baselines, material
from app.ml.answers import Answers
from app.ml.lnirt_posterior import ItemParameters, newcomer, predict, update
from app.ml.lnirt_service import FittedLnirt, fit_lnirt
from app.ml.networks.checkpoint import TrainingFailed
from app.ml.registry import ModelSpec
from app.ml.replay import BASELINES, Pace, Retrained, contestants, replay
from app.ml.simulated import school, simulate

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

    def go_on(before: SaysItsSize, attempts: Attempts, fresh: NDArray[np.bool_], *_: Any) -> SaysItsSize:
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


def test_v2_and_lnirt_take_part() -> None:
    report = replay(ATTEMPTS, retrain_every=80, contestants=contestants())
    for name in ("embedding_v2", "lnirt"):
        assert report.trainings[name] > 2
        assert report.failures[name] == []
        assert report.by_prior[name] > 0


def test_lnirt_answers_each_task_from_all_that_was_finished_when_it_was_created() -> None:
    fitted = fit_lnirt(ATTEMPTS.take(slice(100)))
    rows = np.flatnonzero(ATTEMPTS.started >= ATTEMPTS.finished[99])[::7]
    said = fitted.served().predictions(ATTEMPTS, rows)
    for place, row in enumerate(rows):
        posterior = newcomer(fitted.bank.population)
        for answer in np.flatnonzero(
            (ATTEMPTS.student == ATTEMPTS.student[row]) & (ATTEMPTS.finished <= ATTEMPTS.started[row])
        ):
            correct, time = bool(ATTEMPTS.correct[answer]), float(ATTEMPTS.seconds[answer])
            posterior = update(posterior, item(fitted, int(answer)), correct, time)
        expected = predict(posterior, item(fitted, int(row)))
        assert said[place].probability == pytest.approx(expected.probability, abs=1e-9)
        assert said[place].seconds == pytest.approx(expected.seconds, rel=1e-9)


def item(fitted: FittedLnirt, row: int) -> ItemParameters:
    topic, difficulty = ATTEMPTS.topics[ATTEMPTS.topic[row]], DIFFICULTIES[ATTEMPTS.difficulty[row]]
    return fitted.bank.find(None, topic, difficulty).parameters
