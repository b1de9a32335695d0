"""The LSTM as the source documents describe it: one padded sequence per prefix of a student's tasks, Keras `fit`.

Its steps are the tasks themselves, the one asked for last: student, topic, difficulty and normalised timestamp, no past
results. Correctness and time are two models.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.domain.attempts import DIFFICULTIES, Attempts

Floats = NDArray[np.float64]
VALIDATION = 0.2  # share, the newest
PATIENCE = 5  # epochs
BATCH = 32
EPOCHS = 50
IDS = ("student", "topic", "difficulty")


@dataclass
class Documents:
    """Both fitted models and what their inputs were normalised by."""

    models: list[Any]
    longest: int  # steps that every sequence is padded to
    start: float
    span: float
    epochs: list[int]

    def predict(self, attempts: Attempts, rows: NDArray[np.intp]) -> tuple[Floats, Floats]:
        """Probabilities and seconds of these rows, (m,) each."""
        inputs = _prefixes(attempts, rows, self.longest, self.start, self.span)
        p, seconds = (model.predict(inputs, verbose=0)[:, 0].astype(np.float64) for model in self.models)
        return p, seconds


def fit(attempts: Attempts, epochs: int = EPOCHS, seed: int = 0) -> Documents:
    """Train both models on n tasks."""
    import keras

    keras.utils.set_random_seed(seed)
    start, span = float(attempts.started.min()), float(np.ptp(attempts.started)) + 1.0
    longest = int(np.bincount(attempts.student).max())
    inputs = _prefixes(attempts, np.arange(len(attempts)), longest, start, span)
    cut = round(len(attempts) * (1 - VALIDATION))
    models, ran = [], []
    for output, target in (("sigmoid", attempts.correct.astype(np.float32)), ("exponential", attempts.seconds)):
        model = _network(attempts, output)
        stop = keras.callbacks.EarlyStopping(patience=PATIENCE, restore_best_weights=True)
        history = model.fit(
            {name: column[:cut] for name, column in inputs.items()},
            target[:cut],
            validation_data=({name: column[cut:] for name, column in inputs.items()}, target[cut:]),
            batch_size=BATCH,
            epochs=epochs,
            callbacks=[stop],
            verbose=0,
        )
        models.append(model)
        ran.append(len(history.epoch))
    return Documents(models, longest, start, span, ran)


def _network(attempts: Attempts, output: str) -> Any:
    import keras
    from keras import layers, ops

    sizes = {
        "student": (len(attempts.students), _vector(len(attempts.students), 8, 64)),
        "topic": (len(attempts.topics), _vector(len(attempts.topics), 4, 32)),
        "difficulty": (len(DIFFICULTIES), 4),
    }
    ids = {name: keras.Input((None,), dtype="int32", name=name) for name in IDS}
    at = keras.Input((None, 1), name="at")
    x = layers.Concatenate()([*(layers.Embedding(n + 1, d)(ids[name]) for name, (n, d) in sizes.items()), at])
    mask = ops.not_equal(ids["student"], 0)
    x = layers.LSTM(64, return_sequences=True)(x, mask=mask)
    x = layers.LSTM(32)(layers.Dropout(0.2)(x), mask=mask)
    x = layers.Dense(32, activation="relu")(layers.Dropout(0.2)(x))
    x = layers.Dense(16, activation="relu")(layers.Dropout(0.2)(x))
    model = keras.Model([*ids.values(), at], layers.Dense(1, activation=output)(x))
    # Squared error of seconds explodes behind an exponential; that of the log time is what is compared.
    model.compile("adam", "binary_crossentropy" if output == "sigmoid" else "mean_squared_logarithmic_error")
    return model


def _vector(ids: int, least: int, most: int) -> int:
    return min(max(int(ids**0.25 * 8), least), most)


def _prefixes(
    attempts: Attempts, rows: NDArray[np.intp], longest: int, start: float, span: float
) -> dict[str, NDArray[Any]]:
    """For each row, the student's tasks up to it; 0 behind the last, the oldest dropped where there are too many."""
    columns = {name: getattr(attempts, name) for name in IDS}
    inputs: dict[str, NDArray[Any]] = {name: np.zeros((len(rows), longest), np.int32) for name in IDS}
    inputs["at"] = np.zeros((len(rows), longest, 1), np.float32)
    for place, row in enumerate(rows):
        prefix = np.flatnonzero(attempts.student[: row + 1] == attempts.student[row])[-longest:]
        for name, column in columns.items():
            inputs[name][place, : len(prefix)] = column[prefix] + 1
        inputs["at"][place, : len(prefix), 0] = (attempts.started[prefix] - start) / span
    return inputs
