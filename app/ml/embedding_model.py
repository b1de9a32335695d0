"""The LSTM: it reads a student's finished tasks, one after another; what it kept, the task to come and the inputs give
the answer. One Keras network for correctness, one for time.

Only finished tasks are steps. A task to come is asked beside them, so that every answer of a student, overlapping
tasks too, is read from one causal pass. TensorFlow is imported when a network is built, not when this file is.
"""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from app.domain.attempts import plausible
from app.ml.features import COUNT_UNITS, SECONDS_UNIT
from app.ml.inputs import GROUPS, INPUTS, ITEM_UNIT, SESSION_UNIT

if TYPE_CHECKING:
    import keras

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Output = Literal["correctness", "time"]
OUTPUTS: tuple[Output, Output] = ("correctness", "time")
IDS = ("student", "topic", "difficulty", "item")
RESULTS = 3  # numbers told of a finished task: right or wrong, log seconds, log seconds since the finish before

FIRST, SECOND, THIRD, FOURTH = 64, 32, 32, 16  # LSTM, LSTM, dense, dense
STATE_DROPOUT = 0.2  # after each LSTM
HEAD_DROPOUT = 0.1  # after the first dense layer
MOST_SD = 3.0  # standard deviations: a number further off is taken for this
LEAST_VARIANCE = 0.01
DIFFICULTY_VECTOR = 4
EMBEDDING_START = 0.02  # so that an id seen twice hardly differs from one never seen

_UNITS = {"_task_count": COUNT_UNITS[1], "_time": SECONDS_UNIT}
UNITS = np.array(
    [
        {"overall_task_count": COUNT_UNITS[0], "item_task_count": ITEM_UNIT, "session_tasks": SESSION_UNIT}.get(
            name, next((unit for end, unit in _UNITS.items() if name.endswith(end)), 0.0)
        )
        for name in INPUTS
    ]
)  # an input x that is a count or a time becomes log(1 + unit * x); 0: it stays


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many students, topics, difficulties and items have a vector of their own; index 0 is for all others."""

    student: int
    topic: int
    difficulty: int
    item: int

    def vectors(self) -> dict[str, int]:
        """Length of each one's embedding."""
        return {
            "student": _vector(self.student, 8, 64),
            "topic": _vector(self.topic, 4, 32),
            "difficulty": DIFFICULTY_VECTOR,
            "item": _vector(self.item, 4, 32),
        }

    def room(self) -> "Sizes":
        """The next powers of two: one traced graph serves many sizes."""
        return Sizes(*(max(16, 1 << (getattr(self, each.name) - 1).bit_length()) for each in fields(self)))


def _vector(ids: int, least: int, most: int) -> int:
    return min(max(int(ids**0.25 * 8), least), most)


@dataclass(frozen=True, slots=True)
class Scale:
    """What a network learns from its rows before the training begins."""

    inputs_mean: tuple[float, ...]  # (24,) of the transformed inputs
    inputs_sd: tuple[float, ...]
    results_mean: tuple[float, ...]  # (3,)
    results_sd: tuple[float, ...]
    used: tuple[float, ...]  # (24,) 1, or 0 for an input that is left out
    seconds: float  # typical time: the time network answers in multiples of it

    @classmethod
    def seen(cls, inputs: Floats, results: Floats, seconds: Floats, groups: tuple[str, ...]) -> "Scale":
        """From n raw inputs (n, 24), results (n, 3) and times."""
        x = transformed(inputs)
        mean, sd = x.mean(axis=0), _sd(x)
        used = [float(any(name in GROUPS[group] for group in groups)) for name in INPUTS]
        return cls(
            *(tuple(mean.tolist()), tuple(sd.tolist())),
            *((0.0, *results[:, 1:].mean(axis=0).tolist()), (1.0, *_sd(results[:, 1:]).tolist())),
            *(tuple(used), float(np.exp(np.log(plausible(seconds)).mean()))),
        )

    def of_inputs(self, inputs: Floats) -> Singles:
        """As the networks see them, (n, 24)."""
        x = (transformed(inputs) - self.inputs_mean) / np.array(self.inputs_sd)
        return np.asarray(np.clip(x, -MOST_SD, MOST_SD) * np.array(self.used), np.float32)

    def of_results(self, results: Floats) -> Singles:
        """As the networks see them, (n, 3)."""
        x = (results - self.results_mean) / np.array(self.results_sd)
        return np.asarray(np.clip(x, -MOST_SD, MOST_SD), np.float32)


def _sd(x: Floats) -> Floats:
    return np.asarray(np.sqrt(x.var(axis=0) + LEAST_VARIANCE))


def transformed(inputs: Floats) -> Floats:
    """Counts and times as logarithms, the rest as it is; (n, 24)."""
    return np.where(UNITS > 0, np.log1p(np.maximum(inputs, 0) * UNITS), inputs)


def shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """Every weight of one network, in the order of Keras' layers."""
    length = sizes.vectors()
    names = sum(length.values())
    tables = {f"{name}_vector": (getattr(sizes, name) + 1, length[name]) for name in IDS}
    return tables | {
        "lstm_64_kernel": (names + RESULTS, 4 * FIRST),
        "lstm_64_recurrent": (FIRST, 4 * FIRST),
        "lstm_64_bias": (4 * FIRST,),
        "lstm_32_kernel": (FIRST, 4 * SECOND),
        "lstm_32_recurrent": (SECOND, 4 * SECOND),
        "lstm_32_bias": (4 * SECOND,),
        "dense_32_kernel": (names + len(INPUTS) + SECOND, THIRD),
        "dense_32_bias": (THIRD,),
        "dense_16_kernel": (THIRD, FOURTH),
        "dense_16_bias": (FOURTH,),
        "score_kernel": (FOURTH, 1),
        "score_bias": (1,),
    }


LAYERS = (*(f"{name}_vector" for name in IDS), "lstm_64", "lstm_32", "dense_32", "dense_16", "score")


def network(sizes: Sizes, output: Output, scale: Scale) -> "keras.Model":
    """A network without its weights (see `start_weights`, `set_weights`).

    It answers (n, 1) from n tasks and, of each, the s steps of its past: none, or more.
    Inputs by name: student, topic, difficulty, item (n,); inputs (n, 24); past_topic, past_difficulty, past_item
    (n, s); past_results (n, s, 3); past_there (n, s), 1 for a step and 0 for padding behind the last.
    """
    import keras
    from keras import layers, ops

    tables = {
        name: layers.Embedding(getattr(sizes, name) + 1, length, name=f"{name}_vector")
        for name, length in sizes.vectors().items()
    }
    asked = {name: keras.Input((), dtype="int32", name=name) for name in IDS}
    past = {name: keras.Input((None,), dtype="int32", name=f"past_{name}") for name in IDS[1:]}
    told = keras.Input((None, RESULTS), name="past_results")
    there = keras.Input((None,), name="past_there")
    inputs = keras.Input((len(INPUTS),), name="inputs")

    vectors = [tables[name](asked[name]) for name in IDS]
    whose = ops.expand_dims(vectors[0], 1) * ops.expand_dims(there, -1)  # (n, s, length): the student at every step
    each = [whose, *(tables[name](past[name]) for name in IDS[1:]), _normal(told, scale.results_mean, scale.results_sd)]
    mask = ops.greater(there, 0)  # by hand: Concatenate would drop it silently
    x = layers.LSTM(FIRST, return_sequences=True, name="lstm_64")(layers.Concatenate()(each), mask=mask)
    x = layers.Dropout(STATE_DROPOUT)(x)
    x = layers.LSTM(SECOND, name="lstm_32")(x, mask=mask)
    state = layers.Dropout(STATE_DROPOUT)(x)
    score = _score([*vectors, _inputs(inputs, scale), state])
    if output == "correctness":
        answer = layers.Activation("sigmoid")(score)
    else:
        answer = layers.Rescaling(scale.seconds, name="seconds")(layers.Activation("exponential")(score))
    return keras.Model([*asked.values(), inputs, *past.values(), told, there], answer, name=output)


def _inputs(raw: "keras.KerasTensor", scale: Scale) -> "keras.KerasTensor":
    """`Scale.of_inputs` inside the network."""
    from keras import layers, ops

    logs = ops.log1p(layers.Rescaling(UNITS.tolist(), name="units")(ops.relu(raw)))
    rest = layers.Rescaling((UNITS == 0).astype(float).tolist(), name="rest")(raw)
    x = _normal(logs + rest, scale.inputs_mean, scale.inputs_sd)
    return layers.Rescaling(list(scale.used), name="used")(x)


def _normal(x: "keras.KerasTensor", mean: tuple[float, ...], sd: tuple[float, ...]) -> "keras.KerasTensor":
    from keras import layers, ops

    x = layers.Normalization(mean=list(mean), variance=np.square(sd).tolist())(x)
    return ops.clip(x, -MOST_SD, MOST_SD)


def _score(known: list["keras.KerasTensor"]) -> "keras.KerasTensor":
    """What is learnt from the state, the vectors and the inputs, (n, 1)."""
    from keras import layers

    x = layers.Concatenate()(known)
    x = layers.Dropout(HEAD_DROPOUT)(layers.Dense(THIRD, activation="relu", name="dense_32")(x))
    x = layers.Dense(FOURTH, activation="relu", name="dense_16")(x)
    return layers.Dense(1, name="score")(x)


def start_weights(sizes: Sizes, seed: int) -> list[Singles]:
    """Drawn as Keras would, in the order of `shapes`; without building a network, which takes longer than an epoch."""
    random = np.random.default_rng(seed)
    return [_start(name, shape, random).astype(np.float32) for name, shape in shapes(sizes).items()]


def _start(name: str, shape: tuple[int, ...], random: np.random.Generator) -> Floats:
    if name.endswith("_vector"):  # close to nothing
        return random.uniform(-EMBEDDING_START, EMBEDDING_START, shape)
    if name.endswith("_recurrent"):  # orthogonal (Saxe and others 2013)
        return np.asarray(np.linalg.qr(random.normal(size=shape[::-1]))[0].T)
    if name.endswith("_bias"):
        return np.repeat([0.0, 1.0, 0.0, 0.0], shape[0] // 4) if name.startswith("lstm") else np.zeros(shape)
    if name == "score_kernel":  # no answer yet but the constant
        return np.zeros(shape)
    most = np.sqrt(6 / sum(shape))  # Glorot and Bengio 2010
    return random.uniform(-most, most, shape)


def set_weights(model: "keras.Model", weights: list[Singles]) -> None:
    """Put weights into a network, in the order of `shapes`."""
    left = list(weights)
    for layer in (model.get_layer(name) for name in LAYERS):
        count = len(layer.get_weights())
        layer.set_weights(left[:count])
        left = left[count:]
