"""The LSTM as it is served: both networks as plain arrays, one step of NumPy per finished task."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from app.core.statements import Conversation, Row, Rows
from app.crud import student_sequences, student_states
from app.crud.student_totals import Past
from app.domain.attempts import DIFFICULTIES, Attempts
from app.domain.tasks import Asked
from app.ml.answers import Answer, Answers
from app.ml.networks.calibration import Calibration
from app.ml.embedding_model import FIRST, IDS, SECOND, Scale
from app.ml.features import COUNT_UNITS
from app.ml.inputs import INPUTS, LONG_AGO, inputs_of, inputs_of_past, known_before
from app.ml.sequences import Windows, results, told, window_start

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

KIND = "embedding_lstm"
WEIGHTS_FILE = "weights.npz"
METADATA_FILE = "metadata.json"
ID_COLUMNS = ("topic", "difficulty", "item_id")
TOGETHER = 256  # stretches of past read side by side
STATE = 2 * 2 * (FIRST + SECOND)  # numbers kept of a student: output and cell of each LSTM of both networks


@dataclass(frozen=True, slots=True)
class Weights:
    """Arrays of both networks (first axis: correctness, time), as trained; k ids plus the unknown one at index 0."""

    student_vector: Singles  # (2, k, length)
    topic_vector: Singles
    difficulty_vector: Singles
    item_vector: Singles
    lstm_64_kernel: Singles  # (2, lengths + 3, 256): student, topic, difficulty, item, results
    lstm_64_recurrent: Singles  # (2, 64, 256)
    lstm_64_bias: Singles  # (2, 256)
    lstm_32_kernel: Singles  # (2, 64, 128)
    lstm_32_recurrent: Singles  # (2, 32, 128)
    lstm_32_bias: Singles  # (2, 128)
    dense_32_kernel: Singles  # (2, lengths + 24 + 32, 32): student, topic, difficulty, item, inputs, state
    dense_32_bias: Singles  # (2, 32)
    dense_16_kernel: Singles  # (2, 32, 16)
    dense_16_bias: Singles  # (2, 16)
    score_kernel: Singles  # (2, 16, 1)
    score_bias: Singles  # (2, 1)

    def save(self, path: Path) -> None:
        """Write plain arrays."""
        np.savez(path, **{name: getattr(self, name) for name in self.__slots__})

    @classmethod
    def load(cls, path: Path) -> "Weights":
        """Read plain arrays; a file with anything else in it is refused by NumPy."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(**{name: arrays[name] for name in cls.__slots__})


@dataclass(frozen=True, slots=True)
class State:
    """What both networks keep of w stretches of past."""

    first: Singles  # (2, w, 64) output of the first LSTM
    first_cell: Singles  # (2, w, 64)
    second: Singles  # (2, w, 32)
    second_cell: Singles  # (2, w, 32)

    @classmethod
    def nothing(cls, w: int = 1) -> "State":
        return cls(*(np.zeros((2, w, units), np.float32) for units in (FIRST, FIRST, SECOND, SECOND)))

    def to_bytes(self) -> bytes:
        """Of one stretch."""
        return b"".join(getattr(self, part).astype("<f4").tobytes() for part in self.__slots__)

    @classmethod
    def from_bytes(cls, kept: bytes) -> "State":
        """The reverse; raises ValueError for anything else."""
        numbers = np.frombuffer(kept, "<f4").astype(np.float32)
        if len(numbers) != STATE or not np.isfinite(numbers).all():
            raise ValueError(f"expected {STATE} finite numbers, got {len(numbers)}")
        ends = np.cumsum([2 * FIRST, 2 * FIRST, 2 * SECOND])
        return cls(*(part.reshape(2, 1, -1) for part in np.split(numbers, ends)))


class NumpyLstm:
    """Predicts from names, past and inputs; unknown names are answered by the vector trained for strangers."""

    name = KIND

    def __init__(self, weights: Weights, metadata: dict[str, Any]) -> None:
        self.weights = weights
        self.metadata = metadata
        self.scale = Scale(**{name: _tuple(value) for name, value in metadata["scale"].items()})
        self.calibration = Calibration.from_dict(metadata["calibration"])
        self._places = [{each: place for place, each in enumerate(metadata["names"][name], start=1)} for name in IDS]
        self._prepare(weights)

    def _prepare(self, w: Weights) -> None:
        """What each topic, difficulty and item adds to the gates, once and for all; students are too many for it."""
        lengths = [getattr(w, f"{name}_vector").shape[-1] for name in IDS]
        *kernels, self._of_results = np.split(w.lstm_64_kernel, np.cumsum(lengths), axis=1)
        self._of_student = np.ascontiguousarray(kernels[0])
        self._gates = [getattr(w, f"{n}_vector") @ kernel for n, kernel in zip(IDS[1:], kernels[1:], strict=True)]
        parts = np.split(w.dense_32_kernel, np.cumsum([sum(lengths), len(INPUTS)]), axis=1)
        self._head_ids, self._head_inputs, self._head_state = (np.ascontiguousarray(part) for part in parts)

    @classmethod
    def load(cls, folder: Path) -> "NumpyLstm":
        """Read what `FittedLstm.save` wrote; raises ValueError if the folder holds another kind of model."""
        metadata = json.loads((folder / METADATA_FILE).read_text(encoding="utf-8"))
        if metadata.get("kind") != KIND or tuple(metadata.get("inputs", ())) != INPUTS:
            raise ValueError(f"expected an {KIND} model with the inputs of this version in {folder}")
        return cls(Weights.load(folder / WEIGHTS_FILE), metadata)

    def answer(self, version_id: int, asked: Asked, past: Past) -> Conversation[Answer]:
        """The prediction for one task; the student's state is read, caught up and kept on the way."""
        state = yield from self._caught_up(version_id, asked, past)
        names = (str(asked.user_id), asked.topic, asked.difficulty, asked.item_id)
        ids = [np.array([places.get(name, 0)]) for places, name in zip(self._places, names, strict=True)]
        return self._answers(self._scores(ids, inputs_of_past(past), state.second))[0]

    def _caught_up(self, version_id: int, asked: Asked, past: Past) -> Conversation[State]:
        """The kept state with the tasks finished since, or the whole stretch anew where it does not add up."""
        wanted = past.n
        begin = int(window_start(np.array(wanted)))
        whose = {"user_id": asked.user_id, "kind": KIND, "version_id": version_id}
        kept = _read((yield student_states.KEPT, whose), begin, wanted)
        if kept and kept[1] == wanted:
            return kept[0]
        state, n = kept[:2] if kept else (State.nothing(), begin)
        tasks, before = yield from _latest(asked, past.at, wanted - n)
        if kept and not (before and before["completed_at"] <= kept[2] < tasks[0]["completed_at"]):
            state, n = State.nothing(), begin
            tasks, before = yield from _latest(asked, past.at, wanted - n)
        state, n = self._follow(state, asked, tasks, before), n + len(tasks)
        yield student_states.KEEP, {**whose, "n": n, "through": past.at, "state": state.to_bytes()}
        return state

    def _follow(self, state: State, asked: Asked, tasks: Rows, before: Row | None) -> State:
        """One step per task."""
        if not tasks:
            return state
        columns = [[str(asked.user_id)] * len(tasks), *([task[c] for task in tasks] for c in ID_COLUMNS)]
        ids = [np.array([p.get(name, 0) for name in names]) for p, names in zip(self._places, columns, strict=True)]
        gates = self._step_gates(ids, self.scale.of_results(_results(tasks, before)))
        for place in range(len(tasks)):
            state = self._step(state, gates[:, place : place + 1])
        return state

    def varied(self, version_id: int, asked: Asked, inputs: Floats, at: datetime) -> Conversation[Answers]:
        """What it says of m variations of one task's inputs (m, 24), the last as they were; the state is the same."""
        n = round(float(inputs[-1, INPUTS.index("overall_task_count")] * COUNT_UNITS[0]))
        tasks, before = yield from _latest(asked, at, n - int(window_start(np.array(n))))
        state = self._follow(State.nothing(), asked, tasks, before)
        names, m = (str(asked.user_id), asked.topic, asked.difficulty, asked.item_id), len(inputs)
        ids = [np.full(m, places.get(name, 0)) for places, name in zip(self._places, names, strict=True)]
        return self._answers(self._scores(ids, inputs, np.repeat(state.second, m, axis=1)))

    def answers(self, attempts: Attempts, rows: NDArray[np.intp]) -> Answers:
        """The same for rows of `attempts`, each from what its student had finished when it was created."""
        students = np.zeros(len(attempts.students), bool)
        students[attempts.student[rows]] = True
        mine = students[attempts.student]
        some = attempts.take(mine)
        return self._answers(self.scores(some, (np.cumsum(mine) - 1)[rows]))

    def scores(self, attempts: Attempts, rows: NDArray[np.intp]) -> Floats:
        """(2, len(rows)): stretches of about the same length are read together."""
        ids = self.ids(attempts)
        step_results = self.scale.of_results(results(attempts))
        windows = Windows.of(attempts, rows)
        states = np.empty((2, len(attempts), SECOND), np.float32)  # before each row asked for
        by_length = np.argsort(windows.length, kind="stable")
        for first in range(0, len(by_length), TOGETHER):
            part = windows.take(by_length[first : first + TOGETHER])
            states[:, part.rows] = self._read_through(part, ids, step_results)
        inputs = inputs_of(known_before(attempts))
        return self._scores([column[rows] for column in ids], inputs[rows], states[:, rows])

    def ids(self, attempts: Attempts) -> list[NDArray[np.intp]]:
        """Index in the embeddings of each row's student, topic, difficulty and item."""
        names = (attempts.students, attempts.topics, DIFFICULTIES, attempts.items)
        columns = (attempts.student, attempts.topic, attempts.difficulty, attempts.item)
        known = [[p.get(name, 0) for name in each] + [0] for p, each in zip(self._places, names, strict=True)]
        return [np.array(places)[column] for places, column in zip(known, columns, strict=True)]  # -1 is the last: 0

    def _read_through(self, windows: Windows, ids: list[NDArray[np.intp]], step_results: Singles) -> Singles:
        """What the second LSTM says before each task asked for, (2, m, 32)."""
        state = State.nothing(len(windows))
        said = [state.second]
        for steps in windows.steps.T:
            gates = self._step_gates([column[steps] for column in ids], step_results[steps])
            state = self._step(state, gates)
            said.append(state.second)
        return np.stack(said)[windows.done, :, windows.window].swapaxes(0, 1)

    # The arithmetic. Both networks at once: the first axis is correctness, time.

    def _step_gates(self, ids: list[NDArray[np.intp]], step_results: Singles) -> Singles:
        """What w finished tasks say to the first LSTM's gates, (2, w, 256)."""
        whose = self.weights.student_vector[:, ids[0]] @ self._of_student
        gates = whose + step_results @ self._of_results + self.weights.lstm_64_bias[:, None]
        for table, index in zip(self._gates, ids[1:], strict=True):
            gates += table[:, index]
        return gates

    def _step(self, state: State, gates: Singles) -> State:
        """One finished task more of each stretch."""
        w = self.weights
        first, first_cell = _cell(gates + state.first @ w.lstm_64_recurrent, state.first_cell)
        gates = first @ w.lstm_32_kernel + state.second @ w.lstm_32_recurrent + w.lstm_32_bias[:, None]
        return State(first, first_cell, *_cell(gates, state.second_cell))

    def _scores(self, ids: list[NDArray[np.intp]], inputs: Floats, states: Singles) -> Floats:
        """What the networks say of n tasks before sigmoid and exponential, (2, n)."""
        w = self.weights
        vectors = [getattr(w, f"{name}_vector")[:, index] for name, index in zip(IDS, ids, strict=True)]
        x = np.concatenate(vectors, axis=-1) @ self._head_ids
        x += self.scale.of_inputs(inputs) @ self._head_inputs + states @ self._head_state + w.dense_32_bias[:, None]
        x = np.maximum(x, 0) @ w.dense_16_kernel + w.dense_16_bias[:, None]
        scores: Singles = (np.maximum(x, 0) @ w.score_kernel + w.score_bias[:, None])[..., 0]
        return scores.astype(np.float64)

    def raw(self, scores: Floats) -> tuple[Floats, Floats]:
        """Probabilities and median seconds before calibration."""
        return expit(scores[0]), np.exp(scores[1]) * self.scale.seconds

    def _answers(self, scores: Floats) -> Answers:
        return self.calibration.answers_of_scores(scores[0], self.raw(scores)[1])


def _cell(gates: Singles, cell: Singles) -> tuple[Singles, Singles]:
    """Output and cell of an LSTM from its gates (input, forget, candidate, output side by side)."""
    units = cell.shape[-1]
    opened = expit(gates)
    fresh = opened[..., :units] * np.tanh(gates[..., 2 * units : 3 * units])
    cell = opened[..., units : 2 * units] * cell + fresh
    return opened[..., 3 * units :] * np.tanh(cell), cell


def _read(rows: Rows, begin: int, wanted: int) -> tuple[State, int, datetime] | None:
    """What was kept, if it is of the stretch that begins there and of no more tasks than are wanted."""
    try:
        state, n = State.from_bytes(rows[0]["state"]), rows[0]["n"]
    except (IndexError, ValueError):  # nothing, or not written by us
        return None
    fits = 0 < n <= wanted and int(window_start(np.array(n))) == begin
    return (state, n, rows[0]["through"]) if fits else None


def _latest(asked: Asked, at: datetime, most: int) -> Conversation[tuple[Rows, Row | None]]:
    """The student's last tasks, in order, and the one before them."""
    if most == 0:
        return [], None
    span = {"user_id": asked.user_id, "through": at, "most": most + 1}
    rows = yield student_sequences.LATEST, span
    return list(rows[:most])[::-1], rows[most] if len(rows) > most else None


def _results(tasks: Rows, before: Row | None) -> Floats:
    """As `sequences.results`, of tasks as the database tells them."""
    finished = [task["completed_at"] for task in tasks]
    earlier = [before["completed_at"] if before else None, *finished[:-1]]
    since = [
        (now - then) // timedelta(microseconds=1) if then else LONG_AGO
        for now, then in zip(finished, earlier, strict=True)
    ]
    correct, seconds = ([task[column] for task in tasks] for column in ("is_correct", "actual_time_seconds"))
    return told(np.array(correct), np.array(seconds, np.float64), np.array(since))


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
