"""What V2 promises, on simulated students whose truth is known."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.domain.attempts import Attempts
from app.ml import embedding_model_v2, fitted_v2, metrics
from app.ml.answers import Answers
from app.ml.embedding_model_v2 import OUTPUTS, Scale
from app.ml.features import FEATURES
from app.ml.fitted_v2 import FittedV2, golden_rows
from app.ml.fitting import MOST_HELD_OUT, TrainingFailed
from app.ml.inputs import CONTEXT, INPUTS, ITEM, inputs_of, known_before
from app.ml.numpy_v2 import METADATA_FILE, NumpyV2, Weights
from app.ml.simulated import Simulation, school, simulate
from app.ml.training import fit_v2, go_on_v2

Floats = NDArray[np.float64]
RATES, TIMES = slice(0, 11, 3), slice(1, 11, 3)  # columns of the eleven
NEWCOMER = [*[0.5, 0.6, 0, 0.5, 0.6, 14.77, 14.77], *[0.5, 0.6, 0, 0.5, 0.6, 14.77]]


@pytest.fixture(scope="session")
def simulation() -> Simulation:
    return simulate(school(40, seed=1), 80, seed=1)


@pytest.fixture(scope="session")
def fitted(simulation: Simulation) -> FittedV2:
    return fit_v2(simulation.attempts)


@pytest.fixture(scope="session")
def model(fitted: FittedV2) -> NumpyV2:
    return fitted.served()


def ask(model: NumpyV2, inputs: Floats, student: str = "", topic: str = "algebra", item: str | None = None) -> Answers:
    n = len(inputs)
    return model.predict([student] * n, [topic] * n, ["medium"] * n, [item] * n, inputs)


def usual(n: int = 1, **columns: Any) -> Floats:
    """A student with forty tasks behind them, half of them right, 60 s each, long ago."""
    inputs = np.tile([0.5, 0.6, 0.4, 0.5, 0.6, 0.4, 0.5, 0.6, 0.7, 0.5, 0.6, *NEWCOMER], (n, 1))
    inputs[:, RATES] = np.reshape(columns.get("rate", 0.5), (-1, 1))
    inputs[:, TIMES] = np.reshape(columns.get("time", 0.6), (-1, 1))
    return inputs


def with_items(attempts: Attempts) -> Attempts:
    """One exercise that nearly everybody can do in 10 s, one that nearly nobody can, in 100 s, and tasks without."""
    random = np.random.default_rng(0)
    item = random.integers(-1, 2, len(attempts)).astype(np.int32)
    chance = np.choose(item + 1, [0.5, 0.9, 0.1])
    seconds = np.choose(item + 1, [30.0, 10.0, 100.0]) * random.lognormal(0, 0.2, len(attempts))
    return replace(
        attempts, items=("easy one", "hard one"), item=item, correct=random.random(len(item)) < chance, seconds=seconds
    )


def test_beats_the_constant_and_knows_the_truth(fitted: FittedV2) -> None:
    report = fitted.report
    assert report["log_loss"] < report["constant_log_loss"] - 0.05
    assert report["rmse_log_time"] < report["constant_rmse_log_time"] - 0.1
    assert report["auc"] > 0.7


def test_higher_success_rate_gives_higher_probability(model: NumpyV2) -> None:
    p = ask(model, usual(5, rate=[0.1, 0.3, 0.5, 0.7, 0.9])).probability
    assert (np.diff(p) > 0).all()


def test_longer_average_time_gives_longer_time(model: NumpyV2) -> None:
    seconds = ask(model, usual(5, time=[0.2, 0.35, 0.6, 1.0, 1.6])).seconds
    assert (np.diff(seconds) > 0).all()


@pytest.mark.parametrize("place", [p for p, name in enumerate(FEATURES) if not name.endswith("_count")])
def test_each_rate_and_time_alone_points_the_right_way(model: NumpyV2, simulation: Simulation, place: int) -> None:
    """All else equal, for real rows: more successes, more likely; longer times, longer."""
    before = inputs_of(known_before(simulation.attempts))[500:1500]
    after = before.copy()
    after[:, place] = np.minimum(after[:, place] + 0.3, 1.0) if place % 3 == 0 else after[:, place] * 1.5
    answer = "probability" if place % 3 == 0 else "seconds"
    change = getattr(ask(model, after), answer) - getattr(ask(model, before), answer)
    moved = after[:, place] > before[:, place]
    assert (change[moved] >= 0).mean() > 0.9
    assert change[moved].mean() > 0


def test_exercises_are_told_apart_and_unknown_ones_are_answered(simulation: Simulation) -> None:
    a = with_items(simulation.attempts)
    model = fit_v2(a.take(slice(1600))).served()
    past = inputs_of(known_before(a))[1600:]
    past = past[past[:, INPUTS.index("item_task_count")] == 0]  # the exercise is new to the student
    easy, hard, unknown, none = (ask(model, past, item=item) for item in ("easy one", "hard one", "never seen", None))
    chances = [said.probability.mean() for said in (easy, unknown, hard)]
    assert chances[0] > 0.65 > chances[1] > 0.45 > chances[2]
    assert np.median(easy.seconds) * 3 < np.median(hard.seconds)
    assert np.array_equal(unknown.probability, none.probability)


def test_what_is_in_no_chosen_group_changes_nothing(simulation: Simulation) -> None:
    rows = with_items(simulation.attempts.take(slice(200)))
    model = fit_v2(rows, groups=("eleven",)).served()
    other = usual()
    other[:, len(FEATURES) :] = 0.123
    assert ask(model, other, item="easy one")[0] == ask(model, usual())[0]
    assert model.metadata["groups"] == ["eleven"]


def test_answers_strangers_unknown_topics_and_absurd_pasts(model: NumpyV2) -> None:
    far = np.vstack([usual(), np.zeros((1, len(INPUTS))), *(np.full((1, len(INPUTS)), x) for x in (1e300, -1e300))])
    with np.errstate(all="raise", under="ignore"):
        said = ask(model, far, student="nobody", topic="whale songs \U0001f40b", item="never seen")
    assert said.are_finite()
    assert ((said.probability >= 0) & (said.probability <= 1)).all()


def test_bounds_enclose_the_answer(model: NumpyV2, simulation: Simulation) -> None:
    said = model.answers(simulation.attempts, np.arange(1000))
    assert ((said.probability_low <= said.probability) & (said.probability <= said.probability_high)).all()
    assert ((said.seconds_low < said.seconds) & (said.seconds < said.seconds_high)).all()
    seconds = simulation.attempts.seconds[:1000]
    assert 0.7 < np.mean((said.seconds_low <= seconds) & (seconds <= said.seconds_high)) < 0.9


def test_a_few_rows_of_a_table_are_answered_as_all_of_it(model: NumpyV2, simulation: Simulation) -> None:
    a, rows = simulation.attempts, np.array([1700, 3, 2999])
    inputs = inputs_of(known_before(a))
    few, many = model.answers(a, rows), model.answers(a, np.arange(len(a)))
    names = ([a.students[k] for k in a.student[rows]], [a.topics[k] for k in a.topic[rows]])
    levels = [["easy", "medium", "hard"][k] for k in a.difficulty[rows]]
    asked = model.predict(*names, levels, [None] * 3, inputs[rows])
    for column in Answers.__slots__:
        np.testing.assert_allclose(getattr(few, column), getattr(many, column)[rows], rtol=1e-5)
        np.testing.assert_allclose(getattr(few, column), getattr(asked, column), rtol=1e-5)
    assert len(model.answers(a, rows[:0])) == 0


def test_saved_and_loaded_says_the_same(simulation: Simulation, tmp_path: Path) -> None:
    import keras

    fitted = fit_v2(with_items(simulation.attempts.take(slice(300))))
    model = fitted.served()
    fitted.save(tmp_path)
    rows = golden_rows(fitted)
    again = NumpyV2.load(tmp_path)
    assert all(again.predict(*rows)[k] == model.predict(*rows)[k] for k in range(64))
    assert again.calibration == fitted.calibration
    files = {"correctness_model.keras", "time_model.keras", "weights.npz", "training.npz", "metadata.json"}
    assert {file.name for file in tmp_path.iterdir()} == files
    networks = [keras.models.load_model(tmp_path / f"{output}_model.keras") for output in OUTPUTS]
    np.testing.assert_allclose(fitted.raw(networks, *rows), model.raw(*rows), rtol=1e-4)
    assert None in rows[3]
    assert "easy one" in rows[3]
    assert model.raw(*rows)[1].max() > 100


def test_a_folder_with_other_inputs_is_refused(fitted: FittedV2, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    kept = json.loads((tmp_path / METADATA_FILE).read_text())
    for wrong in ({"inputs": list(FEATURES)}, {"kind": "other"}):
        (tmp_path / METADATA_FILE).write_text(json.dumps(kept | wrong))
        with pytest.raises(ValueError, match="expected an embedding_v2 model with the inputs of this version"):
            NumpyV2.load(tmp_path)


def test_batch_size_changes_nothing(fitted: FittedV2, model: NumpyV2) -> None:
    rows = golden_rows(fitted)
    together = np.array(model.raw(*rows))
    alone = [model.raw(*(column[k : k + 1] for column in rows)) for k in range(64)]
    np.testing.assert_allclose(np.array(alone)[:, :, 0].T, together, rtol=1e-5)


def test_arrays_that_differ_from_keras_are_refused(
    fitted: FittedV2, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def folded(weights: Any, scale: Scale) -> Weights:
        return replace(embedding_model_v2.folded(weights, scale), seconds=np.array(scale.seconds * 1.001))

    monkeypatch.setattr(fitted_v2, "folded", folded)
    with pytest.raises(TrainingFailed, match="other times"):
        fitted.save(tmp_path)


def test_same_seed_same_model(simulation: Simulation) -> None:
    few = simulation.attempts.take(slice(200))
    one, other = fit_v2(few, seed=3), fit_v2(few, seed=3)
    assert one.report == other.report
    assert ask(one.served(), usual())[0] == ask(other.served(), usual())[0]


def test_progress_is_told_once_an_epoch(simulation: Simulation) -> None:
    told: list[dict[str, Any]] = []
    report = fit_v2(simulation.attempts.take(slice(100)), progress=told.append).report
    assert [one["epoch"] for one in told] == list(range(1, report["epochs"] + 1))
    assert {"step", "epochs", "loss", "val_loss"} <= told[0].keys()


@pytest.mark.parametrize("rows", [40, 100, 300])
def test_five_tasks_more_hardly_change_what_is_said(simulation: Simulation, rows: int) -> None:
    a, asked = simulation.attempts, np.arange(1000, 1400)
    before, after = (fit_v2(a.take(slice(n))).served().answers(a, asked) for n in (rows, rows + 5))
    assert np.abs(after.probability - before.probability).mean() < 0.05
    assert np.abs(np.log(after.seconds / before.seconds)).mean() < 0.1


def test_a_time_that_is_no_number_fails_with_a_sentence(simulation: Simulation) -> None:
    seconds = simulation.attempts.seconds.copy()
    seconds[3] = np.nan
    with pytest.raises(TrainingFailed, match="expected times above 0 seconds, got nan"):
        fit_v2(replace(simulation.attempts, seconds=seconds))


def test_three_attempts_are_too_few(simulation: Simulation) -> None:
    with pytest.raises(TrainingFailed, match="expected at least 8 attempts, got 3"):
        fit_v2(simulation.attempts.take(slice(3)))


@pytest.mark.parametrize("tasks", [8, 10])
def test_some_attempts_of_one_student_all_right_in_the_same_time(
    simulation: Simulation, tmp_path: Path, tasks: int
) -> None:
    mine = simulation.attempts.take(np.flatnonzero(simulation.attempts.student == 0)[:tasks])
    zero = np.zeros(tasks, np.int32)
    same = replace(mine, topic=zero, difficulty=zero, correct=np.ones(tasks, np.bool_), seconds=np.full(tasks, 30.0))
    fitted = fit_v2(same)
    fitted.save(tmp_path)
    said = ask(fitted.served(), usual())[0]
    assert 0.5 < said.probability < 1
    assert 20 < said.seconds < 45


@pytest.mark.parametrize("seed", [0, 1])
def test_shuffled_answers_teach_nothing(simulation: Simulation, seed: int) -> None:
    attempts = simulation.attempts
    nonsense = replace(attempts, correct=np.random.default_rng(seed).permutation(attempts.correct))
    unseen = np.arange(len(attempts) * 2 // 5, len(attempts))
    said = fit_v2(nonsense.take(slice(unseen[0]))).served().answers(nonsense, unseen)
    assert metrics.auc(nonsense.correct[unseen], said.probability) == pytest.approx(0.5, abs=0.05)
    assert metrics.log_loss(nonsense.correct[unseen], said.probability) < 0.72


@pytest.mark.parametrize("tasks", [10, 60])
def test_few_tasks_are_not_worse_than_a_constant(tasks: int) -> None:
    worse = []
    for seed in range(2):
        a = simulate(school(5, seed=seed), 40, seed=seed).attempts
        p = fit_v2(a.take(slice(tasks)), seed=seed).served().answers(a, np.arange(tasks, tasks + 60)).probability
        correct = a.correct[tasks : tasks + 60]
        share = np.full(len(p), (a.correct[:tasks].sum() + 1) / (tasks + 2))
        worse.append(metrics.log_loss(correct, p.clip(0.01, 0.99)) - metrics.log_loss(correct, share))
    assert np.mean(worse) < 0.1


def test_the_columns_beside_the_eleven_are_those_of_the_documents() -> None:
    assert (FEATURES + CONTEXT + ITEM, len(INPUTS)) == (INPUTS, 24)


def fresh_from(first: int, n: int) -> NDArray[np.bool_]:
    return np.arange(n) >= first


def test_going_on_is_worth_a_training_from_scratch(simulation: Simulation) -> None:
    """Fifteen small steps from 1,500 tasks to 3,000, beside one training with all of them."""
    a, asked = simulation.attempts, np.arange(3000, 3200)
    gone_on = before = fit_v2(a.take(slice(1500)))
    for n in range(1600, 3001, 100):
        gone_on = go_on_v2(gone_on, a.take(slice(n)), fresh_from(n - 100, n))
    scratch = fit_v2(a.take(slice(3000)))
    losses = [
        metrics.log_loss(a.correct[asked], model.served().answers(a, asked).probability)
        for model in (before, gone_on, scratch)
    ]
    assert losses[1] < losses[0] + 0.005
    assert losses[1] < losses[2] + 0.01
    assert gone_on.report["rows"] == 3000


def test_going_on_after_a_restart_is_going_on(simulation: Simulation, tmp_path: Path) -> None:
    a = simulation.attempts.take(slice(600))
    before = fit_v2(a.take(slice(500)))
    before.save(tmp_path)
    one, other = (go_on_v2(each, a, fresh_from(500, 600)) for each in (before, FittedV2.load(tmp_path)))
    assert ask(one.served(), usual())[0] == ask(other.served(), usual())[0]


def test_who_is_new_when_it_goes_on_has_a_vector_and_is_first_answered_as_a_stranger(simulation: Simulation) -> None:
    a = simulation.attempts
    old, new = np.flatnonzero(a.student < 20)[:800], np.flatnonzero(a.student >= 20)[:100]
    rows = a.take(np.sort(np.concatenate([old, new])))
    before = fit_v2(a.take(old))
    after = go_on_v2(before, rows, rows.student >= 20)
    assert set(after.students.known) == {a.students[k] for k in np.unique(rows.student)}
    assert after.students.known[: len(before.students.known)] == before.students.known
    assert after.sizes.lengths == before.sizes.lengths
    newcomer = after.students.known[-1]
    far = np.abs(
        ask(after.served(), usual(), student=newcomer).probability - ask(after.served(), usual()).probability
    )
    assert far[0] < 0.1


def test_what_it_goes_on_with_calibrates_before_it_is_learnt(simulation: Simulation) -> None:
    a = simulation.attempts.take(slice(700))
    before = fit_v2(a.take(slice(500)))
    after = go_on_v2(before, a, fresh_from(500, 700))
    said = before.served().raw(*rows_of(a, np.arange(500, 700)))
    np.testing.assert_allclose(after.held_out.p[-200:], said[0], rtol=1e-4)
    np.testing.assert_allclose(after.held_out.predicted[-200:], said[1], rtol=1e-4)
    assert len(after.held_out.p) == len(before.held_out.p) + 200 <= MOST_HELD_OUT
    assert after.calibration != before.calibration


def rows_of(a: Attempts, rows: NDArray[np.intp]) -> Any:
    """As `NumpyV2.predict` wants them."""
    names = ([a.students[k] for k in a.student[rows]], [a.topics[k] for k in a.topic[rows]])
    levels = [["easy", "medium", "hard"][k] for k in a.difficulty[rows]]
    return *names, levels, [None] * len(rows), inputs_of(known_before(a))[rows]


def test_going_on_with_a_little_costs_a_little_however_much_there_was(simulation: Simulation) -> None:
    a = simulation.attempts
    before = fit_v2(a.take(slice(2000)))
    few, many = (go_on_v2(before, a.take(slice(n)), fresh_from(2000, n)) for n in (2005, 2500))
    assert few.report["learnt_rows"] == 128
    assert many.report["learnt_rows"] == 2500  # 500 new ones, and eight old ones for each, as far as there are
