"""The one loop in which every network learns: Keras networks, autodiff and a Keras optimizer in one compiled graph.

Keras' own `fit` spends a small training in Python. Here all steps of an epoch are one call of a compiled function, and
all weights of the correctness and the time network are one array that the optimizer moves at once: some ten operations
a step instead of some hundreds. What is compiled depends on the sizes of the embeddings alone, which are rounded up.

While it learns, each network also guesses what the other is asked, which makes better use of the same rows (Caruana
1997, Machine Learning 28); the guesses are dropped. What is scored and kept are exponential means of the weights
(Polyak and Juditsky 1992), which vary less than those of the last step.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.ml.features.vocabulary import IDS
from app.ml.networks.network import ASKED, EMBEDDING_START, RATES, TIMES, Examples, Network, Singles, Sizes

Floats = NDArray[np.float64]
# What a network pays for its error about right and wrong, and about the time; a guess at the former is cheap, for its
# loss is three times larger.
LOSS_WEIGHTS = ((1.0, 1.0), (0.25, 1.0))  # of the correctness network, of the time network
JOINT_LOSS_WEIGHTS = ((1.0, 1.0),)
TARGETS = ("correct", "base", "log_time", "is_task")  # of each task: its outcome, and what its scores are added to
TINY = 1e-7
EMA_WARM_UP = 2.0  # steps: while there are no more, the mean weights forget faster
MOST_RISE = 2.0  # standard deviations that a rate or time is raised by
MONOTONICITY_SHARE = 8  # one in so many examples of a batch is asked which way it goes
SCORED_AT_ONCE = 8192  # tasks
MOMENTS = ("momentum", "velocity")  # Adam's


@dataclass(frozen=True, slots=True)
class State:
    """Where a training stands: arrays by name, the first axis being the network."""

    weights: Mapping[str, Singles]
    mean: Mapping[str, Singles]  # exponential means of weights and statistics: what is scored and kept
    statistics: Mapping[str, Singles]  # of the batch norms
    moments: Mapping[str, Mapping[str, Singles]]  # of the optimizer
    step: int = 0

    def arrays(self) -> dict[str, NDArray[Any]]:
        """For `np.savez`."""
        parts = {"weights": self.weights, "mean": self.mean, "statistics": self.statistics, **self.moments}
        named = {f"{part}.{name}": array for part, arrays in parts.items() for name, array in arrays.items()}
        return named | {"step": np.array(self.step)}

    @classmethod
    def of_arrays(cls, kept: Mapping[str, NDArray[Any]]) -> "State":
        """Back from `arrays`."""
        parts: dict[str, dict[str, Singles]] = {}
        for key in kept:
            part, _, name = key.partition(".")
            if name:
                parts.setdefault(part, {})[name] = kept[key]
        moments = {name: parts[name] for name in MOMENTS}
        return cls(parts["weights"], parts["mean"], parts.get("statistics", {}), moments, int(kept["step"]))

    def joined(self, time: "State") -> "State":
        """The correctness network of this state and the time network of the other."""
        both = time.arrays()
        own = {k: v if v.ndim == 0 or len(v) == 1 else np.stack([v[0], both[k][1]]) for k, v in self.arrays().items()}
        return State.of_arrays(own | {"step": np.array(max(self.step, time.step))})

    def is_finite(self) -> bool:
        return all(np.isfinite(array).all() for array in self.arrays().values())


def forget_models() -> None:
    """Give back what Keras keeps of models that nobody uses any more, some 3 MB of each.

    Names begin anew for the whole process, so that it is for processes of ours, not for a notebook.
    """
    if keras := sys.modules.get("keras"):
        keras.backend.clear_session()


@contextmanager
def without_graph_optimizer() -> Iterator[None]:
    """TensorFlow's graph optimizer takes half a second of a first training and makes none of these graphs faster.

    It is a setting of the whole process, which may be somebody's notebook: so it is off only while we train.
    """
    import tensorflow as tf

    before = tf.config.optimizer.get_experimental_options()
    tf.config.optimizer.set_experimental_options(before | {"disable_meta_optimizer": True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False} | before)


@lru_cache(maxsize=4)
def compiled(network: Network, room: Sizes) -> "Loop":
    """The loop of networks that have at most so many names; a process that trains again and again has it at once."""
    return Loop(network, room)


class Loop:
    """The compiled functions of both networks, for any number of examples, steps and, within a room, names."""

    def __init__(self, network: Network, room: Sizes) -> None:
        self._network, self._room = network, room
        self._sizes, self._seed = room, 0  # of the state that was loaded
        self._loss_weights = JOINT_LOSS_WEIGHTS if network.is_joint else LOSS_WEIGHTS
        self._nets = [network.layers(room, 2, learning=True) for _ in self._loss_weights]
        self._shapes = {variable.path: tuple(variable.shape) for variable in self._nets[0].trainable_variables}
        if missing := [name for name in network.readers if f"{name}/kernel" not in self._shapes]:
            raise ValueError(f"{network.name}: `readers` names {missing[0]}, but no layer of that name has a kernel")
        self._lengths = [int(np.prod(shape)) for shape in self._shapes.values()]
        decayed = [np.float32(name.endswith(("kernel", "embeddings"))) for name in self._shapes]
        self._decayed = np.repeat(decayed, self._lengths)
        self._build()

    def _build(self) -> None:
        """Variables of the training, and the two functions, each traced once for any number and length of examples."""
        import keras
        import tensorflow as tf

        self._flat = keras.Variable(np.zeros((len(self._nets), sum(self._lengths)), np.float32), name="weights")
        self._optimizer = keras.optimizers.Adam(1.0)
        self._optimizer.build([self._flat])
        self._slots = self._optimizer.variables[2:]  # behind its count and its rate
        self._mean = tf.Variable(tf.zeros(self._flat.shape))
        self._rest, self._mean_rest = (
            [[tf.Variable(v.value) for v in net.non_trainable_variables] for net in self._nets] for _ in range(2)
        )
        axes = self._network.axes
        asked = (None, None) if ASKED in axes.values() else (None,)
        columns = {
            name: tf.TensorSpec((*(asked if axes.get(name) == ASKED else (None,)), *shape), dtype)
            for name, (shape, dtype) in self._network.inputs().items()
        }
        lengths = {axis: tf.TensorSpec((None,), tf.int32) for axis in set(axes.values())}
        data = {name: tf.TensorSpec(asked, tf.float32) for name in TARGETS} | {"columns": columns, "lengths": lengths}
        rows, rates, number = (tf.TensorSpec((None,), tf.int32), tf.TensorSpec((None,)), tf.TensorSpec(()))
        signature = [data, rows, rows, rates, number, number, tf.TensorSpec((), tf.int32)]
        self._run = tf.function(self._epoch, input_signature=signature, autograph=False)
        self._ask = tf.function(self._scores, input_signature=[data, rows], autograph=False)

    # States, in and out.

    def start(self, sizes: Sizes, bias: Sequence[float], seed: int) -> State:
        """Weights that know nothing yet and answer the bias (chance, time), whoever asks."""
        random = np.random.default_rng(seed)

        def first(name: str, shape: tuple[int, ...]) -> Singles:
            return np.stack([_first(name, shape, random) for _ in self._nets]).astype(np.float32)

        weights = {name: first(name, tuple(map(len, self._places(name, sizes)))) for name in self._shapes}
        weights["score/bias"][...] = np.array(bias, np.float32)
        rest = [v for v in self._nets[0].non_trainable_variables if not _is_seed(v)]
        statistics = {variable.path: first(variable.path, tuple(variable.shape)) for variable in rest}
        nothing = {name: np.zeros_like(array) for name, array in weights.items()}
        return State(weights, weights | statistics, statistics, dict.fromkeys(MOMENTS, nothing))

    def load(self, state: State, sizes: Sizes, seed: int) -> None:
        """Begin here."""
        self._sizes, self._seed = sizes, seed
        kept = (state.weights, state.mean, *(state.moments[moment] for moment in MOMENTS))
        for variable, arrays in zip((self._flat, self._mean, *self._slots), kept, strict=True):
            variable.assign(self._roomy(arrays))
        self._optimizer.iterations.assign(state.step)
        for values, arrays in ((self._rest, state.statistics), (self._mean_rest, state.mean)):
            for place, (net, own) in enumerate(zip(self._nets, values, strict=True)):
                for number, (variable, value) in enumerate(zip(net.non_trainable_variables, own, strict=True)):
                    seeded = np.array([seed + state.step, 100 * place + number], np.uint32)
                    value.assign(seeded if _is_seed(variable) else arrays[variable.path][place])

    def steps(self) -> int:
        """How many the optimizer has made."""
        return int(self._optimizer.iterations.numpy())

    def state(self) -> State:
        """Where it stands now."""
        weights, mean, *moments = (self._trimmed(each.numpy()) for each in (self._flat, self._mean, *self._slots))
        statistics, means = map(self._statistics_of, (self._rest, self._mean_rest))
        return State(weights, mean | means, statistics, dict(zip(MOMENTS, moments, strict=True)), self.steps())

    def _statistics_of(self, values: list[list[Any]]) -> dict[str, Singles]:
        rest = enumerate(self._nets[0].non_trainable_variables)
        return {v.path: np.stack([own[place].numpy() for own in values]) for place, v in rest if not _is_seed(v)}

    def _roomy(self, named: Mapping[str, Singles]) -> Singles:
        """All weights as one array (networks, w), with room for more names; the room is filled with zeros.

        Zeros stay zeros: where a column of an embedding and the row of the kernel behind it are 0, so are their
        gradients. Rows of names that are not there are never asked for.
        """
        flat = np.zeros(self._flat.shape, np.float32)
        for name, part in self._views(flat).items():
            part[self._grid(name)] = named[name]
        return flat

    def _trimmed(self, flat: Singles) -> dict[str, Singles]:
        """The reverse of `_roomy`."""
        return {name: part[self._grid(name)] for name, part in self._views(flat).items()}

    def _views(self, flat: Singles) -> dict[str, Singles]:
        """Each weight of all networks (networks, w), as it lies in there."""
        parts = zip(self._shapes.items(), np.split(flat, np.cumsum(self._lengths)[:-1], axis=1), strict=True)
        return {name: part.reshape(-1, *shape, copy=False) for (name, shape), part in parts}

    def _grid(self, name: str) -> tuple[NDArray[np.intp], ...]:
        return np.ix_(np.arange(len(self._nets)), *self._places(name, self._sizes))

    def _places(self, name: str, sizes: Sizes) -> list[NDArray[np.intp]]:
        """Where a weight of a network of these sizes lies in one with room, along each axis."""
        layer, _, part = name.rpartition("/")
        places = [np.arange(length) for length in self._shapes[name]]
        if part == "embeddings":
            which = [f"{each}_vector" for each in IDS].index(layer)
            return [np.arange(sizes.rows[which]), np.arange(sizes.lengths[which])]
        if layer in self._network.readers and part == "kernel":
            starts = np.cumsum([0, *self._room.lengths])
            vectors = [begin + np.arange(length) for begin, length in zip(starts, sizes.lengths, strict=False)]
            places[0] = np.concatenate([*vectors, np.arange(starts[-1], self._shapes[name][0])])
        return places

    # Learning and asking.

    def epoch(
        self,
        data: "Data",
        order: NDArray[np.int32],
        ends: NDArray[np.int32],
        rates: Floats,
        decay: float,
        horizon: float,
    ) -> Floats:
        """One step for each rate, with the examples of `order` up to its end; the mean loss of each output, (2,).

        `decay` is that of the weights, `horizon` how many steps their means reach back.
        """
        losses = self._run(
            data.tensors, order, np.append(0, ends).astype(np.int32), rates.astype(np.float32),
            np.float32(decay), np.float32(horizon), np.int32(self._seed),
        )  # fmt: skip
        return np.asarray(losses.numpy(), np.float64)

    def scores(self, data: "Data") -> Floats:
        """What the mean weights say of every task before sigmoid and link, (2, tasks) in the order of `data.tasks`."""
        asked = data.rows.reshape(data.n, -1)
        at_once = max(1, SCORED_AT_ONCE // asked.shape[1])
        found = np.zeros((2, *asked.shape), np.float32)
        for rows in np.split(np.arange(data.n, dtype=np.int32), range(at_once, data.n, at_once)):
            said = np.asarray(self._ask(data.tensors, rows)).reshape(2, len(rows), -1)
            found[:, rows, : said.shape[2]] = said
        return found[:, asked >= 0].astype(np.float64)

    def _batch(self, data: Any, rows: Any) -> tuple[dict[str, Any], Any, Any, Any, Any]:
        """Inputs and targets of these examples; axes cut to the longest."""
        import tensorflow as tf

        lengths = {axis: tf.reduce_max(tf.gather(length, rows)) for axis, length in data["lengths"].items()}

        def cut(column: Any, axis: str | None) -> Any:
            column = tf.gather(column, rows)
            return column if axis is None else column[:, : lengths[axis]]

        axes = self._network.axes
        inputs = {name: cut(column, axes.get(name)) for name, column in data["columns"].items()}
        asked = ASKED if ASKED in axes.values() else None
        return inputs, *(cut(data[name], asked) for name in TARGETS)

    def _parts(self, flat: Any) -> list[list[Any]]:
        """The weights of each network in Keras' order."""
        import tensorflow as tf

        found = []
        for row in tf.unstack(flat, num=len(self._nets)):
            parts = zip(tf.split(row, self._lengths), self._shapes.values(), strict=True)
            found.append([tf.reshape(part, shape) for part, shape in parts])
        return found

    def _scores(self, data: Any, rows: Any) -> Any:
        import tensorflow as tf

        inputs = self._batch(data, rows)[0]
        said = [
            net.stateless_call(parts, list(rest), inputs, training=False)[0]
            for net, parts, rest in zip(self._nets, self._parts(self._mean), self._mean_rest, strict=True)
        ]
        return tf.stack([said[0][..., 0], said[-1][..., 1]])

    def _epoch(self, data: Any, order: Any, ends: Any, rates: Any, decay: Any, horizon: Any, seed: Any) -> Any:
        import tensorflow as tf

        def body(step: Any, losses: Any) -> Any:
            rows = order[ends[step] : ends[step + 1]]
            return step + 1, losses + self._step(data, rows, rates[step], decay, horizon, seed)

        steps = tf.size(rates)
        total = tf.while_loop(lambda step, _: step < steps, body, [tf.constant(0), tf.zeros(2)])[1]
        return total / tf.cast(steps, tf.float32)

    def _step(self, data: Any, rows: Any, rate: Any, decay: Any, horizon: Any, seed: Any) -> Any:
        import tensorflow as tf

        inputs, *targets = self._batch(data, rows)
        seeds = tf.stack([seed, tf.cast(self._optimizer.iterations.value, tf.int32)])
        inputs = self._with_id_dropout(inputs, seeds)
        schedule = self._network.schedule
        with tf.GradientTape() as tape:
            flat = tf.identity(self._flat.value)
            tape.watch(flat)
            total, losses = tf.constant(0.0), []
            for place, (net, parts) in enumerate(zip(self._nets, self._parts(flat), strict=True)):
                scores, rest = net.stateless_call(parts, list(self._rest[place]), inputs, training=True)
                losses.append(_losses(self._network.link, scores, *targets))
                total += sum(weight * loss for weight, loss in zip(self._loss_weights[place], losses[-1], strict=True))
                if schedule.monotonicity:
                    total += schedule.monotonicity * self._falls(net, parts, place, inputs, seeds)
                for variable, new in zip(self._rest[place], rest, strict=True):
                    variable.assign(new)
        gradients = tape.gradient(total, flat)
        if schedule.clip_norm:
            gradients = tf.clip_by_norm(gradients, schedule.clip_norm, axes=[1])
        self._apply(gradients, rate, decay, horizon)
        return tf.stack([losses[0][0], losses[-1][1]])

    def _apply(self, gradients: Any, rate: Any, decay: Any, horizon: Any) -> None:
        """A step of the optimizer, with decoupled weight decay, and of the mean weights."""
        import tensorflow as tf

        self._flat.assign(self._flat.value * (1 - rate * decay * self._decayed))
        self._optimizer.learning_rate.assign(rate)
        self._optimizer.apply([gradients], [self._flat])
        count = tf.cast(self._optimizer.iterations.value, tf.float32)
        forget = 1 - tf.minimum(1 - 1 / horizon, count / (count + EMA_WARM_UP))
        self._mean.assign_add(forget * (self._flat.value - self._mean))
        for net, means, values in zip(self._nets, self._mean_rest, self._rest, strict=True):
            for variable, mean, value in zip(net.non_trainable_variables, means, values, strict=True):
                if not _is_seed(variable):
                    mean.assign_add(forget * (value - mean))

    def _with_id_dropout(self, inputs: dict[str, Any], seeds: Any) -> dict[str, Any]:
        """Some ids shown as unknown; a student's in a whole sequence or not at all."""
        import tensorflow as tf

        shown, chances = dict(inputs), dict(zip(IDS, self._network.schedule.id_dropout, strict=True))
        for number, prefix in enumerate(("", "past_")):
            names = [name for name in IDS if f"{prefix}{name}" in inputs]
            if not names:
                continue
            shape = tf.shape(inputs[f"{prefix}{names[-1]}"])
            random = tf.random.stateless_uniform(tf.concat([[len(names)], shape], 0), seeds * 100 + number)
            for name, each in zip(names, tf.unstack(random, num=len(names)), strict=True):
                whole = each if name != "student" or len(each.shape) == 1 else each[:, :1]
                column = inputs[f"{prefix}{name}"]
                shown[f"{prefix}{name}"] = column * tf.cast(whole >= chances[name], column.dtype)
        return shown

    def _falls(self, net: Any, parts: Any, place: int, inputs: Any, seeds: Any) -> Any:
        """How far the score falls, on average, where a success rate (for the time: an average time) alone rises.

        Asked of some of the batch, without dropout and with the batch norms' memory, as in serving.
        """
        import tensorflow as tf

        share = MONOTONICITY_SHARE
        some = {name: column[: (tf.shape(column)[0] + share - 1) // share] for name, column in inputs.items()}
        fall = tf.constant(0.0)
        for output in (0, 1) if self._network.is_joint else (place,):
            shape = (2, *tf.unstack(tf.shape(some["inputs"])[:-1]))
            chance = tf.random.stateless_uniform(shape, seeds * 100 + 90 + output)
            columns = tf.constant(RATES if output == 0 else TIMES)
            which = tf.gather(columns, tf.cast(chance[0] * len(RATES), tf.int32))
            rise = tf.one_hot(which, some["inputs"].shape[-1]) * (MOST_RISE * chance[1])[..., None]
            both = {name: tf.concat([column, column], 0) for name, column in some.items()}
            both["inputs"] = tf.concat([some["inputs"], some["inputs"] + rise], 0)
            said = net.stateless_call(parts, list(self._rest[place]), both, training=False)[0][..., output]
            before, after = tf.split(said, 2)
            fall += tf.reduce_mean(tf.nn.relu(before - after))
        return fall


class Data:
    """Examples and what came of their tasks, as tensors."""

    def __init__(self, examples: Examples, correct: Singles, base: Singles, log_time: Singles) -> None:
        """Of n attempts: `correct` (0 or 1), the log odds that the base gave, log of time over the base's time."""
        import tensorflow as tf

        self.rows, self.n = examples.rows, len(examples)
        rows, is_task = np.maximum(examples.rows, 0), examples.rows >= 0
        targets = (correct[rows], base[rows], log_time[rows], is_task.astype(np.float32))
        columns = {"columns": dict(examples.columns), "lengths": dict(examples.lengths)}
        self.tensors = tf.nest.map_structure(tf.constant, dict(zip(TARGETS, targets, strict=True)) | columns)

    @property
    def tasks(self) -> NDArray[np.intp]:
        """Rows of the attempts that are asked, in the order of `Loop.scores`."""
        return self.rows[self.rows >= 0]


def _losses(link: str, scores: Any, correct: Any, base: Any, log_time: Any, is_task: Any) -> tuple[Any, Any]:
    """Cross-entropy and squared error of the log time, means over the tasks; `base` are log odds to be corrected."""
    import tensorflow as tf

    entropy = tf.nn.sigmoid_cross_entropy_with_logits(correct, base + scores[..., 0])
    said = scores[..., 1] if link == "exponential" else tf.math.log(tf.nn.softplus(scores[..., 1]) + TINY)
    n = tf.reduce_sum(is_task)
    return tf.reduce_sum(entropy * is_task) / n, tf.reduce_sum(tf.square(said - log_time) * is_task) / n


def _first(name: str, shape: tuple[int, ...], random: np.random.Generator) -> Floats:
    """Small vectors, kernels after Glorot and Bengio (2010), recurrent ones orthogonal (Saxe and others 2013)."""
    layer, _, part = name.rpartition("/")
    if part == "embeddings":
        return random.uniform(-EMBEDDING_START, EMBEDDING_START, shape)
    if part == "recurrent_kernel":
        return np.asarray(np.linalg.qr(random.normal(size=shape[::-1]))[0].T)
    if part == "bias" and layer.startswith("lstm"):  # the forget gate begins open (Gers and others 2000)
        return np.repeat([0.0, 1.0, 0.0, 0.0], shape[0] // 4)
    if part == "kernel" and layer != "score":
        into, out = int(np.prod(shape[:-1])), shape[-1]
        return np.asarray(random.uniform(-1, 1, shape) * np.sqrt(6 / (into + out)))
    return np.full(shape, float(part in ("gamma", "moving_variance")))


def _is_seed(variable: Any) -> bool:
    return "seed_generator" in variable.path
