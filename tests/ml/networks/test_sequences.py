"""Networks that read a student's finished tasks in order: windows, and one task answered from the database."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from app.core.db.statements import Rows
from app.crud import student_sequences, student_states
from app.crud.student_totals import StudentHistory
from app.domain.attempts import DIFFICULTIES, Attempts
from app.domain.tasks import TaskRequest
from app.ml.answers import Answer
from app.ml.features.history import created
from app.ml.features.inputs import known_before
from app.ml.networks.fit import fit
from app.ml.networks.inference import ServedNetwork
from app.ml.networks.sequences import WINDOW, Windows, window_start
from app.ml.registry import network
from tests.ml.networks import toys
from tests.ml.networks.toys import some_students

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
VERSION = 7


@pytest.fixture(scope="module", params=["embedding_lstm", pytest.param("embedding_attention", marks=pytest.mark.slow)])
def model(request: pytest.FixtureRequest) -> ServedNetwork:
    return fit(network(request.param), some_students(20, 40)).served()


@pytest.fixture(scope="module")
def lstm() -> ServedNetwork:
    """It keeps what it read of a student."""
    return fit(network("embedding_lstm"), some_students(20, 40)).served()


@pytest.fixture(scope="module")
def long_pasts() -> Attempts:
    return toys.long_pasts()


def every(attempts: Attempts) -> Any:
    return np.arange(len(attempts))


def test_a_window_is_of_the_last_64_to_128_tasks() -> None:
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


# How one task is answered.


@dataclass
class Database:
    """Enough of the tables for one student: their finished tasks, and what was kept of them."""

    attempts: Attempts
    student: int
    kept: dict[str, dict[str, Any]] = field(default_factory=dict)  # by kind
    steps: int = 0  # tasks that a network read

    def ask(self, model: ServedNetwork, row: int, version: int = VERSION) -> Answer:
        """Create the task of this row at the moment when it was created."""
        a = self.attempts
        item = a.items[a.item[row]] if a.item[row] >= 0 else None
        asked = TaskRequest(
            UUID(a.students[self.student]), a.topics[a.topic[row]], DIFFICULTIES[a.difficulty[row]], item
        )
        past = past_of_row(a, row)
        flow = model.answer(version, asked, past)
        try:
            statement, values = next(flow)
            while True:
                statement, values = flow.send(self._rows(statement, dict(values)))
        except StopIteration as end:
            said: Answer = end.value
            return said

    def _rows(self, statement: Any, values: dict[str, Any]) -> Rows:
        if statement is student_states.KEEP:
            self.kept[values["kind"]] = values
            return []
        if statement is student_states.KEPT:
            kept = self.kept.get(values["kind"], {})
            return [kept] if kept.get("version_id") == values["version_id"] else []
        assert statement in (student_sequences.LATEST, student_sequences.PRACTISED)
        a = self.attempts
        finished = np.flatnonzero((a.student == self.student) & (a.finished <= micros(values["through"])))
        rows = finished[::-1][: values["most"]]
        self.steps += len(rows) if statement is student_sequences.LATEST else 0
        return [self._task(row, finished) for row in rows.tolist()]

    def _task(self, row: int, finished: Any) -> dict[str, Any]:
        a = self.attempts
        return {
            "topic": a.topics[a.topic[row]],
            "difficulty": DIFFICULTIES[a.difficulty[row]],
            "item_id": a.items[a.item[row]] if a.item[row] >= 0 else None,
            "is_correct": bool(a.correct[row]),
            "actual_time_seconds": float(a.seconds[row]),
            "completed_at": moment(a.finished[row]),
            "on_topic": int((a.topic[finished] == a.topic[row]).sum()),
            "on_item": int((a.item[finished] == a.item[row]).sum()),
        }


def moment(microseconds: Any) -> datetime:
    return EPOCH + timedelta(microseconds=int(microseconds))


def micros(at: datetime) -> int:
    return (at - EPOCH) // timedelta(microseconds=1)


def past_of_row(attempts: Attempts, row: int) -> StudentHistory:
    known = known_before(attempts)
    this, at = slice(row, row + 1), created(attempts)[row]
    of_past = known.groups[:, this], known.session_tasks[this], known.since[this]
    return StudentHistory(moment(at), (), *of_past, changed_at=moment(0))


def rows_of(attempts: Attempts, student: int) -> list[int]:
    """By creation."""
    rows = np.flatnonzero(attempts.student == student)
    return [int(row) for row in rows[np.argsort(attempts.started[rows], kind="stable")]]


def test_step_by_step_says_what_all_at_once_says(model: ServedNetwork, long_pasts: Attempts) -> None:
    wanted = model.answers(long_pasts, every(long_pasts))
    database = Database(long_pasts, student=1)
    for row in rows_of(long_pasts, 1)[::3]:
        said = database.ask(model, row)
        assert said.probability == pytest.approx(wanted.probability[row], abs=1e-6)
        assert said.seconds == pytest.approx(wanted.seconds[row], rel=1e-5)


def test_a_kept_state_is_caught_up_with_the_few_tasks_since(lstm: ServedNetwork, long_pasts: Attempts) -> None:
    database = Database(long_pasts, student=0)
    *_, before, last = rows_of(long_pasts, 0)
    database.ask(lstm, before)
    assert database.steps <= 2 * WINDOW + 1
    database.steps = 0
    said = database.ask(lstm, last)
    assert 0 < database.steps <= 4
    database.steps = 0
    assert database.ask(lstm, last) == said
    assert database.steps == 0


@pytest.mark.parametrize(
    "spoilt",
    [{"state": b""}, {"state": b"\xff" * 1536}, {"n": 10**6}, {"n": 139}, {"version_id": 8}],
    ids=str,
)
def test_a_kept_state_that_does_not_fit_is_made_anew(
    lstm: ServedNetwork, long_pasts: Attempts, spoilt: dict[str, Any]
) -> None:
    rows = rows_of(long_pasts, 0)
    database = Database(long_pasts, student=0)
    database.ask(lstm, rows[150])
    database.kept[lstm.name] |= spoilt
    said, fresh = database.ask(lstm, rows[152]), Database(long_pasts, student=0).ask(lstm, rows[152])
    assert said.probability == pytest.approx(fresh.probability, abs=1e-6)


def test_a_task_that_came_in_late_is_not_lost(lstm: ServedNetwork, long_pasts: Attempts) -> None:
    """It was finished before the state was kept, and seen only afterwards."""
    rows = rows_of(long_pasts, 0)
    late = int(np.flatnonzero(long_pasts.student == 0)[140])
    database = Database(long_pasts.take(every(long_pasts) != late), student=0)
    database.ask(lstm, rows[150] - (rows[150] > late))
    database.attempts = long_pasts
    said, fresh = database.ask(lstm, rows[160]), Database(long_pasts, student=0).ask(lstm, rows[160])
    assert said.probability == pytest.approx(fresh.probability, abs=1e-6)
