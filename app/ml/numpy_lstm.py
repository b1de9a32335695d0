"""The LSTM as it is served: both networks as plain arrays, one step of NumPy per finished task."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from app.core.statements import Conversation, Row
from app.crud import student_sequences, student_states
from app.crud.student_totals import Past
from app.domain.attempts import DIFFICULTIES, Attempts
from app.domain.tasks import Asked
from app.ml.answers import Answer, Answers
from app.ml.calibration import Calibration
from app.ml.embedding_model import FIRST, IDS, RESULTS, SECOND, Scale
from app.ml.inputs import INPUTS, inputs_of, known_before, known_of
from app.ml.sequences import Windows, results, window_start

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Places = NDArray[np.int32]

KIND = "embedding_lstm"
WEIGHTS_FILE = "weights.npz"
METADATA_FILE = "metadata.json"
TOGETHER = 256  # stretches of past read side by side
STATE = 2 * 2 * (FIRST + SECOND)  # numbers kept of a student: output and cell of each LSTM of both networks
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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
    dense_32_kernel: Singles  # (2, lengths + 28 + 32, 32): student, topic, difficulty, item, inputs, state
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
        self._places = {
            name: {each: place for place, each in enumerate(metadata["names"][name], start=1)} for name in IDS
        }
        self._prepare(weights)

    def _prepare(self, w: Weights) -> None:
        """What each topic, difficulty and item adds to the gates, once and for all; students are too many for it."""
        lengths = [getattr(w, f"{name}_vector").shape[-1] for name in IDS]
        *kernels, self._of_results = np.split(w.lstm_64_kernel, np.cumsum(lengths), axis=1)
        self._gates = {name: getattr(w, f"{name}_vector") @ kernel for name, kernel in zip(IDS, kernels, strict=True)
                       if name != "student"}  # fmt: skip
        self._of_student = kernels[0]
        parts = np.split(w.dense_32_kernel, np.cumsum([sum(lengths), len(INPUTS)]), axis=1)
        self._head_ids, self._head_inputs, self._head_state = (np.ascontiguousarray(part) for part in parts)

    @classmethod
    def load(cls, folder: Path) -> "NumpyLstm":
        """Read what `FittedLstm.save` wrote; raises ValueError if the folder holds another kind of model."""
        metadata = json.loads((folder / METADATA_FILE).read_text(encoding="utf-8"))
        if metadata.get("kind") != KIND or tuple(metadata.get("inputs", ())) != INPUTS:
            raise ValueError(f"expected an {KIND} model with the inputs of this version in {folder}")
        return cls(Weights.load(folder / WEIGHTS_FILE), metadata)

    # One task, from the kept state.

    def answer(self, version_id: int, asked: Asked, past: Past) -> Conversation[Answer]:
        """The prediction for one task; the student's state is read, caught up and kept on the way."""
        state = yield from self._caught_up(version_id, asked, past)
        ids = [
            np.array([self._places[name].get(each, 0)], np.int32)
            for name, each in zip(IDS, (str(asked.user_id), asked.topic, asked.difficulty, asked.item_id), strict=True)
        ]
        scores = self._scores(ids, inputs_of(known_of(past)), state.second)
        return self._answers(scores)[0]

    def _caught_up(self, version_id: int, asked: Asked, past: Past) -> Conversation[State]:
        """The kept state with the tasks finished since, or the whole stretch anew where it does not add up."""
        wanted = int(past.counts[0, 0])
        whose = {"user_id": asked.user_id, "kind": KIND, "version_id": version_id}
        kept = yield student_states.KEPT, whose
        state, n, through = _read(kept[0] if kept else None, wanted)
        if n == wanted:
            return state
        tasks = yield from _latest(asked, past, wanted - n)
        if n and any(task["completed_at"] <= through for task in tasks[1 - wanted - 1 + n :]):
            pass
        return state


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
