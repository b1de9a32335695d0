"""V2: embeddings of student, topic, difficulty and item beside what is known of the task; one Keras network for
correctness, one for time.

TensorFlow is imported when a network is built, not when this file is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from app.ml.features import COUNT_UNITS, FEATURES, SECONDS_UNIT
from app.ml.inputs import GROUPS, INPUTS, ITEM_UNIT, SESSION_UNIT
from app.ml.numpy_v2 import Weights, transformed

if TYPE_CHECKING:
    import keras

Floats = NDArray[np.float64]
Output = Literal["correctness", "time"]
OUTPUTS: tuple[Output, Output] = ("correctness", "time")

# Inside the network an input x becomes log(1 + unit * x) + factor * x, one of the two being 0: the log of a count, the
# log of seconds; shares stay shares, and what is a logarithm already stays as it is.
COUNTS: dict[str, float] = dict(zip(FEATURES[2::3], COUNT_UNITS.tolist(), strict=True))
COUNTS |= {"session_tasks": SESSION_UNIT, "item_task_count": ITEM_UNIT}


def unit_of(name: str) -> float:
    """What an input is multiplied by to be in tasks or seconds again; 0 for one that is no count, time or share."""
    if name.endswith("_time"):
        return SECONDS_UNIT
    return COUNTS.get(name, 1.0 if name.endswith(("_rate", "_result")) else 0.0)


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many students, topics, difficulties and items have a vector of their own; index 0 is for all others."""

    students: int
    topics: int
    difficulties: int
    items: int

    def lengths(self) -> tuple[int, int, int, int]:
        """Of the vectors of each."""
        return (
            _vector(self.students, 16, 64),
            _vector(self.topics, 8, 32),
            DIFFICULTY_VECTOR,
            _vector(self.items, 8, 32),
        )

    def rows(self) -> tuple[int, int, int, int]:
        """Of the tables of vectors: one more than there are ids."""
        return (self.students + 1, self.topics + 1, self.difficulties + 1, self.items + 1)


@dataclass(frozen=True, slots=True)
class Tables:
    """The shapes of the four tables of vectors."""

    rows: tuple[int, int, int, int]
    lengths: tuple[int, int, int, int]


IDS = ("student", "topic", "difficulty", "item")
DIFFICULTY_VECTOR = 4
EMBEDDING_START = 0.02  # so that an id seen twice hardly differs from one never seen
BATCH_MEMORY = 0.9  # of the batch norms; the usual 0.99 lags behind on some dozen batches
DROPOUTS = (0.3, 0.2, 0.1)  # after the first three layers


def _vector(ids: int, least: int, most: int) -> int:
    return min(max(int(ids**0.25 * 8), least), most)


@dataclass(frozen=True, slots=True)
class Scale:
    """What a network learns from its rows before the training begins."""

    low: tuple[float, ...]  # (24,) the least of each input; what is beyond low and high counts as these
    high: tuple[float, ...]  # (24,)
    units: tuple[float, ...]  # (24,) of what enters as a logarithm, else 0
    factors: tuple[float, ...]  # (24,) of what enters as it is, else 0
    mean: tuple[float, ...]  # (24,) of the transformed inputs
    variance: tuple[float, ...]  # (24,)
    seconds: float  # typical time: the time network answers in multiples of it

    @classmethod
    def of(cls, inputs: Floats, seconds: Floats, groups: Sequence[str]) -> "Scale":
        """From the rows to learn from, (n, 24) and (n,); one that `groups` do not name is 0 for all."""
        names = {name for group in groups for name in GROUPS.get(group, (group,))}
        units = [unit_of(name) if name in names else 0.0 for name in INPUTS]
        factors = [float(name in names and unit_of(name) == 0) for name in INPUTS]
        low, high = inputs.min(axis=0), inputs.max(axis=0)
        past = transformed(inputs, low, high, np.array(units), np.array(factors))
        columns = (low, high, np.array(units), np.array(factors), past.mean(axis=0), past.var(axis=0) + LEAST_VARIANCE)
        kept: list[tuple[float, ...]] = [tuple(column.tolist()) for column in columns]
        return cls(kept[0], kept[1], kept[2], kept[3], kept[4], kept[5], float(np.exp(np.log(seconds).mean())))

    def normalised(self, inputs: Floats) -> Floats:
        """As the first dense layer sees them, (n, 24)."""
        past = transformed(inputs, *map(np.array, (self.low, self.high, self.units, self.factors)))
        normal: Floats = (past - self.mean) / np.sqrt(self.variance)
        return normal


LEAST_VARIANCE = 0.01  # of a transformed input, where all rows have the same


def network(sizes: Sizes, output: Output, scale: Scale, seed: int = 0) -> "keras.Model":
    """An untrained network: ids of student, topic, difficulty, item (n,) each and inputs (n, 24) -> (n, 1)."""
    import keras
    from keras import layers

    ids, vectors = _embeddings(Tables(sizes.rows(), sizes.lengths()), seed)
    inputs = keras.Input((len(INPUTS),), name="inputs")
    within = keras.ops.clip(inputs, list(scale.low), list(scale.high))
    logs = keras.ops.log1p(layers.Rescaling(list(scale.units), name="units")(within))
    past = layers.Add()([logs, layers.Rescaling(list(scale.factors), name="factors")(within)])
    past = layers.Normalization(mean=list(scale.mean), variance=list(scale.variance), name="past")(past)
    score = _score(_last([*vectors, past], seed), "score")
    if output == "correctness":
        answer = layers.Activation("sigmoid")(score)
    else:
        answer = layers.Rescaling(scale.seconds, name="seconds")(layers.Activation("softplus")(score))
    return keras.Model([*ids, inputs], answer, name=output)


def trunk(tables: Tables) -> "keras.Model":
    """The same network between normalised inputs and the score before sigmoid or softplus; it has all the weights.

    Beside the score it gives a guess at what the other network is asked, from the same 16 numbers: (n, 1) each.
    """
    import keras

    ids, vectors = _embeddings(tables, seed=0)
    past = keras.Input((len(INPUTS),), name="past")
    last = _last([*vectors, past], seed=0)
    return keras.Model([*ids, past], [_score(last, "score"), _score(last, "other")])


def _score(last: "keras.KerasTensor", name: str) -> "keras.KerasTensor":
    from keras import layers

    return layers.Dense(1, kernel_initializer="zeros", name=name)(last)


def _last(known: list["keras.KerasTensor"], seed: int) -> "keras.KerasTensor":
    """What is made of the vectors and the past, (n, 16)."""
    from keras import layers

    x = layers.Concatenate()(known)
    x = _dense(128, seed)(x)
    x = layers.BatchNormalization(momentum=BATCH_MEMORY, name="norm_128")(x)
    x = layers.Dropout(DROPOUTS[0], seed=seed)(x)
    x = _dense(64, seed)(x)
    x = layers.BatchNormalization(momentum=BATCH_MEMORY, name="norm_64")(x)
    x = layers.Dropout(DROPOUTS[1], seed=seed + 1)(x)
    x = _dense(32, seed)(x)
    x = layers.Dropout(DROPOUTS[2], seed=seed + 2)(x)
    return _dense(16, seed)(x)


def _embeddings(tables: Tables, seed: int) -> tuple[list["keras.KerasTensor"], list["keras.KerasTensor"]]:
    """The four id inputs and their vectors, which start close to nothing."""
    import keras
    from keras import layers

    ids, vectors = [], []
    for name, rows, length in zip(IDS, tables.rows, tables.lengths, strict=True):
        ids.append(keras.Input((), dtype="int32", name=name))
        small = keras.initializers.RandomUniform(-EMBEDDING_START, EMBEDDING_START, seed=seed + len(ids))
        vector = layers.Embedding(rows, length, embeddings_initializer=small, name=f"{name}_vector")
        vectors.append(vector(ids[-1]))
    return ids, vectors


def _dense(units: int, seed: int) -> "keras.Layer":
    from keras import initializers, layers

    start = initializers.GlorotUniform(seed=seed + units)
    return layers.Dense(units, activation="relu", kernel_initializer=start, name=f"dense_{units}")


def folded(models: tuple["keras.Model", "keras.Model"], scale: Scale) -> Weights:
    """The trained networks as the arrays that are served."""
    pairs = [_folded(model, scale) for model in models]
    both = {name: np.stack([pair[name] for pair in pairs]).astype(np.float32) for name in pairs[0]}
    low, high, units, factors = map(np.array, (scale.low, scale.high, scale.units, scale.factors))
    return Weights(low, high, units, factors, seconds=np.array(scale.seconds), **both)


def _folded(model: "keras.Model", scale: Scale) -> dict[str, Floats]:
    """One network: ids through the first dense layer, each normalisation into the dense layer that follows it."""

    def weights(name: str) -> list[Floats]:
        return [np.asarray(array, np.float64) for array in model.get_layer(name).get_weights()]

    kernel, bias = weights("dense_128")
    own: dict[str, Floats] = {}
    for name in IDS:
        (vectors,) = weights(f"{name}_vector")
        share, kernel = kernel[: vectors.shape[1]], kernel[vectors.shape[1] :]
        own[name] = vectors @ share
    kernel = kernel / np.sqrt(scale.variance)[:, None]
    own["kernel_1"], own["bias_1"] = kernel, (bias - scale.mean @ kernel)[None]
    layers = (("dense_64", "norm_128"), ("dense_32", "norm_64"), ("dense_16", None), ("score", None))
    for place, (dense, norm) in enumerate(layers, start=2):
        kernel, bias = weights(dense)
        if norm:
            gain, centre, mean, variance = weights(norm)
            gain = gain / np.sqrt(variance + model.get_layer(norm).epsilon)
            bias = bias + (centre - mean * gain) @ kernel
            kernel = gain[:, None] * kernel
        own[f"kernel_{place}"], own[f"bias_{place}"] = kernel, bias[None]
    return own
