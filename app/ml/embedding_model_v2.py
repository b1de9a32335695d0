"""V2: embeddings of student, topic and difficulty beside the eleven features; one Keras network for correctness, one
for time.

TensorFlow is imported when a network is built, not when this file is.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from app.ml.features import COUNT_UNITS, FEATURES, SECONDS_UNIT
from app.ml.numpy_v2 import Weights

if TYPE_CHECKING:
    import keras

Output = Literal["correctness", "time"]
OUTPUTS: tuple[Output, Output] = ("correctness", "time")

# Inside the network a feature x becomes log(1 + unit * x): the log of a count, the log of seconds; shares stay shares.
UNITS = np.array([unit for count in (*COUNT_UNITS, 1) for unit in (1, SECONDS_UNIT, count)][: len(FEATURES)])


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many students, topics and difficulties have a vector of their own; index 0 is for all others."""

    students: int
    topics: int
    difficulties: int

    def student_vector(self) -> int:
        """Length of a student's embedding."""
        return _vector(self.students, 16, 64)

    def topic_vector(self) -> int:
        """Length of a topic's embedding."""
        return _vector(self.topics, 8, 32)


DIFFICULTY_VECTOR = 4
EMBEDDING_START = 0.02  # so that an id seen twice hardly differs from one never seen
BATCH_MEMORY = 0.9  # of the batch norms; the usual 0.99 lags behind on some dozen batches


def _vector(ids: int, least: int, most: int) -> int:
    return min(max(int(ids**0.25 * 8), least), most)


def transformed(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """The features as the networks see them before normalising; (n, 11)."""
    logs: NDArray[np.float64] = np.log1p(features * UNITS)
    return logs


@dataclass(frozen=True, slots=True)
class Scale:
    """What a network learns from its rows before the training begins."""

    mean: tuple[float, ...]  # (11,) of the transformed features
    variance: tuple[float, ...]  # (11,)
    seconds: float  # typical time: the time network answers in multiples of it


def network(sizes: Sizes, output: Output, scale: Scale, seed: int = 0) -> "keras.Model":
    """An untrained network: (student, topic, difficulty, features), batches of (n,), (n,), (n,), (n, 11) -> (n, 1)."""
    import keras
    from keras import layers

    ids, vectors = _embeddings(sizes, seed)
    features = keras.Input((len(FEATURES),), name="features")
    past = keras.ops.log1p(layers.Rescaling(UNITS.tolist(), name="units")(features))
    past = layers.Normalization(mean=list(scale.mean), variance=list(scale.variance), name="past")(past)
    score = _score([*vectors, past], seed)
    if output == "correctness":
        answer = layers.Activation("sigmoid")(score)
    else:
        answer = layers.Rescaling(scale.seconds, name="seconds")(layers.Activation("softplus")(score))
    return keras.Model([*ids, features], answer, name=output)


def trunk(sizes: Sizes) -> "keras.Model":
    """The same network between normalised features and the score before sigmoid or softplus; it has all the weights."""
    import keras

    ids, vectors = _embeddings(sizes, seed=0)
    past = keras.Input((len(FEATURES),), name="past")
    return keras.Model([*ids, past], _score([*vectors, past], seed=0))


def _score(known: list["keras.KerasTensor"], seed: int) -> "keras.KerasTensor":
    """What is learnt from the vectors and the past, (n, 1)."""
    from keras import layers

    x = layers.Concatenate()(known)
    x = _dense(128, seed)(x)
    x = layers.BatchNormalization(momentum=BATCH_MEMORY, name="norm_128")(x)
    x = layers.Dropout(0.3, seed=seed)(x)
    x = _dense(64, seed)(x)
    x = layers.BatchNormalization(momentum=BATCH_MEMORY, name="norm_64")(x)
    x = layers.Dropout(0.2, seed=seed + 1)(x)
    x = _dense(32, seed)(x)
    x = layers.Dropout(0.1, seed=seed + 2)(x)
    x = _dense(16, seed)(x)
    return layers.Dense(1, kernel_initializer="zeros", name="score")(x)


def _embeddings(sizes: Sizes, seed: int) -> tuple[list["keras.KerasTensor"], list["keras.KerasTensor"]]:
    """The three id inputs and their vectors, which start close to nothing."""
    import keras
    from keras import layers

    lengths = {
        "student": (sizes.students, sizes.student_vector()),
        "topic": (sizes.topics, sizes.topic_vector()),
        "difficulty": (sizes.difficulties, DIFFICULTY_VECTOR),
    }
    ids, vectors = [], []
    for name, (known, length) in lengths.items():
        ids.append(keras.Input((), dtype="int32", name=name))
        small = keras.initializers.RandomUniform(-EMBEDDING_START, EMBEDDING_START, seed=seed + len(ids))
        vector = layers.Embedding(known + 1, length, embeddings_initializer=small, name=f"{name}_vector")
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
    return Weights(units=UNITS, seconds=np.array(scale.seconds), **both)


def _folded(model: "keras.Model", scale: Scale) -> dict[str, NDArray[np.float64]]:
    """One network: ids through the first dense layer, each normalisation into the dense layer that follows it."""

    def weights(name: str) -> list[NDArray[np.float64]]:
        return [np.asarray(array, np.float64) for array in model.get_layer(name).get_weights()]

    kernel, bias = weights("dense_128")
    own: dict[str, NDArray[np.float64]] = {}
    for name in ("student", "topic", "difficulty"):
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
