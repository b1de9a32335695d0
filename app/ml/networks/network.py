"""The contract of a network: how its inputs are made, its layers in Keras, its forward pass without TensorFlow.

TensorFlow is imported when a network is built, not when this file is.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from app.domain.attempts import Attempts
from app.ml.features.inputs import INPUT_GROUPS, NETWORK_INPUTS
from app.ml.features.vocabulary import IDS, Rows, Vocabulary
from app.ml.networks.scale import Scale

if TYPE_CHECKING:
    import keras

    from app.ml.networks.inference import ServedNetwork

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Weights = Mapping[str, Singles]  # by name; the first axis is the network: correctness, time
Output = Literal["correctness", "time"]
OUTPUTS: tuple[Output, Output] = ("correctness", "time")
ASKED = "asked"  # the axis of the tasks that an example asks: see Network.axes
DIFFICULTY_VECTOR = 4
EMBEDDING_START = 0.02  # so that an id seen twice hardly differs from one never seen
RATES = tuple(place for place, name in enumerate(NETWORK_INPUTS[:11]) if name.endswith("_rate"))
TIMES = tuple(place for place, name in enumerate(NETWORK_INPUTS[:11]) if name.endswith("_time"))


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of the embeddings of student, topic, difficulty and item: rows, row 0 being for all unknown, and lengths."""

    rows: tuple[int, ...]
    lengths: tuple[int, ...]

    def room(self) -> "Sizes":
        """At least as large, in steps: what is compiled for it serves many sizes."""
        return Sizes(
            tuple(max(16, 1 << (rows - 1).bit_length()) for rows in self.rows),
            tuple(-(-length // 8) * 8 if length > DIFFICULTY_VECTOR else length for length in self.lengths),
        )

    def tables(self) -> list[tuple[str, int, int]]:
        return list(zip(IDS, self.rows, self.lengths, strict=True))


@dataclass(frozen=True, slots=True)
class TrainingSchedule:
    """How a network learns. A batch is counted in tasks; steps are batches."""

    batch: tuple[int, int, int] = (16, 64, 512)  # tasks: the least, what is enough while there are few, the most
    steps: int = 64  # batches of an epoch, where there are tasks enough
    epochs: tuple[int, int] = (5, 25)  # the least and the most
    updates: int = 0  # steps that a training should have at the least, had it all its epochs
    patience: int = 6  # epochs without a better one
    least_gain: float = 0.0  # share of the loss that an epoch has to be better by, on 5,000 newest tasks
    rate: float = 3e-3  # learning rate at its highest, falling to 0 along half a cosine
    usual_batch: int = 128  # tasks; smaller ones say less: the rate falls, and with `decay_holds` decay rises
    rate_power: float = 0.5  # of the share of the usual batch
    decay_holds: bool = True
    warm_up: int = 0  # steps
    decay: float = 0.3  # share of a kernel or vector given back at each step, times rate (Loshchilov, Hutter 2019)
    ema_horizon: tuple[int, float] = (400, 1.0)  # steps, epochs: how far the mean weights reach back, the longer one
    id_dropout: tuple[float, ...] = (0.9, 0.02, 0.02, 0.02)  # chance that a student, topic, ... is shown as unknown
    monotonicity: float = 0.0  # what a score's fall costs where a success rate (an average time) alone rises, in losses
    clip_norm: float = 0.0  # that a network's gradient is cut to; 0: it is not
    most_rows: int = 500_000  # that a training from scratch learns from, whole students of them
    again_from: int = 0  # tasks; with fewer the held-out ones are not learnt from
    passes: int = 3  # over the examples of an update
    intercept_sd: float = 0.03  # of the calibration's prior for a level that all students share, logits


@dataclass(frozen=True, slots=True)
class Examples:
    """What a network learns from or is asked: e examples as columns, each with one task or, in a sequence, several."""

    columns: Mapping[str, NDArray[Any]]  # (e, ...) inputs by name; numbers are scaled
    rows: NDArray[np.intp]  # (e,) or (e, a): row of the attempts that is asked, -1 for padding
    lengths: Mapping[str, NDArray[np.int32]] = field(default_factory=dict)  # (e,) how much of each axis is no padding

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, chosen: NDArray[np.intp]) -> "Examples":
        """Only these, in this order."""
        return Examples(
            {name: column[chosen] for name, column in self.columns.items()},
            self.rows[chosen],
            {axis: length[chosen] for axis, length in self.lengths.items()},
        )

    def tasks(self) -> NDArray[np.intp]:
        """How many tasks each example asks, (e,)."""
        return np.asarray((self.rows.reshape(len(self.rows), -1) >= 0).sum(axis=1))


@dataclass(frozen=True)
class Network(ABC):
    """A kind of network. Its fields are what may be tuned; two with equal fields share what was compiled."""

    name: ClassVar[str]
    link: ClassVar[Literal["softplus", "exponential"]]  # from the time's score to multiples of the base's time
    is_joint: ClassVar[bool] = False  # one network for both outputs
    bounds: ClassVar[Mapping[str, tuple[int, int]]]  # of the length of each kind of vector
    readers: ClassVar[tuple[str, ...]]  # layers whose kernels read the four vectors, before anything else
    axes: ClassVar[Mapping[str, str]] = {}  # inputs that have a second axis, and what it counts: see Examples.lengths

    schedule: TrainingSchedule = TrainingSchedule()
    groups: tuple[str, ...] = tuple(INPUT_GROUPS)  # of the inputs that are used
    vector: float = 8.0  # a vector's length is the fourth root of the number of ids times this, within its bounds

    def inputs(self) -> dict[str, tuple[tuple[int | None, ...], str]]:
        """Shape without the first axis, and type, of each input, for one task an example: the four ids, `inputs`, and
        what else a network takes. Their order is that of the saved Keras models' inputs."""
        return {**dict.fromkeys(IDS, ((), "int32")), "inputs": ((len(NETWORK_INPUTS),), "float32")}

    @abstractmethod
    def examples(
        self, attempts: Attempts, rows: NDArray[np.intp], vocabulary: Vocabulary, inputs: Singles, scale: Scale
    ) -> Examples:
        """Ask about these rows of n attempts; `inputs` (n, 26) are raw."""

    @abstractmethod
    def hidden(self, inputs: dict[str, Any], vectors: dict[str, Any], *, learning: bool) -> Any:
        """The Keras layers before the last: scaled inputs by name and the layers of vectors by kind of id, to (..., u).

        Each layer in `readers` takes the four vectors first, in the order of `IDS`, and then all else. Every layer that
        has weights has a name, by which `served` finds them. With `learning` they may be computed in a faster way that
        Keras can't save; their weights are the same.
        """

    def layers(self, sizes: Sizes, outputs: int, *, learning: bool = False) -> "keras.Model":
        """Scaled inputs by name -> scores, one column an output: chance and time, before sigmoid and link."""
        import keras
        from keras import layers

        inputs = {
            name: keras.Input((None, *shape) if self.axes.get(name) == ASKED else shape, dtype=dtype, name=name)
            for name, (shape, dtype) in self.inputs().items()
        }
        tables = sizes.tables()
        vectors = {name: layers.Embedding(rows, length, name=f"{name}_vector") for name, rows, length in tables}
        return keras.Model(inputs, layers.Dense(outputs, name="score")(self.hidden(inputs, vectors, learning=learning)))

    def golden(self, vocabulary: Vocabulary, n: int = 64) -> dict[str, NDArray[Any]]:
        """Raw inputs of n made-up tasks, on which Keras and what is served have to say the same: a quarter of the names
        unknown, with no past or a long one, times up to 5,000 s."""
        random = np.random.default_rng(0)
        counts = zip(IDS, vocabulary.counts(), strict=True)
        ids = {name: (random.integers(0, k + 1, n) * (random.random(n) < 0.75)).astype(np.int32) for name, k in counts}
        inputs = random.random((n, len(NETWORK_INPUTS)))
        for column, name in enumerate(NETWORK_INPUTS):
            if name == "base_log_odds":
                inputs[:, column] = random.normal(0, 1.5, n)
            elif name == "base_log_time":
                inputs[:, column] = random.normal(3, 1, n)
            elif name.endswith("_time"):
                inputs[:, column] = random.lognormal(0, 1.5, n).clip(0, 50)
            elif name.startswith("log_since"):
                inputs[:, column] *= 14
            elif name.endswith(("_count", "_tasks")):
                inputs[:, column] *= random.choice([0, 1, 50], n)
        return {**ids, "inputs": inputs.astype(np.float32)}

    def one_task(self, scaled: dict[str, Any]) -> dict[str, Any]:
        """What the layers take, from the inputs of one task an example."""
        return scaled

    @abstractmethod
    def served(self, weights: Weights, metadata: dict[str, Any]) -> "ServedNetwork":
        """The forward pass in NumPy. `weights` are (2, ...) by `layer/weight`: correctness, time."""

    def grown(self, known: Vocabulary, attempts: Attempts, rows: Rows) -> Vocabulary:
        """The names known, and those that these rows bring; items have none where no input is of theirs."""
        return known.grown(attempts, rows, () if "item" in self.groups else ("item",))

    def multiples(self, scores: Floats) -> Floats:
        """Of the base's time, from the time's scores before the link."""
        return np.asarray(np.exp(scores) if self.link == "exponential" else np.logaddexp(0, scores))

    def sizes(self, vocabulary: Vocabulary, lengths: Sequence[int] | None = None) -> Sizes:
        """For these names; `lengths` are those of an earlier training that this one goes on from."""
        counts = vocabulary.counts()
        return Sizes(tuple(n + 1 for n in counts), tuple(lengths or map(self._length, IDS, counts)))

    def _length(self, name: str, ids: int) -> int:
        if name == "difficulty":
            return DIFFICULTY_VECTOR
        least, most = self.bounds[name]
        return min(max(int(ids**0.25 * self.vector), least), most)

    def of_dict(self, kept: Mapping[str, Any]) -> "Network":
        """The one whose fields were written to metadata.json."""
        return replace(self, **_tuples(kept) | {"schedule": TrainingSchedule(**_tuples(kept["schedule"]))})

    def tuned(self, settings: Mapping[str, Any]) -> "Network":
        """The same kind with other values for some fields of its own or of its schedule."""
        schedule = {name: value for name, value in settings.items() if name in TrainingSchedule.__slots__}
        own = {name: value for name, value in settings.items() if name not in schedule}
        return replace(self, schedule=replace(self.schedule, **schedule), **own)


def _tuples(kept: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in kept.items()}
