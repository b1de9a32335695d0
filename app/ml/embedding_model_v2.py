"""V2: vectors of student, topic, difficulty and item beside what is known of the task; one Keras network for
correctness, one for time. The layers are the source documents'."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from app.domain.attempts import Attempts
from app.ml.features.vocabulary import IDS, Vocabulary
from app.ml.networks.inference import EPSILON, Arrays, Floats, Places, ServedNetwork, Singles, relu
from app.ml.networks.network import Examples, Network, TrainingSchedule, Weights
from app.ml.networks.scale import Scale

BATCH_MEMORY = 0.9  # of the batch norms; the usual 0.99 lags behind on some dozen batches
SCHEDULE = TrainingSchedule(monotonicity=5.0)


@dataclass(frozen=True)
class V2(Network):
    """One task an example."""

    name: ClassVar[str] = "embedding_v2"
    link: ClassVar[Any] = "softplus"
    bounds: ClassVar[Mapping[str, tuple[int, int]]] = {"student": (16, 64), "topic": (8, 32), "item": (8, 32)}
    readers: ClassVar[tuple[str, ...]] = ("dense_1",)

    schedule: TrainingSchedule = SCHEDULE
    units: tuple[int, ...] = (128, 64, 32, 16)
    norms: int = 2  # batch norms behind the first so many layers
    dropouts: tuple[float, ...] = (0.3, 0.2, 0.1)  # behind the first layers

    def examples(
        self, attempts: Attempts, rows: NDArray[np.intp], vocabulary: Vocabulary, inputs: Singles, scale: Scale
    ) -> Examples:
        ids = dict(zip(IDS, vocabulary.places(attempts)[:, rows], strict=True))
        return Examples({**ids, "inputs": scale.singles(inputs, rows)}, rows)

    def hidden(self, inputs: dict[str, Any], vectors: dict[str, Any], *, learning: bool) -> Any:
        from keras import layers

        x = layers.Concatenate()([*(vectors[name](inputs[name]) for name in IDS), inputs["inputs"]])
        for place, units in enumerate(self.units, start=1):
            x = layers.Dense(units, activation="relu", name=f"dense_{place}")(x)
            if place <= self.norms:
                x = layers.BatchNormalization(momentum=BATCH_MEMORY, epsilon=EPSILON, name=f"norm_{place}")(x)
            if place <= len(self.dropouts):
                x = layers.Dropout(self.dropouts[place - 1])(x)
        return x

    def served(self, weights: Weights, metadata: dict[str, Any]) -> ServedNetwork:
        return ServedV2(self, weights, metadata)


class ServedV2(ServedNetwork):
    """Each id is led through the first layer once and for all, each batch norm folded into the layer behind it."""

    def prepare(self, weights: Arrays) -> None:
        w = {name: np.asarray(array, np.float64) for name, array in weights.items()}
        kernel, bias = w["dense_1/kernel"], w["dense_1/bias"][:, None]
        through = []
        for table in self.tables:
            through.append((table.astype(np.float64) @ kernel[:, : table.shape[2]]).astype(np.float32))  # (2, k, 128)
            kernel = kernel[:, table.shape[2] :]
        self.tables = through
        layers = [(kernel / np.sqrt(self.scale.variance)[:, None], bias)]
        behind = [f"dense_{place}" for place in range(2, len(self.kind.units) + 1)]  # type: ignore[attr-defined]
        for place, layer in enumerate([*behind, "score"], start=1):
            kernel = self.score_kernel.astype(np.float64) if layer == "score" else w[f"{layer}/kernel"]
            bias = self.score_bias.astype(np.float64) if layer == "score" else w[f"{layer}/bias"][:, None]
            if (norm := f"norm_{place}/gamma") in w:
                gain = w[norm] / np.sqrt(w[f"norm_{place}/moving_variance"] + EPSILON)
                shift = w[f"norm_{place}/beta"] - w[f"norm_{place}/moving_mean"] * gain
                bias, kernel = bias + shift[:, None] @ kernel, gain[..., None] * kernel
            layers.append((kernel, bias))
        self._layers = [(kernel.astype(np.float32), bias.astype(np.float32)) for kernel, bias in layers]

    def scores(self, ids: Sequence[Places | slice], inputs: Floats, past: Any = None) -> Floats:
        first, *behind = self._layers
        # The mean is taken off before single precision, of which it would use up some digits.
        centred = (self.scale.transformed(inputs) - self.scale.mean).astype(np.float32)
        x = centred @ first[0] + first[1]  # (2, n, 128)
        for table, places in zip(self.tables, ids, strict=True):
            x += table[:, places]
        for kernel, bias in behind:
            x = relu(x) @ kernel + bias
        return np.asarray(x[..., 0], np.float64)


@dataclass(frozen=True)
class JointV2(V2):
    """V2 with one network for both outputs (multi-task learning: Caruana 1997)."""

    name: ClassVar[str] = "embedding_joint"
    is_joint: ClassVar[bool] = True
