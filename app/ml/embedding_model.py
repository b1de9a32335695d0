"""The LSTM: it reads a student's finished tasks, one after another; what it kept, the task to come and the inputs give
the answer. One Keras network for correctness, one for time; the layers are the source documents'."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from app.core.db.statements import QueryFlow, Row
from app.crud import student_states
from app.crud.student_sequences import latest
from app.domain.attempts import Attempts
from app.domain.tasks import TaskRequest
from app.ml.networks.inference import Arrays, Floats, Places, ServedNetwork
from app.ml.networks.network import Weights
from app.ml.networks.sequences import SequenceNetwork, ServedSequence, Windows, states_seen, window_start
from app.ml.task_prediction_model import TaskPredictionModel as TaskPredictionModel  # by the documents' name

Singles = NDArray[np.float32]
READ_AT_ONCE = 256  # windows


@dataclass(frozen=True)
class Lstm(SequenceNetwork):
    """Two LSTM layers over the steps, two dense layers over what they kept, the task and the inputs."""

    name: ClassVar[str] = "embedding_lstm"
    readers: ClassVar[tuple[str, ...]] = ("lstm_1/lstm_cell", "dense_1")

    units: tuple[int, ...] = (64, 32, 32, 16)  # LSTM, LSTM, dense, dense
    dropouts: tuple[float, ...] = (0.2, 0.2, 0.1)  # behind the first three

    def known(self, steps: Any, asked: Any, done: Any, *, learning: bool) -> Any:
        from keras import layers, ops

        lstm = fused_lstm() if learning else layers.LSTM
        x = lstm(self.units[0], return_sequences=True, name="lstm_1")(steps)
        x = lstm(self.units[1], return_sequences=True, name="lstm_2")(layers.Dropout(self.dropouts[0])(x))
        states, positions = states_seen(x)
        picked = ops.cast(ops.equal(ops.expand_dims(done, -1), ops.expand_dims(positions, 1)), "float32")
        return ops.matmul(picked, states)  # (w, a, 32)

    def served(self, weights: Weights, metadata: dict[str, Any]) -> ServedNetwork:
        return ServedLstm(self, weights, metadata)


@lru_cache
def fused_lstm() -> Any:
    """Keras' LSTM computed by TensorFlow's fused kernel: half the time of Keras' loop over steps on one thread.

    The weights are Keras' own, so what is trained with it is saved as a plain `keras.layers.LSTM`.
    """
    import keras
    import tensorflow as tf

    class FusedLSTM(keras.layers.LSTM):  # type: ignore[misc]
        """From zero states, without a mask: padding behind the last step is read by nobody."""

        def call(self, sequences: Any, initial_state: Any = None, mask: Any = None, training: bool = False) -> Any:
            """All outputs, (w, steps, units), from (w, steps, inputs)."""
            x = tf.transpose(sequences, (1, 0, 2))
            zeros, none = tf.zeros((tf.shape(x)[1], self.units)), tf.zeros((self.units,))
            kernels = tf.concat([self.cell.kernel.value, self.cell.recurrent_kernel.value], 0)
            said = tf.raw_ops.BlockLSTMV2(
                seq_len_max=tf.cast(tf.shape(x)[0], tf.int64), x=x, cs_prev=zeros, h_prev=zeros, w=kernels, wci=none,
                wcf=none, wco=none, b=self.cell.bias.value, cell_clip=0.0, use_peephole=False,
            )  # fmt: skip
            return tf.transpose(said.h, (1, 0, 2))

    return FusedLSTM


@dataclass(frozen=True, slots=True)
class LstmState:
    """What both networks keep of w windows."""

    first: Singles  # (2, w, 64) output of the first LSTM
    first_cell: Singles  # (2, w, 64)
    second: Singles  # (2, w, 32)
    second_cell: Singles  # (2, w, 32)

    @classmethod
    def zeros(cls, units: Sequence[int], w: int = 1) -> "LstmState":
        return cls(*(np.zeros((2, w, n), np.float32) for n in (units[0], units[0], units[1], units[1])))

    def to_bytes(self) -> bytes:
        """Of one window."""
        return b"".join(getattr(self, part).astype("<f4").tobytes() for part in self.__slots__)

    @classmethod
    def from_bytes(cls, kept: bytes, units: Sequence[int]) -> "LstmState":
        """The reverse; raises ValueError for anything else."""
        numbers, most = np.frombuffer(kept, "<f4").astype(np.float32), 4 * (units[0] + units[1])
        if len(numbers) != most or not np.isfinite(numbers).all():
            raise ValueError(f"expected {most} finite numbers, got {len(numbers)}")
        ends = np.cumsum([2 * units[0], 2 * units[0], 2 * units[1]])
        return cls(*(part.reshape(2, 1, -1) for part in np.split(numbers, ends)))


class ServedLstm(ServedSequence):
    """One step of NumPy per finished task; what was kept of a student is in the database."""

    def prepare(self, weights: Arrays) -> None:
        """What each topic, difficulty and item adds to the gates, once and for all; students are too many for it."""
        super().prepare(weights)
        self._units: tuple[int, ...] = self.kind.units  # type: ignore[attr-defined]
        ends = np.cumsum([table.shape[-1] for table in self.tables])
        kernel = weights["lstm_1/lstm_cell/kernel"]
        self._of_student, *kernels, self._of_outcomes = map(np.ascontiguousarray, np.split(kernel, ends, axis=1))
        self._gates = [table @ kernel for table, kernel in zip(self.tables[1:], kernels, strict=True)]
        self._lstm = {name: array for name, array in weights.items() if name.startswith("lstm_")}

    # What is known of the past: the second LSTM's output, (2, n, 32).

    def past_of(self, attempts: Attempts, rows: NDArray[np.intp], places: Places) -> Singles:
        windows, outcomes = Windows.of(attempts, rows), self.scaled_outcomes(attempts)
        states = np.empty((2, len(attempts), self._units[1]), np.float32)  # before each row asked for
        by_length = np.argsort(windows.length, kind="stable")
        for first in range(0, len(by_length), READ_AT_ONCE):
            part = windows.take(by_length[first : first + READ_AT_ONCE])
            steps = np.maximum(part.steps, 0)  # behind the last step nothing is read
            said = self._read(places[:, steps], outcomes[steps])
            states[:, part.rows] = said[part.done, :, part.window].swapaxes(0, 1)
        return states[:, rows]

    def past_of_raw(self, raw: Arrays) -> Singles:
        said = self._read(*self.steps_of_raw(raw))
        return said[raw["done"], :, np.arange(said.shape[2])].swapaxes(0, 1)

    def past_of_task(
        self, version_id: int, asked: TaskRequest, at: datetime, n: int, changed_at: datetime | None = None
    ) -> QueryFlow[Singles]:
        """The kept state with the tasks finished since, or the whole window anew where it does not add up."""
        begin = int(window_start(np.array(n)))
        kept = None
        if changed_at:
            found = yield from student_states.kept(asked.user_id, self.name, version_id, changed_at)
            kept = self._found(found, begin, n)
        if kept and kept[1] == n:
            return kept[0].second
        state, finished = kept[:2] if kept else (LstmState.zeros(self._units), begin)
        tasks, before = yield from latest(asked, at, n - finished)
        if kept and not (before and before["completed_at"] <= kept[2] < tasks[0]["completed_at"]):
            state, finished = LstmState.zeros(self._units), begin
            tasks, before = yield from latest(asked, at, n - finished)
        ids, outcomes = self.steps_of_tasks(asked, tasks, before)
        gates = self._step_gates(ids[:, 0], outcomes[0])
        for place in range(len(tasks)):  # one step each
            state = self._step(state, gates[:, place : place + 1])
        if changed_at:
            whose = asked.user_id, self.name, version_id, changed_at
            yield from student_states.keep(*whose, finished + len(tasks), at, state.to_bytes())
        return state.second

    def repeated(self, past: Singles, n: int) -> Singles:
        return np.repeat(past, n, axis=1)

    def _found(self, row: Row | None, begin: int, wanted: int) -> tuple[LstmState, int, datetime] | None:
        """What was kept, if it is of the window that begins there and of no more tasks than are wanted."""
        if row is None:
            return None
        try:
            state, n = LstmState.from_bytes(row["state"], self._units), row["n"]
        except ValueError:  # not written by us
            return None
        fits = 0 < n <= wanted and int(window_start(np.array(n))) == begin
        return (state, n, row["through"]) if fits else None

    # The arithmetic. Both networks at once: the first axis is correctness, time.

    def _read(self, ids: NDArray[Any], outcomes: Singles) -> Singles:
        """What the second LSTM says after 0, 1, ... of s steps of w windows, (1 + s, 2, w, 32)."""
        state = LstmState.zeros(self._units, outcomes.shape[0])
        said = [state.second]
        for step in range(outcomes.shape[1]):
            state = self._step(state, self._step_gates(ids[:, :, step], outcomes[:, step]))
            said.append(state.second)
        return np.stack(said)

    def _step_gates(self, ids: NDArray[Any], outcomes: Singles) -> Singles:
        """What w finished tasks, by ids (4, w) and outcomes (w, 3), say to the first LSTM's gates, (2, w, 256)."""
        gates = self.tables[0][:, ids[0]] @ self._of_student + outcomes @ self._of_outcomes
        gates += self._weight("lstm_1", "bias")[:, None]
        for table, index in zip(self._gates, ids[1:], strict=True):
            gates += table[:, index]
        return np.asarray(gates)

    def _step(self, state: LstmState, gates: Singles) -> LstmState:
        """One finished task more of each window."""
        first, first_cell = _cell(gates + state.first @ self._weight("lstm_1", "recurrent_kernel"), state.first_cell)
        gates = first @ self._weight("lstm_2", "kernel") + self._weight("lstm_2", "bias")[:, None]
        gates = gates + state.second @ self._weight("lstm_2", "recurrent_kernel")
        return LstmState(first, first_cell, *_cell(gates, state.second_cell))

    def _weight(self, layer: str, part: str) -> Singles:
        return self._lstm[f"{layer}/lstm_cell/{part}"]

    def scores(self, ids: Sequence[Places | slice], inputs: Floats, past: Singles) -> Floats:
        return self.scores_of(self.asked(ids, inputs), past)


def _cell(gates: Singles, cell: Singles) -> tuple[Singles, Singles]:
    """Output and cell of an LSTM from its gates (input, forget, candidate, output side by side)."""
    units = cell.shape[-1]
    opened = expit(gates)
    candidate = opened[..., :units] * np.tanh(gates[..., 2 * units : 3 * units])
    cell = opened[..., units : 2 * units] * cell + candidate
    return np.asarray(opened[..., 3 * units :] * np.tanh(cell)), cell
