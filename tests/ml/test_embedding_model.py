"""What the LSTM promises, on simulated students whose truth is known."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from app.core.statements import Rows
from app.crud import student_sequences, student_states
from app.crud.student_totals import Past
from app.domain.attempts import DIFFICULTIES, Attempts
from app.domain.tasks import Asked
from app.ml import metrics
from app.ml.answers import Answer, Answers
from app.ml.fitting import TrainingFailed
from app.ml.inputs import _groups, _since, known_before
from app.ml.lstm_training import FittedLstm, compare, fit_lstm, go_on_lstm, golden, keras_inputs
from app.ml.numpy_lstm import NumpyLstm
from app.ml.sequences import WINDOW, Windows, window_start
from app.ml.simulated import Simulation, school, simulate

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
VERSION = 7
KNOWN = 40  # students that the model was fitted to, out of 60


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    return simulate(school(60, seed=1), 60, seed=1)


@pytest.fixture(scope="module")
def fitted(simulation: Simulation) -> FittedLstm:
    return fit_lstm(simulation.attempts.take(simulation.attempts.student < KNOWN))


@pytest.fixture(scope="module")
def model(fitted: FittedLstm) -> NumpyLstm:
    return fitted.served()


@pytest.fixture(scope="module")
def long_pasts() -> Attempts:
    """Three students, 210 tasks each, on a handful of items; some tasks are begun while others are under way."""
    attempts = simulate(school(3, seed=2), 210, seed=2).attempts
    item = (attempts.topic * 3 + attempts.difficulty) % 7 - 1
    earlier = np.where(np.arange(len(attempts)) % 5 == 0, 200_000_000, 0)
    return replace(
        attempts,
        items=tuple(f"item {place}" for place in range(6)),
        item=item.astype(np.int32),
        started=attempts.started - earlier,
    )


def every(attempts: Attempts) -> Any:
    return np.arange(len(attempts))


def same(one: Answers, other: Answers, tolerance: float) -> None:
    np.testing.assert_allclose(one.probability, other.probability, atol=tolerance)
    np.testing.assert_allclose(one.seconds, other.seconds, rtol=10 * tolerance)


# What it learns.


def test_beats_the_constant_on_students_it_never_saw(model: NumpyLstm, simulation: Simulation) -> None:
    a = simulation.attempts
    new = np.flatnonzero(a.student >= KNOWN)
    said, correct, seconds = model.answers(a, new), a.correct[new], a.seconds[new]
    share, typical = np.full(len(new), correct.mean()), np.full(len(new), np.exp(np.log(seconds).mean()))
    assert metrics.auc(correct, said.probability) > 0.7
    assert metrics.log_loss(correct, said.probability) < metrics.log_loss(correct, share) - 0.05
    assert metrics.rmse_log_time(seconds, said.seconds) < metrics.rmse_log_time(seconds, typical) - 0.1
    assert metrics.calibration_error(correct, said.probability) < 0.1


def one_student(correct: bool, seconds: float, tasks: int = 20) -> Attempts:
    """A stranger whose tasks all went the same way; the last row is the one to ask."""
    n = tasks + 1
    started = 1_757_400_000_000_000 + np.arange(n) * 300_000_000
    topic, item = np.arange(n, dtype=np.int32) % 3, np.full(n, -1, np.int32)
    names = (("stranger",), ("algebra", "fractions", "geometry"), ())
    finished = started + round(seconds * 1e6)
    ids = (np.zeros(n, np.int32), topic, np.ones(n, np.int32), item)
    return Attempts(*names, *ids, started, finished, np.full(n, correct), np.full(n, seconds))


def test_a_strong_student_beats_a_weak_one_and_a_slow_one_gets_more_time(model: NumpyLstm) -> None:
    last = np.array([20])
    strong, weak = (model.answers(one_student(correct, 45.0), last)[0] for correct in (True, False))
    assert strong.probability > weak.probability + 0.1
    slow, quick = (model.answers(one_student(True, seconds), last)[0] for seconds in (90.0, 20.0))
    assert slow.seconds > quick.seconds * 1.2


def test_strangers_unknown_topics_items_and_absurd_times_are_answered(model: NumpyLstm) -> None:
    attempts = one_student(True, 30.0)
    seconds = np.geomspace(1e-6, 1e12, len(attempts))
    strange = replace(attempts, topics=("whale songs \U0001f40b", "", "\0"), items=("?",), seconds=seconds)
    strange = replace(strange, item=np.zeros(len(attempts), np.int32))
    with np.errstate(all="raise", under="ignore"):
        said = model.answers(strange, every(strange))
    assert said.are_finite()
    assert (said.seconds > 0).all()


def test_shuffled_labels_teach_nothing(simulation: Simulation) -> None:
    random = np.random.default_rng(3)
    a = simulation.attempts
    shuffled = replace(a, correct=random.permutation(a.correct), seconds=random.permutation(a.seconds))
    model = fit_lstm(shuffled).served()
    fresh = replace(a, correct=random.permutation(a.correct))
    assert abs(metrics.auc(fresh.correct, model.answers(fresh, every(fresh)).probability) - 0.5) < 0.05


@pytest.mark.parametrize("rows", [8, 20, 100, 300])
def test_five_more_rows_change_little(simulation: Simulation, rows: int) -> None:
    asked = simulation.attempts
    before, after = (fit_lstm(asked.take(slice(n))).served().answers(asked, every(asked)) for n in (rows, rows + 5))
    assert abs(before.probability.mean() - after.probability.mean()) < (0.05 if rows >= 100 else 0.1)


@pytest.mark.parametrize("wrong", [0.0, -1.0, np.nan, np.inf])
def test_wrong_times_are_refused(simulation: Simulation, wrong: float) -> None:
    a = simulation.attempts.take(slice(20))
    with pytest.raises(TrainingFailed, match="expected times above 0 seconds"):
        fit_lstm(replace(a, seconds=np.where(np.arange(20) == 7, wrong, a.seconds)))


def test_too_few_rows_are_refused(simulation: Simulation) -> None:
    with pytest.raises(TrainingFailed, match="expected at least 8 attempts, got 7"):
        fit_lstm(simulation.attempts.take(slice(7)))


def test_trains_alike_from_the_same_seed(simulation: Simulation) -> None:
    some = simulation.attempts.take(slice(400))
    one, other = (fit_lstm(some).served().answers(some, every(some)) for _ in range(2))
    assert np.array_equal(one.probability, other.probability)


# What it reads.


def test_a_later_result_changes_no_earlier_answer(model: NumpyLstm, long_pasts: Attempts) -> None:
    changed = 400
    correct, seconds = long_pasts.correct.copy(), long_pasts.seconds.copy()
    correct[changed], seconds[changed] = not correct[changed], 1234.5
    before = model.answers(long_pasts, every(long_pasts))
    after = model.answers(replace(long_pasts, correct=correct, seconds=seconds), every(long_pasts))
    earlier = long_pasts.started < long_pasts.finished[changed]
    assert earlier[changed]
    assert np.array_equal(before.probability[earlier], after.probability[earlier])
    assert np.array_equal(before.seconds[earlier], after.seconds[earlier])
    mine = ~earlier & (long_pasts.student == long_pasts.student[changed])
    assert (before.probability[mine] != after.probability[mine]).mean() > 0.5


def test_a_stretch_is_of_the_last_64_to_128_tasks() -> None:
    done = np.arange(2000)
    length = done - window_start(done)
    assert length.max() == 2 * WINDOW
    assert (length[done > 2 * WINDOW] >= WINDOW).all()
    assert (length[done <= 2 * WINDOW] == done[: 2 * WINDOW + 1]).all()


def test_windows_hold_what_was_finished_when_a_task_was_created(long_pasts: Attempts) -> None:
    windows = Windows.of(long_pasts, every(long_pasts)).take(np.array([3, 0, 5]))
    a = long_pasts
    for row, window, done in zip(windows.rows, windows.window, windows.done, strict=True):
        past = np.flatnonzero((a.student == a.student[row]) & (a.finished <= a.started[row]))
        begin = window_start(np.array(len(past)))
        assert windows.steps[window][:done].tolist() == past[begin:].tolist()


def test_batches_change_nothing(model: NumpyLstm, long_pasts: Attempts) -> None:
    together = model.answers(long_pasts, every(long_pasts))
    for rows in (np.array([600]), np.array([500, 3, 77])):
        said, wanted = model.answers(long_pasts, rows), together
        np.testing.assert_allclose(said.probability, wanted.probability[rows], atol=1e-6)
        np.testing.assert_allclose(said.seconds, wanted.seconds[rows], rtol=1e-5)


@pytest.mark.parametrize("padding", [0, 1, 37])
def test_padding_changes_nothing(fitted: FittedLstm, model: NumpyLstm, long_pasts: Attempts, padding: int) -> None:
    """Keras itself: a student alone, beside others with longer pasts, and with more padding behind."""
    rows = np.array([0, 10, 100, 300, 629])
    networks = fitted.models()
    together = [keras_says(each, keras_inputs(model, long_pasts, rows, padding)) for each in networks]
    for place, row in enumerate(rows):
        alone = [keras_says(each, keras_inputs(model, long_pasts, np.array([row]))) for each in networks]
        np.testing.assert_allclose(np.ravel(alone), [said[place] for said in together], rtol=1e-5)
    p, seconds = model.raw(model.scores(long_pasts, rows))
    np.testing.assert_allclose(together[0], p, atol=1e-5)
    np.testing.assert_allclose(together[1], seconds, rtol=1e-4)


def keras_says(network: Any, asked: dict[str, Any]) -> Any:
    return np.asarray(network(asked, training=False))[:, 0]


# How it is kept.


def test_saved_and_loaded_says_the_same(
    fitted: FittedLstm, model: NumpyLstm, long_pasts: Attempts, tmp_path: Path
) -> None:
    import keras

    fitted.save(tmp_path)
    files = {"correctness_model.keras", "time_model.keras", "weights.npz", "training.npz", "metadata.json"}
    assert {file.name for file in tmp_path.iterdir()} == files
    again = NumpyLstm.load(tmp_path)
    assert np.array_equal(again.scores(long_pasts, every(long_pasts)), model.scores(long_pasts, every(long_pasts)))
    networks = [keras.models.load_model(tmp_path / f"{output}_model.keras") for output in ("correctness", "time")]
    compare((networks[0], networks[1]), again, golden(fitted))
    assert model.raw(model.scores(golden(fitted), every(golden(fitted))))[1].max() > 100


def test_arrays_that_differ_from_keras_are_refused(fitted: FittedLstm) -> None:
    wrong = replace(fitted, scale=replace(fitted.scale, seconds=fitted.scale.seconds * 1.001))
    with pytest.raises(TrainingFailed, match="other times"):
        compare(fitted.models(), wrong.served(), golden(fitted))


# How one task is answered.


@dataclass
class Database:
    """Enough of the tables for one student: their finished tasks, and what was kept of them."""

    attempts: Attempts
    student: int
    kept: dict[str, Any] = field(default_factory=dict)
    steps: int = 0  # tasks read

    def ask(self, model: NumpyLstm, row: int, version: int = VERSION) -> Answer:
        """Create the task of this row at the moment when it was created."""
        a = self.attempts
        item = a.items[a.item[row]] if a.item[row] >= 0 else None
        asked = Asked(UUID(a.students[self.student]), a.topics[a.topic[row]], DIFFICULTIES[a.difficulty[row]], item)
        past = past_of_row(a, row)
        talk = model.answer(version, asked, past)
        try:
            statement, values = next(talk)
            while True:
                statement, values = talk.send(self._rows(statement, dict(values)))
        except StopIteration as end:
            said: Answer = end.value
            return said

    def _rows(self, statement: Any, values: dict[str, Any]) -> Rows:
        if statement is student_states.KEEP:
            self.kept = values
            return []
        if statement is student_states.KEPT:
            return [self.kept] if self.kept and self.kept["version_id"] == values["version_id"] else []
        assert statement is student_sequences.LATEST
        a = self.attempts
        rows = np.flatnonzero((a.student == self.student) & (a.finished <= micros(values["through"])))
        rows = rows[::-1][: values["most"]]
        self.steps += len(rows)
        return [self._task(row) for row in rows.tolist()]

    def _task(self, row: int) -> dict[str, Any]:
        a = self.attempts
        return {
            "topic": a.topics[a.topic[row]],
            "difficulty": DIFFICULTIES[a.difficulty[row]],
            "item_id": a.items[a.item[row]] if a.item[row] >= 0 else None,
            "is_correct": bool(a.correct[row]),
            "actual_time_seconds": float(a.seconds[row]),
            "completed_at": moment(a.finished[row]),
        }


def moment(microseconds: Any) -> datetime:
    return EPOCH + timedelta(microseconds=int(microseconds))


def micros(at: datetime) -> int:
    return (at - EPOCH) // timedelta(microseconds=1)


def past_of_row(attempts: Attempts, row: int) -> Past:
    known = known_before(attempts)
    this = slice(row, row + 1)
    groups = _groups(known, this)
    return Past(moment(known.at[row]), (), groups, known.session_tasks[this], _since(known, this))


def rows_of(attempts: Attempts, student: int) -> list[int]:
    """By creation."""
    rows = np.flatnonzero(attempts.student == student)
    return [int(row) for row in rows[np.argsort(attempts.started[rows], kind="stable")]]


def test_step_by_step_says_what_all_at_once_says(model: NumpyLstm, long_pasts: Attempts) -> None:
    wanted = model.answers(long_pasts, every(long_pasts))
    database = Database(long_pasts, student=1)
    for row in rows_of(long_pasts, 1)[::3]:
        said = database.ask(model, row)
        assert said.probability == pytest.approx(wanted.probability[row], abs=1e-6)
        assert said.seconds == pytest.approx(wanted.seconds[row], rel=1e-5)


def test_a_kept_state_is_caught_up_with_the_few_tasks_since(model: NumpyLstm, long_pasts: Attempts) -> None:
    database = Database(long_pasts, student=0)
    *_, before, last = rows_of(long_pasts, 0)
    database.ask(model, before)
    assert database.steps <= 2 * WINDOW + 1
    database.steps = 0
    said = database.ask(model, last)
    assert 0 < database.steps <= 4
    database.steps = 0
    assert database.ask(model, last) == said
    assert database.steps == 0


@pytest.mark.parametrize(
    "spoilt",
    [{"state": b""}, {"state": b"\xff" * 1536}, {"n": 10**6}, {"n": 139}, {"version_id": 8}],
    ids=str,
)
def test_a_kept_state_that_does_not_fit_is_made_anew(
    model: NumpyLstm, long_pasts: Attempts, spoilt: dict[str, Any]
) -> None:
    rows = rows_of(long_pasts, 0)
    database = Database(long_pasts, student=0)
    database.ask(model, rows[150])
    database.kept |= spoilt
    said, fresh = database.ask(model, rows[152]), Database(long_pasts, student=0).ask(model, rows[152])
    assert said.probability == pytest.approx(fresh.probability, abs=1e-6)


def test_a_task_that_came_in_late_is_not_lost(model: NumpyLstm, long_pasts: Attempts) -> None:
    """It was finished before the state was kept, and seen only afterwards."""
    rows = rows_of(long_pasts, 0)
    late = int(np.flatnonzero(long_pasts.student == 0)[140])
    database = Database(long_pasts.take(every(long_pasts) != late), student=0)
    database.ask(model, rows[150] - (rows[150] > late))
    database.attempts = long_pasts
    said, fresh = database.ask(model, rows[160]), Database(long_pasts, student=0).ask(model, rows[160])
    assert said.probability == pytest.approx(fresh.probability, abs=1e-6)


# Going on.


def test_it_goes_on_with_new_students_without_forgetting_the_others(
    fitted: FittedLstm, model: NumpyLstm, simulation: Simulation
) -> None:
    a = simulation.attempts
    new = a.student >= KNOWN
    asked = np.flatnonzero(~new)[-300:]
    gone_on = go_on_lstm(fitted, a, new & (np.arange(len(a)) % 4 > 0)).served()
    correct = a.correct[asked]
    before, after = (metrics.log_loss(correct, each.answers(a, asked).probability) for each in (model, gone_on))
    assert after < before + 0.02
    unseen = np.flatnonzero(new & (np.arange(len(a)) % 4 == 0))
    correct = a.correct[unseen]
    before, after = (metrics.log_loss(correct, each.answers(a, unseen).probability) for each in (model, gone_on))
    assert after < before + 0.005


def test_going_on_after_a_restart_is_going_on(fitted: FittedLstm, simulation: Simulation, tmp_path: Path) -> None:
    a = simulation.attempts.take(slice(1500))
    fresh = np.arange(1500) >= 1400
    fitted.save(tmp_path)
    one, other = (go_on_lstm(each, a, fresh).served() for each in (fitted, FittedLstm.load(tmp_path)))
    same(one.answers(a, np.arange(1400, 1500)), other.answers(a, np.arange(1400, 1500)), 1e-6)


def test_going_on_with_a_little_reads_a_few_stretches(fitted: FittedLstm, simulation: Simulation) -> None:
    a = simulation.attempts
    few, many = (go_on_lstm(fitted, a, np.arange(len(a)) >= len(a) - n) for n in (5, 500))
    assert few.report["learnt_rows"] < 700 < many.report["learnt_rows"] <= len(a)
    assert len(few.held_out.p) == len(fitted.held_out.p) + 5
