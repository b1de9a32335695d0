"""V2 as it is served: the trained Keras networks folded into a few arrays, both answered in one NumPy pass."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from app.core.statements import Conversation
from app.crud.student_totals import Past
from app.domain.attempts import DIFFICULTIES, Attempts
from app.domain.tasks import Asked
from app.ml.answers import Answer, Answers
from app.ml.networks.calibration import Calibration
from app.ml.inputs import INPUTS, inputs_of, inputs_of_past, known_before

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Places = NDArray[np.integer[Any]]

KIND = "embedding_v2"
WEIGHTS_FILE = "weights.npz"
METADATA_FILE = "metadata.json"
AT_ONCE = 8192  # rows of a pass: 8 MB in the widest layer


def transformed(inputs: Floats, low: Floats, high: Floats, units: Floats, factors: Floats) -> Floats:
    """The inputs (n, 24) as the networks see them before normalising; all else (24,), as in `Weights`.

    Nothing is said of what was never seen: an input beyond what the training rows showed counts as the outermost.
    """
    within = np.minimum(np.maximum(inputs, low), high)
    logs: Floats = np.log1p(within * units)
    logs += within * factors
    return logs


@dataclass(frozen=True, slots=True)
class Weights:
    """Arrays of both networks (first axis: correctness, time); k ids plus the unknown one at index 0."""

    low: Floats  # (24,) the least and the most of each input in training
    high: Floats  # (24,)
    units: Floats  # (24,) an input x enters as log(1 + units * x) + factors * x
    factors: Floats  # (24,)
    student: Singles  # (2, k, 128) the first dense layer's share of each id
    topic: Singles  # (2, k, 128)
    difficulty: Singles  # (2, k, 128)
    item: Singles  # (2, k, 128)
    kernel_1: Singles  # (2, 28, 128)
    bias_1: Singles  # (2, 1, 128)
    kernel_2: Singles  # (2, 128, 64) the batch norm before it folded in
    bias_2: Singles  # (2, 1, 64)
    kernel_3: Singles  # (2, 64, 32) the batch norm before it folded in
    bias_3: Singles  # (2, 1, 32)
    kernel_4: Singles  # (2, 32, 16)
    bias_4: Singles  # (2, 1, 16)
    kernel_5: Singles  # (2, 16, 1)
    bias_5: Singles  # (2, 1, 1)
    seconds: Floats  # () the time network answers in multiples of it

    def save(self, path: Path) -> None:
        """Write plain arrays."""
        np.savez(path, **{name: getattr(self, name) for name in self.__slots__})

    @classmethod
    def load(cls, path: Path) -> "Weights":
        """Read plain arrays; a file with anything else in it is refused by NumPy."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(**{name: arrays[name] for name in cls.__slots__})


class NumpyV2:
    """Predicts from names and inputs; unknown names are answered by the vector trained for strangers."""

    name = KIND

    def __init__(self, weights: Weights, metadata: dict[str, Any]) -> None:
        self.weights = weights
        self.metadata = metadata
        self.inputs_used: tuple[str, ...] = tuple(metadata["inputs"])
        self.calibration = Calibration.from_dict(metadata["calibration"])
        self._student = _places(metadata["students"])
        self._topic = _places(metadata["topics"])
        self._difficulty = _places(metadata["difficulties"])
        self._item = _places(metadata["items"])

    @classmethod
    def load(cls, folder: Path) -> "NumpyV2":
        """Read what `FittedV2.save` wrote; raises ValueError if the folder holds another kind of model."""
        metadata = json.loads((folder / METADATA_FILE).read_text(encoding="utf-8"))
        if metadata.get("kind") != KIND or tuple(metadata.get("inputs", ())) != INPUTS:
            raise ValueError(f"expected an {KIND} model with the inputs of this version in {folder}")
        return cls(Weights.load(folder / WEIGHTS_FILE), metadata)

    def predict(
        self,
        students: Sequence[str],
        topics: Sequence[str],
        difficulties: Sequence[str],
        items: Sequence[str | None],
        inputs: Floats,
    ) -> Answers:
        """Calibrated answers for n tasks, not clipped; inputs (n, 24) as in INPUTS."""
        scores = self.scores(students, topics, difficulties, items, inputs)
        return self.calibration.answers_of_scores(scores[0], self._seconds(scores[1]))

    def scores(
        self,
        students: Sequence[str],
        topics: Sequence[str],
        difficulties: Sequence[str],
        items: Sequence[str | None],
        inputs: Floats,
    ) -> Floats:
        """What the networks say before sigmoid and softplus, (2, n)."""
        return self._scores(
            _found(self._student, students),
            _found(self._topic, topics),
            _found(self._difficulty, difficulties),
            _found(self._item, items),
            inputs=inputs,
        )

    def raw(self, *asked: Any) -> tuple[Floats, Floats]:
        """Probabilities and seconds (n,) as the networks give them, before calibration; arguments as of `predict`."""
        scores = self.scores(*asked)
        return expit(scores[0]), self._seconds(scores[1])

    def _seconds(self, score: Floats) -> Floats:
        seconds: Floats = np.logaddexp(0, score) * self.weights.seconds
        return seconds

    def _scores(self, *places: Places | slice, inputs: Floats) -> Floats:
        w = self.weights
        past = transformed(inputs, w.low, w.high, w.units, w.factors).astype(np.float32)
        x = past @ w.kernel_1 + w.bias_1  # (2, n, 128)
        for of_ids, place in zip((w.student, w.topic, w.difficulty, w.item), places, strict=True):
            x += of_ids[:, place]
        x = np.maximum(x, 0) @ w.kernel_2 + w.bias_2  # (2, n, 64)
        x = np.maximum(x, 0) @ w.kernel_3 + w.bias_3  # (2, n, 32)
        x = np.maximum(x, 0) @ w.kernel_4 + w.bias_4  # (2, n, 16)
        score: Floats = (np.maximum(x, 0) @ w.kernel_5 + w.bias_5)[..., 0].astype(np.float64)  # (2, n)
        return score

    def answer(self, version_id: int, asked: Asked, past: Past) -> Conversation[Answer]:
        """The prediction for one task; nothing has to be looked up for it."""
        names = ([str(asked.user_id)], [asked.topic], [asked.difficulty], [asked.item_id])
        return self.predict(*names, inputs_of_past(past))[0]
        yield  # what makes it a conversation

    def answers(self, attempts: Attempts, rows: NDArray[np.intp]) -> Answers:
        """The same for these rows of `attempts`, each from what its student had finished when it was created."""
        mine = np.zeros(len(attempts.students), np.bool_)
        mine[attempts.student[rows]] = True
        of_these = mine[attempts.student]  # nobody else's past matters
        own, places = attempts.take(of_these), (np.cumsum(of_these) - 1)[rows]
        inputs = inputs_of(known_before(own))
        parts = [self._of_rows(own, inputs, part) for part in np.split(places, range(AT_ONCE, len(places), AT_ONCE))]
        scores = np.concatenate(parts, axis=1)
        return self.calibration.answers_of_scores(scores[0], self._seconds(scores[1]))

    def _of_rows(self, a: Attempts, inputs: Floats, rows: NDArray[np.intp]) -> Floats:
        """Scores of a few rows, (2, n)."""
        named = [(a.student, a.students), (a.topic, a.topics), (a.difficulty, DIFFICULTIES)]
        students, topics, difficulties = ([names[place] for place in of[rows].tolist()] for of, names in named)
        items = [a.items[place] if place >= 0 else None for place in a.item[rows].tolist()]
        return self.scores(students, topics, difficulties, items, inputs[rows])


def _places(names: Sequence[str]) -> dict[str | None, int]:
    return {name: place for place, name in enumerate(names, start=1)}


def _found(places: Mapping[str | None, int], names: Sequence[str | None]) -> Places | slice:
    """Where these names stand; a single one as a slice, for which NumPy copies nothing."""
    found = [places.get(name, 0) for name in names]
    return slice(found[0], found[0] + 1) if len(found) == 1 else np.array(found, np.intp)
