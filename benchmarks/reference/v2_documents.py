"""V2 as the source documents train it: two Keras networks on the eleven features, `fit` with batches of 32.

Written down small and honest, to measure against: the layers and sizes of the documents, Adam as it comes, features
computed as ours are (the documents' row by row took minutes for what this measures in seconds).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.domain.attempts import DIFFICULTIES, Attempts
from app.ml.features.history import FEATURES
from app.ml.features.inputs import inputs_of, known_before

Floats = NDArray[np.float64]
EPOCHS = 50
BATCH = 32


@dataclass
class Documents:
    """Both networks: correctness, time."""

    correctness: Any
    time: Any

    def fit(self, attempts: Attempts, epochs: int = EPOCHS, batch: int = BATCH) -> None:
        """Train both on n tasks."""
        inputs = self.inputs(attempts)
        self.correctness.fit(inputs, attempts.correct.astype(np.float32), batch_size=batch, epochs=epochs, verbose=0)
        self.time.fit(inputs, attempts.seconds.astype(np.float32), batch_size=batch, epochs=epochs, verbose=0)

    def predict(self, attempts: Attempts) -> tuple[Floats, Floats]:
        """Probabilities and seconds, (n,) each."""
        inputs = self.inputs(attempts)
        return tuple(m.predict(inputs, verbose=0, batch_size=8192)[:, 0].astype(np.float64) for m in self.both())

    def both(self) -> tuple[Any, Any]:
        return self.correctness, self.time

    @staticmethod
    def inputs(attempts: Attempts) -> list[NDArray[Any]]:
        """Student, topic, difficulty as positions, and the eleven features."""
        past = inputs_of(known_before(attempts))[:, : len(FEATURES)].astype(np.float32)
        return [attempts.student, attempts.topic, attempts.difficulty, past]


def untrained(attempts: Attempts, seed: int = 0) -> Documents:
    """Networks for the ids of these attempts."""
    import keras

    keras.utils.set_random_seed(seed)
    return Documents(_network(attempts, "sigmoid", "binary_crossentropy"), _network(attempts, "softplus", "mse"))


def _network(attempts: Attempts, output: str, loss: str) -> Any:
    import keras
    from keras import layers

    sizes = (
        (len(attempts.students), _vector(len(attempts.students), 16, 64)),
        (len(attempts.topics), _vector(len(attempts.topics), 8, 32)),
        (len(DIFFICULTIES), 4),
    )
    ids = [keras.Input((), dtype="int32") for _ in sizes]
    past = keras.Input((11,))
    vectors = [layers.Embedding(count, length)(each) for each, (count, length) in zip(ids, sizes, strict=True)]
    x = layers.Concatenate()([*vectors, past])
    for units, dropout in ((128, 0.3), (64, 0.2)):
        x = layers.Dense(units, activation="relu")(x)
        x = layers.Dropout(dropout)(layers.BatchNormalization()(x))
    x = layers.Dropout(0.1)(layers.Dense(32, activation="relu")(x))
    x = layers.Dense(16, activation="relu")(x)
    model = keras.Model([*ids, past], layers.Dense(1, activation=output)(x))
    model.compile("adam", loss)
    return model


def _vector(ids: int, least: int, most: int) -> int:
    return min(max(int(ids**0.25 * 8), least), most)
