"""What every network promises. A new one in the registry is tested here unasked."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.domain.attempts import Attempts
from app.domain.kinds import CHECKPOINT, NETWORKS
from app.ml import metrics
from app.ml.answers import Answers
from app.ml.calibration.calibration import Calibration, log_odds
from app.ml.embedding_model_v2 import V2
from app.ml.features.history import FEATURES
from app.ml.lnirt.model import fit_lnirt
from app.ml.networks.base_inputs import BaseInputs
from app.ml.networks.checkpoint import FILES, FittedNetwork, TrainingFailed
from app.ml.networks.fit import MOST_HELD_OUT, fit, network_inputs, update
from app.ml.networks.inference import METADATA_FILE, ServedNetwork, load_arrays, load_served, save_arrays
from app.ml.networks.network import OUTPUTS, Network
from app.ml.registry import network
from tests.ml.networks.toys import fresh_from, long_pasts, one_student, some_students, with_items

KNOWN = 30  # students that the networks are fitted to, of 40


@pytest.fixture(scope="module")
def attempts() -> Attempts:
    return some_students()


# One for the quick tests; the others keep their promises among the slow ones.
EVERY = [pytest.param(name, marks=pytest.mark.slow if place else []) for place, name in enumerate(NETWORKS)]


@pytest.fixture(scope="module", params=EVERY)
def kind(request: pytest.FixtureRequest) -> Network:
    return network(request.param)


@pytest.fixture(scope="module")
def fitted(kind: Network, attempts: Attempts) -> FittedNetwork:
    return fit(kind, attempts.take(attempts.student < KNOWN))


@pytest.fixture(scope="module")
def model(fitted: FittedNetwork) -> ServedNetwork:
    return fitted.served()


def every(attempts: Attempts) -> Any:
    return np.arange(len(attempts))


def same(one: Answers, other: Answers, tolerance: float) -> None:
    np.testing.assert_allclose(one.probability, other.probability, atol=tolerance)
    np.testing.assert_allclose(one.seconds, other.seconds, rtol=10 * tolerance)


@dataclass(frozen=True)
class Told(BaseInputs):
    """A base that says these numbers of the tasks it is asked about, (n, 2)."""

    said: Any = None

    def of_attempts(self, attempts: Attempts, rows: Any) -> Any:
        return self.said


# What it learns.


def test_beats_the_constant_on_students_it_never_saw(model: ServedNetwork, attempts: Attempts) -> None:
    new = np.flatnonzero(attempts.student >= KNOWN)
    said, correct, seconds = model.answers(attempts, new), attempts.correct[new], attempts.seconds[new]
    share, typical = np.full(len(new), correct.mean()), np.full(len(new), np.exp(np.log(seconds).mean()))
    assert metrics.auc(correct, said.probability) > 0.7
    assert metrics.log_loss(correct, said.probability) < metrics.log_loss(correct, share) - 0.05
    assert metrics.rmse_log_time(seconds, said.seconds) < metrics.rmse_log_time(seconds, typical) - 0.1
    assert ((said.probability_low <= said.probability) & (said.probability <= said.probability_high)).all()
    assert 0.7 < metrics.coverage(seconds, said.seconds_low, said.seconds_high) < 0.9


def test_knows_a_strong_student_from_a_weak_one_and_gives_a_slow_one_more_time(model: ServedNetwork) -> None:
    last = np.array([20])
    strong, weak = (model.answers(one_student(correct, 45.0), last)[0] for correct in (True, False))
    assert strong.probability > weak.probability + 0.1
    slow, quick = (model.answers(one_student(True, seconds), last)[0] for seconds in (90.0, 20.0))
    assert slow.seconds > quick.seconds * 1.2


def test_answers_strangers_unknown_topics_and_absurd_times(model: ServedNetwork) -> None:
    past = one_student(True, 30.0)
    seconds = np.geomspace(1e-6, 1e12, len(past))
    strange = replace(past, topics=("whale songs \U0001f40b", "", "\0"), items=("?",), seconds=seconds)
    strange = replace(strange, item=np.zeros(len(past), np.int32))
    with np.errstate(all="raise", under="ignore"):
        said = model.answers(strange, every(strange))
    assert said.are_finite()
    assert (said.seconds > 0).all()
    assert len(model.answers(strange, np.zeros(0, np.intp))) == 0


def test_tells_exercises_apart(kind: Network, attempts: Attempts) -> None:
    a = with_items(attempts)
    model = fit(kind, a.take(slice(1200))).served()
    asked = replace(a.take(slice(1200, 1500)), item=np.zeros(300, np.int32))
    easy, hard, none = (
        model.answers(replace(asked, item=np.full(300, item, np.int32)), every(asked)) for item in (0, 1, -1)
    )
    assert easy.probability.mean() > none.probability.mean() + 0.1 > hard.probability.mean() + 0.2
    assert np.median(easy.seconds) * 3 < np.median(hard.seconds)


def test_shuffled_results_teach_nothing(kind: Network, attempts: Attempts) -> None:
    random = np.random.default_rng(3)
    a = replace(attempts, correct=random.permutation(attempts.correct), seconds=random.permutation(attempts.seconds))
    model = fit(kind, a.take(slice(800))).served()
    later = np.arange(800, len(a))
    assert abs(metrics.auc(a.correct[later], model.answers(a, later).probability) - 0.5) < 0.06


@pytest.mark.parametrize("rows", [10, 100])
def test_five_tasks_more_hardly_change_what_is_said(kind: Network, attempts: Attempts, rows: int) -> None:
    asked = np.arange(1000, 1300)
    before, after = (fit(kind, attempts.take(slice(n))).served().answers(attempts, asked) for n in (rows, rows + 5))
    assert abs(after.probability.mean() - before.probability.mean()) < (0.05 if rows >= 100 else 0.1)


def test_some_tasks_of_one_student_all_right_in_the_same_time(kind: Network, tmp_path: Path) -> None:
    fitted = fit(kind, one_student(True, 30.0, tasks=9))
    fitted.save(tmp_path)
    assert fitted.base
    served = load_served(kind, tmp_path).on(fitted.base)
    said = served.answers(one_student(True, 30.0), np.array([20]))[0]
    assert 0.5 < said.probability < 1
    assert 20 < said.seconds < 45


@pytest.mark.parametrize("wrong", [0.0, -1.0, np.nan, np.inf])
def test_times_that_can_not_be_are_refused(kind: Network, attempts: Attempts, wrong: float) -> None:
    a = attempts.take(slice(20))
    with pytest.raises(TrainingFailed, match="expected times above 0 seconds"):
        fit(kind, replace(a, seconds=np.where(np.arange(20) == 7, wrong, a.seconds)))


def test_too_few_tasks_are_refused(kind: Network, attempts: Attempts) -> None:
    with pytest.raises(TrainingFailed, match="expected at least 8 attempts, got 7"):
        fit(kind, attempts.take(slice(7)))


def test_same_data_and_seed_give_the_same_network(kind: Network, attempts: Attempts) -> None:
    few = attempts.take(slice(300))
    one, other = fit(kind, few, seed=3), fit(kind, few, seed=3)
    assert one.report == other.report
    assert all(np.array_equal(array, other.state.arrays()[name]) for name, array in one.state.arrays().items())


def test_progress_is_told_once_an_epoch(kind: Network, attempts: Attempts) -> None:
    told: list[dict[str, Any]] = []
    report = fit(kind, attempts.take(slice(100)), progress=told.append).report
    assert [one["epoch"] for one in told] == list(range(1, report["epochs"] + 1))
    assert {"step", "epochs", "loss", "val_loss"} <= told[0].keys()


def test_who_learnt_nothing_answers_what_lnirt_says(kind: Network, attempts: Attempts) -> None:
    few = one_student(True, 30.0, tasks=9)
    fitted = fit(kind, few)
    assert fitted.report["best_epochs"] == [0, 0]
    base = fit_lnirt(attempts).served()
    served = replace(fitted, calibration=Calibration(), base=BaseInputs(base)).served()
    said, wanted = served.answers(attempts, every(attempts)), base.predictions(attempts, every(attempts))
    np.testing.assert_allclose(said.probability, wanted.probability, atol=1e-6)
    np.testing.assert_allclose(said.seconds, np.exp(wanted.log_seconds), rtol=1e-6)


def test_alone_it_has_nothing_to_correct(fitted: FittedNetwork, attempts: Attempts, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    with pytest.raises(ValueError, match="corrects LNIRT, of which no version is here"):
        load_served(fitted.network, tmp_path).answers(attempts, np.array([20]))


# What it reads.


def test_no_task_sees_itself_or_what_comes_later(model: ServedNetwork) -> None:
    past = long_pasts()
    changed = 400
    correct, seconds = past.correct.copy(), past.seconds.copy()
    correct[changed], seconds[changed] = not correct[changed], 1234.5
    before, after = (
        model.answers(each, every(past)) for each in (past, replace(past, correct=correct, seconds=seconds))
    )
    earlier = past.started < past.finished[changed]
    assert earlier[changed]
    assert np.array_equal(before.probability[earlier], after.probability[earlier])
    assert np.array_equal(before.seconds[earlier], after.seconds[earlier])
    mine = ~earlier & (past.student == past.student[changed])
    assert (before.probability[mine] != after.probability[mine]).mean() > 0.5


def test_batch_size_and_padding_change_nothing(model: ServedNetwork) -> None:
    past = long_pasts()
    together = model.answers(past, every(past))
    for rows in (np.array([600]), np.array([500, 3, 77]), np.array([0, 10, 100, 300, 629])):
        said = model.answers(past, rows)
        np.testing.assert_allclose(said.probability, together.probability[rows], atol=1e-6)
        np.testing.assert_allclose(said.seconds, together.seconds[rows], rtol=1e-5)


# How it is kept.


def test_the_keras_files_say_what_is_served(fitted: FittedNetwork, model: ServedNetwork, tmp_path: Path) -> None:
    import keras

    fitted.save(tmp_path)
    files = {*FILES.values(), "weights.npz", "checkpoint.npz", "metadata.json"}
    assert {file.name for file in tmp_path.iterdir()} == files
    raw = fitted.network.golden(fitted.vocabulary)
    order = [each["name"] for each in json.loads((tmp_path / METADATA_FILE).read_text())["keras_inputs"]]
    networks = [keras.models.load_model(tmp_path / FILES[output]) for output in OUTPUTS]
    p, seconds = (np.asarray(each([raw[name] for name in order]))[:, 0] for each in networks)
    said = model.answers_of(raw)
    np.testing.assert_allclose(p, said.probability, rtol=0, atol=1e-6)
    np.testing.assert_allclose(seconds, said.seconds, rtol=1e-5)
    assert said.seconds.max() > 2 * np.median(said.seconds)


def test_keras_goes_on_from_the_files(fitted: FittedNetwork, tmp_path: Path) -> None:
    import keras

    fitted.save(tmp_path)
    raw = list(fitted.network.golden(fitted.vocabulary).values())
    model = keras.models.load_model(tmp_path / FILES["correctness"])
    moments = float(np.abs(model.optimizer.variables[2].numpy()).max())
    assert (moments > 0) == (fitted.report["best_epochs"][0] > 0)  # a network that is the base has made no step
    right = np.ones((len(raw[0]), 1))
    before = model.evaluate(raw, right, verbose=0)
    model.fit(raw, right, epochs=5, verbose=0)
    assert model.evaluate(raw, right, verbose=0) < before


def test_saved_and_loaded_says_the_same(fitted: FittedNetwork, model: ServedNetwork, tmp_path: Path) -> None:
    assert fitted.base
    fitted.save(tmp_path)
    again, past = load_served(fitted.network, tmp_path).on(fitted.base), long_pasts()
    said, wanted = again.answers(past, every(past)), model.answers(past, every(past))
    assert np.array_equal(said.probability, wanted.probability)
    assert np.array_equal(said.seconds_high, wanted.seconds_high)


def test_a_folder_with_other_inputs_is_refused(fitted: FittedNetwork, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    kept = json.loads((tmp_path / METADATA_FILE).read_text())
    for wrong in ({"inputs": list(FEATURES)}, {"kind": "other"}):
        (tmp_path / METADATA_FILE).write_text(json.dumps(kept | wrong))
        with pytest.raises(ValueError, match="model with the inputs of this version"):
            load_served(fitted.network, tmp_path)


def test_arrays_that_differ_from_keras_are_refused(fitted: FittedNetwork) -> None:
    models = [fitted.model(output) for output in OUTPUTS]
    wrong = replace(fitted, calibration=replace(fitted.calibration, shift=fitted.calibration.shift + 0.001))
    with pytest.raises(TrainingFailed, match="other times"):
        fitted.compare(models, wrong.served())


# Going on.


@pytest.mark.slow
def test_an_update_is_worth_a_training_from_scratch(kind: Network) -> None:
    """Eight small steps from 800 tasks to 1,600, beside one training with all of them."""
    a, asked = some_students(45), np.arange(1600, 1800)
    updated = before = fit(kind, a.take(slice(800)))
    for n in range(900, 1601, 100):
        updated = update(updated, a.take(slice(n)), fresh_from(n - 100, n))
    scratch = fit(kind, a.take(slice(1600)))
    losses = [
        metrics.log_loss(a.correct[asked], each.served().answers(a, asked).probability)
        for each in (before, updated, scratch)
    ]
    assert losses[1] < losses[0] + 0.01
    assert losses[1] < losses[2] + 0.02
    assert updated.report["rows"] == 1600


def test_an_update_after_a_restart_is_the_same(fitted: FittedNetwork, attempts: Attempts, tmp_path: Path) -> None:
    a = attempts.take(slice(1200))
    fitted.save(tmp_path)
    loaded = FittedNetwork.load(fitted.network, tmp_path)
    one, other = (update(each, a, fresh_from(1100, 1200)).served() for each in (fitted, loaded))
    same(one.answers(a, np.arange(1100, 1200)), other.answers(a, np.arange(1100, 1200)), 1e-7)


def test_who_is_new_has_a_vector_and_is_first_answered_as_a_stranger(fitted: FittedNetwork, attempts: Attempts) -> None:
    new = attempts.student >= KNOWN
    grown = fitted.with_names(attempts, np.flatnonzero(new))
    assert grown.vocabulary.student[: len(fitted.vocabulary.student)] == fitted.vocabulary.student
    assert set(grown.vocabulary.student) == {attempts.students[k] for k in np.unique(attempts.student)}
    assert grown.sizes.lengths == fitted.sizes.lengths
    rows = np.flatnonzero(new)[:50]
    same(grown.served().answers(attempts, rows), fitted.served().answers(attempts, rows), 1e-7)


def test_what_an_update_brings_calibrates_before_it_is_learnt(fitted: FittedNetwork, attempts: Attempts) -> None:
    n = int((attempts.student < KNOWN).sum()) + 200
    order = np.concatenate([np.flatnonzero(attempts.student < KNOWN), np.flatnonzero(attempts.student >= KNOWN)[:200]])
    rows = np.sort(order[:n])
    a = attempts.take(rows)
    fresh = a.student >= KNOWN
    base = fit_lnirt(a).served()
    after = update(fitted, a, fresh, base)
    served = fitted.served().on(Told(base, said=network_inputs(a, base)[fresh, -2:]))
    said = served.answers(a, np.flatnonzero(fresh))
    raw = served.calibration.answers_of_scores(log_odds(after.held_out.p[-200:]), after.held_out.predicted[-200:])
    np.testing.assert_allclose(raw.probability, said.probability, rtol=1e-3)
    assert len(after.held_out.p) == len(fitted.held_out.p) + 200 <= MOST_HELD_OUT
    assert after.calibration != fitted.calibration


def test_held_out_tasks_of_newcomers_are_nobodys(fitted: FittedNetwork, attempts: Attempts) -> None:
    fresh = np.flatnonzero(attempts.student >= KNOWN)[:50]
    rows = np.sort(np.concatenate([np.flatnonzero(attempts.student < KNOWN), fresh]))
    a = attempts.take(rows)
    after = update(fitted, a, a.student >= KNOWN).held_out
    known = attempts.take(attempts.student < KNOWN)
    whose = [known.students[k] for k in known.student[-len(fitted.held_out.p) :]]
    assert [fitted.vocabulary.student[place - 1] for place in fitted.held_out.student if place] == [
        name for name, place in zip(whose, fitted.held_out.student, strict=True) if place
    ]
    assert (fitted.held_out.student > 0).mean() > 0.9
    assert after.student[:-50].tolist() == fitted.held_out.student.tolist()
    assert not after.student[-50:].any()


def test_a_checkpoint_without_the_students_of_its_held_out_tasks_is_read(fitted: FittedNetwork, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    arrays = load_arrays(tmp_path / CHECKPOINT)
    del arrays["held_out.student"]
    save_arrays(tmp_path / CHECKPOINT, arrays)
    again = FittedNetwork.load(fitted.network, tmp_path).held_out
    assert np.array_equal(again.p, fitted.held_out.p)
    assert again.student.tolist() == [0] * len(again.p)


def test_an_update_with_a_little_costs_a_little(fitted: FittedNetwork, attempts: Attempts) -> None:
    few, many = (update(fitted, attempts, fresh_from(len(attempts) - n, len(attempts))) for n in (5, 300))
    assert few.report["learnt_rows"] < 900 < many.report["learnt_rows"] <= len(attempts)


def test_a_version_of_an_earlier_release_is_refused_with_a_sentence(fitted: FittedNetwork, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    kept = json.loads((tmp_path / METADATA_FILE).read_text())
    del kept["network"]
    (tmp_path / METADATA_FILE).write_text(json.dumps(kept))
    with pytest.raises(ValueError, match="written by an earlier release; the next training replaces it"):
        load_served(fitted.network, tmp_path)


def test_a_reader_that_is_no_layer_is_named(attempts: Attempts) -> None:
    class Misread(V2):
        readers = ("dense_9",)

    with pytest.raises(ValueError, match="`readers` names dense_9"):
        fit(Misread(), attempts.take(slice(40)), epochs=1)
