"""V2 as it is served: the trained Keras networks folded into a few arrays, both answered in one NumPy pass."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from app.core.statements import Conversation
from app.crud.student_totals import Past
from app.domain.tasks import Asked
from app.ml.answers import Answer
from app.ml.features import FEATURES, Totals, history_features

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

KIND = "embedding_v2"
WEIGHTS_FILE = "weights.npz"
METADATA_FILE = "metadata.json"
MOST = 1e6  # a feature beyond this is taken for this, so that nothing overflows


@dataclass(frozen=True, slots=True)
class Weights:
    """Arrays of both networks (first axis: correctness, time); k ids plus the unknown one at index 0."""

    units: Floats  # (11,) a feature x enters as log(1 + units * x)
    student: Singles  # (2, k, 128) the first dense layer's share of each id
    topic: Singles  # (2, k, 128)
    difficulty: Singles  # (2, k, 128)
    kernel_1: Singles  # (2, 11, 128)
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
    """Predicts from names and features; unknown names are answered by the vector trained for strangers."""

    name = KIND

    def __init__(self, weights: Weights, metadata: dict[str, Any]) -> None:
        self.weights = weights
        self.metadata = metadata
        self._student = _places(metadata["students"])
        self._topic = _places(metadata["topics"])
        self._difficulty = _places(metadata["difficulties"])

    @classmethod
    def load(cls, folder: Path) -> "NumpyV2":
        """Read what `FittedV2.save` wrote; raises ValueError if the folder holds another kind of model."""
        metadata = json.loads((folder / METADATA_FILE).read_text(encoding="utf-8"))
        if metadata.get("kind") != KIND or tuple(metadata.get("features", ())) != FEATURES:
            raise ValueError(f"expected an {KIND} model with the features of this version in {folder}")
        return cls(Weights.load(folder / WEIGHTS_FILE), metadata)

    def predict(
        self, students: Sequence[str], topics: Sequence[str], difficulties: Sequence[str], features: Floats
    ) -> tuple[Floats, Floats]:
        """Probabilities (n,) and median seconds (n,) for n tasks, not clipped; features (n, 11) as in FEATURES."""
        w = self.weights
        past = np.log1p(np.clip(features, 0, MOST) * w.units).astype(np.float32)
        x = past @ w.kernel_1 + w.bias_1  # (2, n, 128)
        x += w.student[:, [self._student.get(name, 0) for name in students]]
        x += w.topic[:, [self._topic.get(name, 0) for name in topics]]
        x += w.difficulty[:, [self._difficulty.get(name, 0) for name in difficulties]]
        x = np.maximum(x, 0) @ w.kernel_2 + w.bias_2  # (2, n, 64)
        x = np.maximum(x, 0) @ w.kernel_3 + w.bias_3  # (2, n, 32)
        x = np.maximum(x, 0) @ w.kernel_4 + w.bias_4  # (2, n, 16)
        score = (np.maximum(x, 0) @ w.kernel_5 + w.bias_5)[..., 0].astype(np.float64)  # (2, n)
        return expit(score[0]), np.logaddexp(0, score[1]) * w.seconds

    def answer(self, version_id: int, asked: Asked, past: Past) -> Conversation[Answer]:
        """The prediction for one task; nothing has to be looked up for it."""
        features = history_features(Totals(past.counts, past.correct, past.seconds))
        p, seconds = self.predict([str(asked.user_id)], [asked.topic], [asked.difficulty], features)
        return Answer(float(p[0]), float(seconds[0]))
        yield  # what makes it a conversation


def _places(names: Sequence[str]) -> dict[str, int]:
    return {name: place for place, name in enumerate(names, start=1)}
