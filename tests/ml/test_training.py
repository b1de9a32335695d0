"""What V2 promises, on simulated students whose truth is known."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.domain.attempts import DIFFICULTIES
from app.ml import metrics
from app.ml.features import FEATURES, history_features, totals_before
from app.ml.numpy_v2 import NumpyV2
from app.ml.simulated import Simulation, school, simulate
from app.ml.training import FittedV2, TrainingFailed, fit_v2, golden_rows

Floats = NDArray[np.float64]
RATES, TIMES = slice(0, None, 3), slice(1, None, 3)  # columns of the features


@pytest.fixture(scope="session")
def simulation() -> Simulation:
    return simulate(school(40, seed=1), 80, seed=1)


@pytest.fixture(scope="session")
def fitted(simulation: Simulation) -> FittedV2:
    return fit_v2(simulation.attempts)


@pytest.fixture(scope="session")
def model(fitted: FittedV2) -> NumpyV2:
    return fitted.serving()


def ask(model: NumpyV2, features: Floats, student: str = "", topic: str = "algebra") -> tuple[Floats, Floats]:
    n = len(features)
    return model.predict([student] * n, [topic] * n, ["medium"] * n, features)


def usual(n: int = 1, **columns: Any) -> Floats:
    """A student with forty tasks behind them, half of them right, 60 s each."""
    features = np.tile([0.5, 0.6, 0.4, 0.5, 0.6, 0.4, 0.5, 0.6, 0.7, 0.5, 0.6], (n, 1))
    features[:, RATES] = np.reshape(columns.get("rate", 0.5), (-1, 1))
    features[:, TIMES] = np.reshape(columns.get("time", 0.6), (-1, 1))
    return features


def test_beats_the_constant_and_knows_the_truth(fitted: FittedV2) -> None:
    report = fitted.report
    assert report["log_loss"] < report["constant_log_loss"] - 0.05
    assert report["rmse_log_time"] < report["constant_rmse_log_time"] - 0.1
    assert report["auc"] > 0.7


def test_higher_success_rate_gives_higher_probability(model: NumpyV2) -> None:
    p, _ = ask(model, usual(5, rate=[0.1, 0.3, 0.5, 0.7, 0.9]))
    assert (np.diff(p) > 0).all()


def test_longer_average_time_gives_longer_time(model: NumpyV2) -> None:
    _, seconds = ask(model, usual(5, time=[0.2, 0.35, 0.6, 1.0, 1.6]))
    assert (np.diff(seconds) > 0).all()


@pytest.mark.parametrize("place", [p for p, name in enumerate(FEATURES) if not name.endswith("_count")])
def test_each_rate_and_time_alone_points_the_right_way(model: NumpyV2, simulation: Simulation, place: int) -> None:
    """All else equal, for real rows: more successes, more likely; longer times, longer."""
    before = history_features(totals_before(simulation.attempts))[500:1500]
    after = before.copy()
    after[:, place] = np.minimum(after[:, place] + 0.3, 1.0) if place % 3 == 0 else after[:, place] * 1.5
    answer = 0 if place % 3 == 0 else 1
    change = ask(model, after)[answer] - ask(model, before)[answer]
    moved = after[:, place] > before[:, place]
    assert (change[moved] >= 0).mean() > 0.9
    assert change[moved].mean() > 0


def test_answers_strangers_unknown_topics_and_absurd_pasts(model: NumpyV2) -> None:
    far = np.vstack([usual(), np.zeros((1, 11)), np.full((1, 11), 1e300)])
    with np.errstate(all="raise", under="ignore"):
        p, seconds = ask(model, far, student="nobody", topic="whale songs \U0001f40b")
    assert np.isfinite(p).all()
    assert ((p >= 0) & (p <= 1)).all()
    assert np.isfinite(seconds).all()


def test_saved_and_loaded_says_the_same(fitted: FittedV2, model: NumpyV2, tmp_path: Path) -> None:
    import keras

    fitted.save(tmp_path)
    rows = golden_rows(fitted)
    again = NumpyV2.load(tmp_path)
    assert np.array_equal(again.predict(*rows), model.predict(*rows))
    files = {"correctness_model.keras", "time_model.keras", "weights.npz", "metadata.json"}
    assert {file.name for file in tmp_path.iterdir()} == files
    reloaded = replace(
        fitted, models=tuple(keras.models.load_model(tmp_path / f"{m.name}_model.keras") for m in fitted.models)
    )
    np.testing.assert_allclose(reloaded.predict(*rows), model.predict(*rows), rtol=1e-4)
    assert model.predict(*rows)[1].max() > 100


def test_batch_size_changes_nothing(fitted: FittedV2, model: NumpyV2) -> None:
    students, topics, difficulties, features = golden_rows(fitted)
    together = np.array(model.predict(students, topics, difficulties, features))
    alone = [
        model.predict([s], [t], [d], x[None])
        for s, t, d, x in zip(students, topics, difficulties, features, strict=True)
    ]
    np.testing.assert_allclose(np.array(alone)[:, :, 0].T, together, rtol=1e-5)


def test_arrays_that_differ_from_keras_are_refused(fitted: FittedV2, tmp_path: Path) -> None:
    wrong = replace(fitted, scale=replace(fitted.scale, seconds=fitted.scale.seconds * 1.001))
    with pytest.raises(TrainingFailed, match="other times"):
        wrong.save(tmp_path)


def test_same_seed_same_model(simulation: Simulation) -> None:
    few = simulation.attempts.take(slice(200))
    one, other = fit_v2(few, seed=3), fit_v2(few, seed=3)
    assert one.report == other.report


def test_progress_is_told_once_an_epoch(simulation: Simulation) -> None:
    told: list[dict[str, Any]] = []
    report = fit_v2(simulation.attempts.take(slice(100)), progress=told.append).report
    assert [one["epoch"] for one in told] == list(range(1, report["epochs"] + 1))
    assert {"step", "epochs", "loss", "val_loss"} <= told[0].keys()


def test_a_time_that_is_no_number_fails_with_a_sentence(simulation: Simulation) -> None:
    seconds = simulation.attempts.seconds.copy()
    seconds[3] = np.nan
    with pytest.raises(TrainingFailed, match="expected times above 0 seconds, got nan"):
        fit_v2(replace(simulation.attempts, seconds=seconds))


def test_three_attempts_are_too_few(simulation: Simulation) -> None:
    with pytest.raises(TrainingFailed, match="expected at least 10 attempts, got 3"):
        fit_v2(simulation.attempts.take(slice(3)))


def test_ten_attempts_of_one_student_all_right_in_the_same_time(simulation: Simulation, tmp_path: Path) -> None:
    mine = simulation.attempts.take(np.flatnonzero(simulation.attempts.student == 0)[:10])
    zero = np.zeros(10, np.int32)
    same = replace(mine, topic=zero, difficulty=zero, correct=np.ones(10, np.bool_), seconds=np.full(10, 30.0))
    fitted = fit_v2(same)
    fitted.save(tmp_path)
    p, seconds = ask(fitted.serving(), usual())
    assert 0.5 < p[0] < 1
    assert 20 < seconds[0] < 45


def test_shuffled_answers_teach_nothing(simulation: Simulation) -> None:
    random = np.random.default_rng(0)
    attempts = simulation.attempts
    nonsense = replace(attempts, correct=random.permutation(attempts.correct))
    model = fit_v2(nonsense).serving()
    features = history_features(totals_before(nonsense))
    rows = np.arange(len(attempts) * 4 // 5, len(attempts))
    p, _ = model.predict(
        [attempts.students[k] for k in attempts.student[rows]],
        [attempts.topics[k] for k in attempts.topic[rows]],
        [DIFFICULTIES[k] for k in attempts.difficulty[rows]],
        features[rows],
    )
    assert metrics.auc(nonsense.correct[rows], p) == pytest.approx(0.5, abs=0.08)
    assert metrics.log_loss(nonsense.correct[rows], p) < 0.72


@pytest.mark.parametrize("tasks", [10, 60])
def test_few_tasks_are_not_worse_than_a_constant(tasks: int) -> None:
    worse = []
    for seed in range(2):
        simulation = simulate(school(5, seed=seed), 40, seed=seed)
        a = simulation.attempts
        model = fit_v2(a.take(slice(tasks)), seed=seed).serving()
        rows = slice(tasks, tasks + 60)
        p, _ = model.predict(
            [a.students[k] for k in a.student[rows]],
            [a.topics[k] for k in a.topic[rows]],
            [DIFFICULTIES[k] for k in a.difficulty[rows]],
            history_features(totals_before(a))[rows],
        )
        share = np.full(len(p), (a.correct[:tasks].sum() + 1) / (tasks + 2))
        worse.append(metrics.log_loss(a.correct[rows], p.clip(0.01, 0.99)) - metrics.log_loss(a.correct[rows], share))
    assert np.mean(worse) < 0.1
