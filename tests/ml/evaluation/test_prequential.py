"""Replay predicts each task with what was known at its creation, by the newest model there was."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit

from app.domain.attempts import Attempts
from app.ml import baselines, metrics
from app.ml.answers import Answers
from app.ml.evaluation.prequential import BASELINES, SCORE_GROUPS, Retrained, RetrainingSchedule, replay
from app.ml.evaluation.served import contestants
from app.ml.evaluation.simulated import SECOND, school, simulate
from app.ml.lnirt.model import fit_lnirt
from app.ml.networks.checkpoint import TrainingFailed
from app.ml.registry import BY_NAME, ModelSpec
from app.ml.training import dataset
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
    outcome = contestant.answer(ATTEMPTS, RetrainingSchedule(5, 10), None)
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
    monkeypatch.setattr(dataset, "ALWAYS", 50)
    steps: list[tuple[str, int, int]] = []

    def fit(attempts: Attempts, _: Any) -> SaysItsSize:
        steps.append(("scratch", len(attempts), len(attempts)))
        return SaysItsSize(len(attempts))

    def go_on(before: SaysItsSize, attempts: Attempts, fresh: NDArray[np.bool_], *_: Any) -> SaysItsSize:
        assert before.completed == len(attempts) - fresh.sum()
        assert fresh[-1]
        steps.append(("on", len(attempts), int(fresh.sum())))
        return SaysItsSize(len(attempts))

    Retrained(kind("toy", fit, go_on), growth=0.5).answer(ATTEMPTS, RetrainingSchedule(20, 10), None)
    assert steps[:5] == [("scratch", n, n) for n in (10, 20, 40)] + [("scratch", 60, 60), ("on", 80, 20)]
    assert [n for way, n, _ in steps[5:] if way == "scratch"] == [100, 160]  # grown by half
    assert {fresh for way, _, fresh in steps if way == "on"} == {20}
    steps.clear()
    Retrained(kind("toy", fit, go_on), growth=None).answer(ATTEMPTS, RetrainingSchedule(20, 10), None)
    assert {way for way, *_ in steps} == {"scratch"}


def test_young_services_train_when_tasks_have_doubled() -> None:
    assert RetrainingSchedule(2000, 10).due(5000).tolist() == [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 4560]
    assert RetrainingSchedule(2000, 10, early=False).due(5000).tolist() == [2000, 4000]
    assert RetrainingSchedule(5, 10).due(22).tolist() == [10, 15, 20]


@pytest.mark.parametrize(
    "means",
    [baselines.global_mean, baselines.item_mean, baselines.item_and_student, baselines.elo, baselines.additive],
)
def test_baselines_know_nothing_of_later_tasks(means: Callable[[Attempts], baselines.Answers]) -> None:
    changed = 120
    correct, seconds = ATTEMPTS.correct.copy(), ATTEMPTS.seconds.copy()
    correct[changed:], seconds[changed:] = ~correct[changed:], 1.0
    before, after = (np.array(means(a)) for a in (ATTEMPTS, replace(ATTEMPTS, correct=correct, seconds=seconds)))
    early = ATTEMPTS.started < ATTEMPTS.finished[changed]
    np.testing.assert_allclose(before[:, early], after[:, early], rtol=1e-9)
    assert np.isfinite(before).all()


def test_the_additive_baseline_is_the_regression_on_what_was_finished() -> None:
    """Beside the plain form of it, solved anew for each task."""
    asked = ATTEMPTS.take(slice(150))
    p, seconds = baselines.additive(asked)
    n_students, n_topics = len(asked.students), len(asked.topics)
    parts = np.array([1, n_students, n_topics, 3])
    x = np.zeros((150, parts.sum()))
    for column, place in enumerate((np.zeros(150, int), asked.student, asked.topic, asked.difficulty)):
        x[np.arange(150), parts[:column].sum() + place] = 1
    held, time_held = (np.diag(1 / np.repeat(each, parts)) for each in ([1, 1, 0.5, 1], [1, 0.2, 0.1, 0.1]))
    centre = np.log(60) * np.eye(len(held))[0]
    for row in range(0, 150, 10):
        known = asked.finished <= asked.started[row]
        past, w = x[known], np.zeros(len(held))
        for _ in range(30):
            chance = expit(past @ w)
            curve = past.T @ (past * (chance * (1 - chance))[:, None]) + held
            w -= np.linalg.solve(curve, past.T @ (chance - asked.correct[known]) + held @ w)
        unsure = x[row] @ np.linalg.solve(curve, x[row])
        assert p[row] == pytest.approx(expit(x[row] @ w / np.sqrt(1 + np.pi * unsure / 8)), abs=1e-6)
        precision = past.T @ past / 0.15 + time_held
        log_times = np.linalg.solve(precision, past.T @ np.log(asked.seconds[known]) / 0.15 + time_held @ centre)
        assert np.log(seconds[row]) == pytest.approx(x[row] @ log_times, abs=1e-6)


def test_elo_moves_by_the_surprise_and_less_from_task_to_task() -> None:
    one = ATTEMPTS.student == ATTEMPTS.student[0]
    alike = ATTEMPTS.take(np.flatnonzero(one)[:4])
    zeros = np.zeros(4, np.int32)
    began = np.arange(4) * 100_000_000
    same = replace(
        alike, student=zeros, topic=zeros, difficulty=zeros, started=began, finished=began + 30_000_000,
        correct=np.ones(4, np.bool_), seconds=np.full(4, 30.0),
    )  # fmt: skip
    p, seconds = baselines.elo(same)
    assert (p[0], seconds[0]) == (0.5, pytest.approx(60))
    assert p[1] == pytest.approx(expit(3 * 0.5 / 1.15))
    moves = np.diff(np.log(p / (1 - p)))
    assert (moves > 0).all()
    assert (np.diff(moves) < 0).all()
    assert seconds[3] < 60


def test_the_report_has_a_row_per_model_and_group_and_is_json() -> None:
    report = replay(ATTEMPTS, contestants=BASELINES)
    assert len(report.scores) == 5 * len(SCORE_GROUPS)
    sizes = {score.group: score.n for score in report.scores[: len(SCORE_GROUPS)]}
    assert sizes == {
        "overall": 240, "first 10": 60, "first 50": 240, "first 200": 240, "first 1000": 240, "next 40": 180,
        "later": 0, "installation's first 10": 10, "installation's first 50": 50, "installation's first 200": 200,
        "installation's first 1000": 240,
    }  # fmt: skip
    later = json.loads(json.dumps(asdict(report), allow_nan=False))["scores"][SCORE_GROUPS.index("later")]
    assert (later["group"], later["log_loss"]) == ("later", None)
    empty: Attempts = ATTEMPTS.take(slice(0))
    assert replay(empty, contestants=BASELINES).tasks == 0


def test_times_are_answered_within_limits_that_follow_what_is_finished_or_are_set() -> None:
    quick = replace(ATTEMPTS, seconds=ATTEMPTS.seconds / 20)
    followed = replay(quick, contestants=BASELINES)
    kept = replay(quick, contestants=BASELINES, seconds_limits=(5.0, 600.0))
    assert followed.limits[0] < np.quantile(quick.seconds, 0.01)
    assert followed.outside < 0.1 < kept.outside
    assert kept.limits == (5, 600)
    assert (followed.scores[0].mae_seconds or 0) < (kept.scores[0].mae_seconds or 0)


def test_the_installations_first_tasks_are_those_that_were_created_first() -> None:
    report = replay(ATTEMPTS, contestants=BASELINES[:1])
    found = {score.group: score for score in report.scores}
    first = np.argsort(ATTEMPTS.started, kind="stable")[:50]
    p = baselines.global_mean(ATTEMPTS)[0].clip(0.01, 0.99)
    expected = metrics.log_loss(ATTEMPTS.correct[first], p[first])
    assert found["installation's first 50"].log_loss == pytest.approx(expected)


def test_without_times_nothing_is_said_of_times_and_all_else_is() -> None:
    gone = replace(ATTEMPTS, seconds=np.full(len(ATTEMPTS), np.nan))
    report = replay(gone, contestants=[*BASELINES, Retrained(BY_NAME["lnirt"])], retrain_every=60)
    assert report.failures["lnirt"] == []
    for score in asdict(report)["scores"]:
        assert (score["rmse_log_time"], score["mae_seconds"]) == (None, None)
        assert score["n"] == 0 or np.isfinite(score["log_loss"])


def test_what_stands_for_a_missing_time_comes_from_before() -> None:
    gone = np.arange(len(ATTEMPTS)) % 3 == 1
    seconds = np.where(gone, np.nan, ATTEMPTS.seconds)
    later = np.where(np.arange(len(ATTEMPTS)) >= 120, seconds * 9, seconds)
    filled = []
    for each in (seconds, later):
        known = replace(ATTEMPTS, seconds=each)
        filled.append(baselines.with_times(known, baselines.item_and_student(known)[1]).seconds)
    assert np.isfinite(filled[0]).all()
    np.testing.assert_allclose(filled[0][:120], filled[1][:120])
    assert (filled[0][~gone] == ATTEMPTS.seconds[~gone]).all()


def test_ctrl_c_keeps_the_models_that_have_finished_and_names_the_others() -> None:
    def fit(attempts: Attempts, progress: Any) -> SaysItsSize:
        progress({"epoch": 2, "epochs": 7})
        if len(attempts) > 30:
            raise KeyboardInterrupt
        return SaysItsSize(len(attempts))

    said, steps = dict[str, Answers](), list[dict[str, Any]]()
    those = [BASELINES[0], Retrained(kind("slow", fit)), BASELINES[1]]
    report = replay(
        ATTEMPTS, contestants=those, retrain_every=20, progress=steps.append, said_by=lambda *each: said.update([each])
    )
    assert {score.model for score in report.scores} == set(said) == {"global mean"}
    assert report.interrupted == ["slow", "item mean"]
    assert steps[-1] == {
        "model": "slow", "done": 1, "models": 3, "training": 3, "trainings": 13, "tasks": 40, "of": 240, "epoch": 2,
        "epochs": 7,
    }  # fmt: skip


def test_the_bounds_are_those_of_the_model_that_answered_and_hold_the_answer() -> None:
    said = dict[str, Answers]()
    those = [BASELINES[0], Retrained(BY_NAME["lnirt"])]
    replay(ATTEMPTS, contestants=those, retrain_every=60, said_by=lambda *each: said.update([each]))
    lnirt = said["lnirt"]
    assert (lnirt.probability_low[0], lnirt.seconds_high[0]) == (0.1, 600)  # the prior's
    assert (lnirt.probability_low <= lnirt.probability).all()
    assert (lnirt.seconds_low <= lnirt.seconds).all()
    assert (lnirt.seconds <= lnirt.seconds_high).all()
    assert np.isnan(said["global mean"].bounds()).all()


def test_v2_and_lnirt_take_part() -> None:
    report = replay(ATTEMPTS, retrain_every=80, contestants=contestants(growth=0.5))
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
