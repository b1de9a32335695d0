"""V2: embeddings of student, topic, difficulty and item beside what is known of the task; one Keras network for
correctness, one for time.

TensorFlow is imported when a network is built, not when this file is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from app.domain.attempts import plausible
from app.ml.features import COUNT_UNITS, FEATURES, SECONDS_UNIT
from app.ml.inputs import GROUPS, INPUTS, ITEM_UNIT, SESSION_UNIT
from app.ml.numpy_v2 import Weights, transformed

if TYPE_CHECKING:
    import keras

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
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


IDS = ("student", "topic", "difficulty", "item")
DIFFICULTY_VECTOR = 4
EMBEDDING_START = 0.02  # so that an id seen twice hardly differs from one never seen
BATCH_MEMORY = 0.9  # of the batch norms; the usual 0.99 lags behind on some dozen batches
LAYERS = (128, 64, 32, 16)  # units
DROPOUTS = (0.3, 0.2, 0.1)  # after the first three layers
NORMS = ("norm_128", "norm_64")  # batch norms behind the first two layers
DENSE, NORM = ("kernel", "bias"), ("gamma", "beta", "mean", "variance")  # in Keras' order
EPSILON = 1e-3  # of the batch norms, as Keras has it


def _vector(ids: int, least: int, most: int) -> int:
    return min(max(int(ids**0.25 * 8), least), most)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of the tables of vectors of student, topic, difficulty and item; row 0 is for all that have none of their own."""

    rows: tuple[int, int, int, int]
    lengths: tuple[int, int, int, int]

    @classmethod
    def of(cls, students: int, topics: int, difficulties: int, items: int) -> "Sizes":
        """For so many names."""
        lengths = (_vector(students, 16, 64), _vector(topics, 8, 32), DIFFICULTY_VECTOR, _vector(items, 8, 32))
        return cls.with_lengths((students, topics, difficulties, items), lengths)

    @classmethod
    def with_lengths(cls, names: Sequence[int], lengths: Sequence[int]) -> "Sizes":
        """For so many names of each, with vectors of these lengths."""
        student, topic, difficulty, item = (count + 1 for count in names)
        return cls((student, topic, difficulty, item), (lengths[0], lengths[1], lengths[2], lengths[3]))


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
        return cls(
            kept[0], kept[1], kept[2], kept[3], kept[4], kept[5], float(np.exp(np.log(plausible(seconds)).mean()))
        )

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> "Scale":
        """Back from `asdict`, through JSON or not."""
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in kept.items()}
        return cls(**values)

    def normalised(self, inputs: Floats) -> Floats:
        """As the first dense layer sees them, (n, 24)."""
        past = transformed(inputs, *map(np.array, (self.low, self.high, self.units, self.factors)))
        normal: Floats = (past - self.mean) / np.sqrt(self.variance)
        return normal


LEAST_VARIANCE = 0.01  # of a transformed input, where all rows have the same


def network(sizes: Sizes, output: Output, scale: Scale) -> "keras.Model":
    """A network without its weights (see `set_weights`): ids of student, topic, difficulty, item (n,) each and inputs
    (n, 24) -> (n, 1)."""
    import keras
    from keras import layers

    ids, vectors = _embeddings(sizes)
    inputs = keras.Input((len(INPUTS),), name="inputs")
    within = keras.ops.clip(inputs, list(scale.low), list(scale.high))
    logs = keras.ops.log1p(layers.Rescaling(list(scale.units), name="units")(within))
    past = layers.Add()([logs, layers.Rescaling(list(scale.factors), name="factors")(within)])
    past = layers.Normalization(mean=list(scale.mean), variance=list(scale.variance), name="past")(past)
    score = layers.Dense(1, name="score")(_last([*vectors, past]))
    if output == "correctness":
        answer = layers.Activation("sigmoid")(score)
    else:
        answer = layers.Rescaling(scale.seconds, name="seconds")(layers.Activation("softplus")(score))
    return keras.Model([*ids, inputs], answer, name=output)


def _last(known: list["keras.KerasTensor"]) -> "keras.KerasTensor":
    """What is made of the vectors and the past, (n, 16)."""
    from keras import layers

    x = layers.Concatenate()(known)
    for place, units in enumerate(LAYERS):
        x = layers.Dense(units, activation="relu", name=f"dense_{units}")(x)
        if place < len(NORMS):
            x = layers.BatchNormalization(momentum=BATCH_MEMORY, epsilon=EPSILON, name=NORMS[place])(x)
        if place < len(DROPOUTS):
            x = layers.Dropout(DROPOUTS[place])(x)
    return x


def _embeddings(sizes: Sizes) -> tuple[list["keras.KerasTensor"], list["keras.KerasTensor"]]:
    """The four id inputs and their vectors."""
    import keras
    from keras import layers

    ids, vectors = [], []
    for name, rows, length in zip(IDS, sizes.rows, sizes.lengths, strict=True):
        ids.append(keras.Input((), dtype="int32", name=name))
        vectors.append(layers.Embedding(rows, length, name=f"{name}_vector")(ids[-1]))
    return ids, vectors


def set_weights(model: "keras.Model", weights: Mapping[str, Singles], which: int) -> None:
    """Put the weights of one of both networks (0: correctness, 1: time) into its Keras model."""
    for name in IDS:
        model.get_layer(f"{name}_vector").set_weights([weights[f"{name}_vector"][which]])
    for units in LAYERS:
        model.get_layer(f"dense_{units}").set_weights([weights[f"dense_{units}_{part}"][which] for part in DENSE])
    for norm in NORMS:
        model.get_layer(norm).set_weights([weights[f"{norm}_{part}"][which] for part in NORM])
    kernel, bias = (weights[f"score_{part}"][which] for part in DENSE)
    model.get_layer("score").set_weights([kernel[:, which : which + 1], bias[which : which + 1]])


def folded(weights: Mapping[str, Singles], scale: Scale) -> Weights:
    """The trained networks as the arrays that are served."""
    pairs = [_folded(weights, which, scale) for which in range(len(OUTPUTS))]
    both = {name: np.stack([pair[name] for pair in pairs]).astype(np.float32) for name in pairs[0]}
    low, high, units, factors = map(np.array, (scale.low, scale.high, scale.units, scale.factors))
    return Weights(low, high, units, factors, seconds=np.array(scale.seconds), **both)


def _folded(weights: Mapping[str, Singles], which: int, scale: Scale) -> dict[str, Floats]:
    """One network: ids through the first dense layer, each normalisation into the dense layer that follows it."""
    w = {name: np.asarray(array[which], np.float64) for name, array in weights.items()}
    kernel, bias = w["dense_128_kernel"], w["dense_128_bias"]
    own: dict[str, Floats] = {}
    for name in IDS:
        vectors = w[f"{name}_vector"]
        share, kernel = kernel[: vectors.shape[1]], kernel[vectors.shape[1] :]
        own[name] = vectors @ share
    kernel = kernel / np.sqrt(scale.variance)[:, None]
    own["kernel_1"], own["bias_1"] = kernel, (bias - scale.mean @ kernel)[None]
    layers = (("dense_64", "norm_128"), ("dense_32", "norm_64"), ("dense_16", None), ("score", None))
    for place, (dense, norm) in enumerate(layers, start=2):
        kernel, bias = w[f"{dense}_kernel"], w[f"{dense}_bias"]
        if dense == "score":  # the guess beside it is dropped
            kernel, bias = kernel[:, which : which + 1], bias[which : which + 1]
        if norm:
            gain = w[f"{norm}_gamma"] / np.sqrt(w[f"{norm}_variance"] + EPSILON)
            bias = bias + (w[f"{norm}_beta"] - w[f"{norm}_mean"] * gain) @ kernel
            kernel = gain[:, None] * kernel
        own[f"kernel_{place}"], own[f"bias_{place}"] = kernel, bias[None]
    return own
