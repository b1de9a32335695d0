"""The inner loop of the LSTM's training: one causal pass over whole stretches of past, both networks in one graph.

The networks of `embedding_model` are computed here with TensorFlow's fused LSTM (BlockLSTMV2), which is some ten times
faster on one thread than Keras' loop over steps. All weights of both are one vector, so a step of Adam is a handful of
operations. Before a version is published its answers are compared with those of the Keras networks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from app.ml.embedding_model import (
    FIRST,
    HEAD_DROPOUT,
    IDS,
    RESULTS,
    SECOND,
    STATE_DROPOUT,
    Singles,
    Sizes,
    shapes,
)
from app.ml.inputs import INPUTS
from app.ml.sequences import Windows

if TYPE_CHECKING:
    import tensorflow as tf

Floats = NDArray[np.float64]
MEAN_MEMORY = 0.9  # Adam, as Keras has it
SQUARE_MEMORY = 0.999
TINY = 1e-7
STEEPEST = 1.0  # a network's gradient is cut to this norm


@dataclass(frozen=True, slots=True)
class Material:
    """Tasks as the networks see them: columns of n."""

    student: NDArray[np.int32]  # index in the embedding, 0 = unknown
    topic: NDArray[np.int32]
    difficulty: NDArray[np.int32]
    item: NDArray[np.int32]
    inputs: Singles  # (n, 24) normalised
    results: Singles  # (n, 3) normalised
    correct: Singles  # 0 or 1
    log_time: Singles  # log(seconds / typical seconds)

    def tensors(self) -> list["tf.Tensor"]:
        """The columns in this order."""
        import tensorflow as tf

        return [tf.constant(getattr(self, column)) for column in self.__slots__]


@dataclass(frozen=True, slots=True)
class State:
    """Where a training stands; tensors, replaced at each step."""

    weights: "tf.Tensor"  # (2, w) of both networks
    mean: "tf.Tensor"  # (2, w) Adam's
    square: "tf.Tensor"  # (2, w) Adam's
    step: "tf.Tensor"
    average: "tf.Tensor"  # (2, w) of the weights of about the last epoch: what is scored and kept (Polyak 1990)

    @classmethod
    def start(cls, weights: Singles) -> "State":
        import tensorflow as tf

        flat = tf.constant(weights)
        return cls(flat, tf.zeros_like(flat), tf.zeros_like(flat), tf.constant(0.0), flat)

    KEPT: ClassVar = ("weights", "mean", "square", "step", "average")

    @classmethod
    def joined(cls, correctness: "State", time: "State") -> dict[str, Singles]:
        """The one network of the first state and the other of the second, as arrays for `np.savez`."""
        pairs = {name: (getattr(correctness, name).numpy(), getattr(time, name).numpy()) for name in cls.KEPT}
        steps = pairs.pop("step")
        return {name: np.stack([one[0], other[1]]) for name, (one, other) in pairs.items()} | {
            "step": np.maximum(*steps)
        }

    @classmethod
    def of_arrays(cls, kept: Mapping[str, Singles]) -> "State":
        """Back from `joined`."""
        import tensorflow as tf

        return cls(*(tf.constant(kept[name]) for name in cls.KEPT))


@dataclass(frozen=True, slots=True)
class Pace:
    """How a step learns."""

    rate: float
    decay: float  # share of a kernel or embedding given back, times rate
    memory: float  # steps that the average reaches back
    hide: tuple[float, float, float, float]  # chance that a student, topic, difficulty, item is shown as unknown


@lru_cache(maxsize=2)  # a process that trains again and again traces only when the room for names changes
def graph(room: Sizes) -> "Graph":
    return Graph(room)


class Graph:
    """The traced functions for networks with this room for names, for any number of rows, stretches and steps."""

    def __init__(self, room: Sizes) -> None:
        import tensorflow as tf

        self._shapes = shapes(room)
        self._lengths = [int(np.prod(shape)) for shape in self._shapes.values()]
        decays = [name.endswith(("kernel", "recurrent", "vector")) for name in self._shapes]
        self._decays = np.repeat(np.array(decays, np.float32), self._lengths)
        weights, number = tf.TensorSpec([2, None], tf.float32), tf.TensorSpec([], tf.float32)
        ids, column = tf.TensorSpec([None], tf.int32), tf.TensorSpec([None], tf.float32)
        tables = [tf.TensorSpec([None, width], tf.float32) for width in (len(INPUTS), RESULTS)]
        windows = [tf.TensorSpec([None, None], tf.int32), ids, ids, ids]
        rows = [ids, ids, ids, ids, *tables, column, column]
        pace = [number, number, number, tf.TensorSpec([4], tf.float32), tf.TensorSpec([2], tf.int32)]
        state = [weights, weights, weights, number, weights]
        self._step = tf.function(self._learn, input_signature=[*state, rows, windows, *pace])
        self._ask = tf.function(self._answer, input_signature=[weights, rows, windows])

    def step(
        self, state: State, rows: list["tf.Tensor"], windows: Windows, pace: Pace, seed: int
    ) -> tuple[State, "tf.Tensor"]:
        """Learn once from these stretches; also the mean loss of each network, (2,)."""
        import tensorflow as tf

        step = (state.weights, state.mean, state.square, state.step, state.average)
        numbers = (tf.constant(number, tf.float32) for number in (pace.rate, pace.decay, pace.memory))
        how = (*numbers, tf.constant(pace.hide))
        *new, losses = self._step(*step, rows, _tensors(windows), *how, tf.constant([seed, 0], tf.int32))
        return State(*new), losses

    def scores(self, state: State, rows: list["tf.Tensor"], windows: Windows) -> Floats:
        """What the networks say before sigmoid and exponential, (2, m)."""
        scores: Singles = self._ask(state.average, rows, _tensors(windows)).numpy()
        return scores.astype(np.float64)

    def _named(self, flat: Any) -> dict[str, Any]:
        import tensorflow as tf

        parts = zip(self._shapes.items(), tf.split(flat, self._lengths), strict=True)
        return {name: tf.reshape(part, shape) for (name, shape), part in parts}

    def _answer(self, weights: Any, rows: Any, windows: Any) -> Any:
        import tensorflow as tf

        seen = _seen(rows[:4], windows, None, None)
        nets = [self._named(each) for each in tf.unstack(weights, num=2)]
        return tf.stack([_forward(net, seen, rows, windows, None) for net in nets])

    def _learn(
        self,
        weights: Any,
        mean: Any,
        square: Any,
        step: Any,
        average: Any,
        rows: Any,
        windows: Any,
        rate: Any,
        decay: Any,
        memory: Any,
        hide: Any,
        seed: Any,
    ) -> Any:
        """The state after one step of Adam, in the order of `State`, and the mean losses (2,)."""
        import tensorflow as tf

        seed += tf.stack([0, tf.cast(step, tf.int32) * 100])
        seen = _seen(rows[:4], windows, hide, seed)
        with tf.GradientTape() as tape:
            tape.watch(weights)
            nets = [self._named(each) for each in tf.unstack(weights, num=2)]
            scores = [_forward(net, seen, rows, windows, seed + 10 * place) for place, net in enumerate(nets, start=1)]
            losses = tf.stack(_losses(scores, rows, windows[1]))
        slope = tf.clip_by_norm(tape.gradient(losses, weights), STEEPEST, axes=[1])
        step += 1.0
        mean = MEAN_MEMORY * mean + (1 - MEAN_MEMORY) * slope
        square = SQUARE_MEMORY * square + (1 - SQUARE_MEMORY) * slope**2
        size = tf.sqrt(square / (1 - SQUARE_MEMORY**step)) + TINY
        weights -= rate * (mean / (1 - MEAN_MEMORY**step) / size + decay * self._decays * weights)
        average += (weights - average) / tf.minimum(step, memory)
        return weights, mean, square, step, average, losses


def _tensors(windows: Windows) -> list["tf.Tensor"]:
    """Steps first by time, as the fused LSTM wants them: (longest, w); then rows, window and done, (m,)."""
    import tensorflow as tf

    steps = tf.constant(np.ascontiguousarray(windows.steps.T))
    return [steps, *(tf.constant(each.astype(np.int32)) for each in (windows.rows, windows.window, windows.done))]


def _seen(ids: Any, windows: Any, hide: Any, seed: Any) -> Any:
    """Indices of the ids at the steps (longest, w) and in the tasks asked for (m,), some of them hidden as 0."""
    import tensorflow as tf

    steps, asked, window, _ = windows
    past = [tf.gather(column, tf.maximum(steps, 0)) for column in ids]
    now = [tf.gather(column, asked) for column in ids]
    if hide is None:
        return past, now
    whose = tf.cast(tf.random.stateless_uniform(tf.shape(steps)[1:], seed) >= hide[0], tf.int32)  # in a whole stretch
    past, now = [past[0] * whose, *past[1:]], [now[0] * tf.gather(whose, window), *now[1:]]
    for place in range(1, len(IDS)):
        for which, column in enumerate((past, now)):
            chance = tf.random.stateless_uniform(tf.shape(column[place]), seed + 2 * place + which)
            column[place] *= tf.cast(chance >= hide[place], tf.int32)
    return past, now


def _forward(net: dict[str, Any], seen: Any, rows: Any, windows: Any, seed: Any) -> Any:
    """Scores (m,) of one network; without a seed, without dropout."""
    import tensorflow as tf

    (past, now), (steps, asked, window, done) = seen, windows
    there = tf.cast(steps >= 0, tf.float32)[..., None]
    told = tf.gather(rows[5], tf.maximum(steps, 0))
    x = tf.concat([*_vectors(net, past), told], -1) * there  # (longest, w, ...)
    x = _dropout(_lstm(net, "lstm_64", FIRST, x), STATE_DROPOUT, seed, 1)
    x = _lstm(net, "lstm_32", SECOND, x)
    states = tf.concat([tf.zeros_like(x[:1]), x], 0)  # after 0, 1, ... steps
    state = _dropout(tf.gather_nd(states, tf.stack([done, window], 1)), STATE_DROPOUT, seed, 2)
    y = tf.concat([*_vectors(net, now), tf.gather(rows[4], asked), state], -1)
    y = _dropout(tf.nn.relu(y @ net["dense_32_kernel"] + net["dense_32_bias"]), HEAD_DROPOUT, seed, 3)
    y = tf.nn.relu(y @ net["dense_16_kernel"] + net["dense_16_bias"])
    return (y @ net["score_kernel"] + net["score_bias"])[:, 0]


def _vectors(net: dict[str, Any], ids: list[Any]) -> list[Any]:
    import tensorflow as tf

    return [tf.gather(net[f"{name}_vector"], index) for name, index in zip(IDS, ids, strict=True)]


def _lstm(net: dict[str, Any], name: str, units: int, x: Any) -> Any:
    """All outputs, (steps, w, units), from zero states; gates in Keras' order. Padding behind the last step is read by
    nobody."""
    import tensorflow as tf

    zeros, none = tf.zeros([tf.shape(x)[1], units]), tf.zeros([units])
    return tf.raw_ops.BlockLSTMV2(
        seq_len_max=tf.cast(tf.shape(x)[0], tf.int64),
        x=x,
        cs_prev=zeros,
        h_prev=zeros,
        w=tf.concat([net[f"{name}_kernel"], net[f"{name}_recurrent"]], 0),
        wci=none,
        wcf=none,
        wco=none,
        b=net[f"{name}_bias"],
        cell_clip=0.0,
        use_peephole=False,
    ).h


def _dropout(x: Any, rate: float, seed: Any, place: int) -> Any:
    import tensorflow as tf

    return x if seed is None else tf.nn.experimental.stateless_dropout(x, rate, seed + place)


def _losses(scores: list[Any], rows: Any, asked: Any) -> list[Any]:
    """Cross-entropy and squared error of the log time."""
    import tensorflow as tf

    correct, log_time = (tf.gather(column, asked) for column in rows[6:])
    entropy = tf.nn.sigmoid_cross_entropy_with_logits(correct, scores[0])
    return [tf.reduce_mean(entropy), tf.reduce_mean(tf.square(scores[1] - log_time))]
