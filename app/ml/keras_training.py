"""The inner loop of a training: correctness and time network trained side by side in one TensorFlow graph.

All weights of both networks are one vector, so a step of Adam is a handful of operations; the losses are added, and as
no weight is shared each network learns as it would alone. `keras.fit` spends ten times longer on our small data.

While it learns, each network also guesses what the other is asked, which makes better use of the same rows (Caruana
1997); the guesses are dropped. What is judged and kept are running means of the weights, calmer than the last step's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from app.ml.embedding_model_v2 import OUTPUTS, Sizes, Tables, trunk
from app.ml.features import FEATURES
from app.ml.inputs import INPUTS

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

MEAN_MEMORY = 0.9  # Adam, as Keras has it
SQUARE_MEMORY = 0.999
TINY = 1e-7
YOUNG = 2.0  # steps: while there are no more, the running means forget faster
GUESS = 17  # weights of a guess at the other network's answer
GUESS_COSTS = (1.0, 0.25)  # of the time by the correctness network, and the other way; its loss is three times larger
LEAST_ROOM = 16  # rows of a table in the graph
WRONG_WAY = 5.0  # what a score's fall in the wrong direction costs, in losses
MOST_RISE = 2.0  # standard deviations
RATES, TIMES = ([place for place, name in enumerate(FEATURES) if name.endswith(end)] for end in ("_rate", "_time"))
DIRECTED = (RATES, TIMES)


@dataclass(frozen=True, slots=True)
class Rows:
    """Tasks as the networks see them: columns of n."""

    student: NDArray[np.int32]  # index in the embedding, 0 = unknown
    topic: NDArray[np.int32]
    difficulty: NDArray[np.int32]
    item: NDArray[np.int32]
    past: Singles  # (n, 24) transformed and normalised inputs
    correct: Singles  # 0 or 1
    log_time: Singles  # log(seconds / typical seconds)

    def take(self, rows: slice | NDArray[np.intp]) -> "Rows":
        """Only these rows."""
        return Rows(*(getattr(self, column)[rows] for column in self.__slots__))

    def tensors(self) -> list["tf.Tensor"]:
        """The columns in this order."""
        import tensorflow as tf

        return [tf.constant(getattr(self, column)) for column in self.__slots__]


@dataclass(frozen=True, slots=True)
class State:
    """Where a training stands; tensors, replaced at each step."""

    weights: "tf.Tensor"  # (w,) of both networks
    mean: "tf.Tensor"  # (w,) Adam's
    square: "tf.Tensor"  # (w,) Adam's
    step: "tf.Tensor"
    rest: list["tf.Tensor"]  # batch norms' moving statistics, dropouts' seeds
    calm: "tf.Tensor"  # (w,) running mean of the weights: what is judged and kept
    calm_rest: list["tf.Tensor"]  # running mean of the rest


@dataclass(frozen=True, slots=True)
class Pace:
    """How one epoch learns."""

    batch: int  # rows
    rate: float
    decay: float  # share of a kernel or embedding given back at each step, times rate
    hide: tuple[float, float, float, float]  # chance that a student, topic, difficulty, item is shown as unknown
    memory: float  # of the running means, steps


class Pair:
    """Both networks' weights on their way from the fresh models through the loop and back."""

    def __init__(self, models: tuple["keras.Model", "keras.Model"], sizes: Sizes) -> None:
        self._models = models
        self._graph = _graph(Tables(tuple(_roomy(rows) for rows in sizes.rows()), sizes.lengths()))  # type: ignore[arg-type]
        self._decays = self._of_both(lambda v: np.full(_shape(v), v.path.endswith(("kernel", "embeddings"))))

    def _of_both(self, array_of: Callable[[Any], Any]) -> Singles:
        """One number per weight in the graph, (w,): each network's, then its guess at the other's answer from 0."""
        arrays = [[*map(array_of, model.trainable_variables), np.zeros(GUESS)] for model in self._models]
        return np.concatenate([np.asarray(array, np.float32).ravel() for each in arrays for array in each])

    def start(self) -> State:
        """The models' present weights, nothing learnt yet."""
        import tensorflow as tf

        weights = tf.constant(self._of_both(_roomier))
        rest = [tf.identity(v.value) for model in self._models for v in model.non_trainable_variables]
        return State(weights, tf.zeros_like(weights), tf.zeros_like(weights), tf.constant(0.0), rest, weights, rest)

    def epoch(
        self, state: State, rows: list["tf.Tensor"], order: NDArray[np.int32], pace: Pace, seed: int
    ) -> tuple[State, Floats]:
        """Learn from the rows in this order; also the mean loss of each network, (2,)."""
        import tensorflow as tf

        *new, loss = self._graph.epoch(
            *(getattr(state, name) for name in State.__slots__),
            *(rows, tf.constant(order), tf.constant(pace.memory, tf.float32)),
            *(tf.constant(pace.batch), tf.constant(pace.rate, tf.float32), tf.constant(self._decays * pace.decay)),
            *(tf.constant(pace.hide, tf.float32), tf.constant(seed)),
        )
        return State(*new), loss.numpy().astype(np.float64)

    def scores(self, state: State, rows: list["tf.Tensor"]) -> Floats:
        """What the networks say before sigmoid and softplus, (2, n)."""
        scores: Singles = self._graph.scores(state.calm, state.calm_rest, rows[:5]).numpy()
        return scores.astype(np.float64)

    def keep(self, which: int, state: State) -> None:
        """Put the state's weights into one of the two models."""
        model = self._models[which]
        mine = np.array_split(state.calm.numpy(), 2)[which]  # the two networks are alike
        ends = np.cumsum([int(np.prod(_shape(v))) for v in model.trainable_variables])
        for variable, part in zip(model.trainable_variables, np.split(mine, ends)[:-1], strict=True):
            variable.assign(part.reshape(_shape(variable))[: variable.shape[0]])
        half = len(state.rest) // 2
        rest = state.calm_rest[half * which : half * (which + 1)]
        for variable, value in zip(model.non_trainable_variables, rest, strict=True):
            variable.assign(value)


def _roomy(rows: int) -> int:
    """Rows of a table in the graph: a power of two, so that a name more seldom means a graph more (1.5 s)."""
    return max(LEAST_ROOM, 1 << (rows - 1).bit_length())


def _shape(variable: Any) -> tuple[int, ...]:
    """Of a weight in the graph."""
    rows, *rest = variable.shape
    return (_roomy(rows) if variable.path.endswith("embeddings") else rows, *rest)


def _roomier(variable: Any) -> Singles:
    """The weight as it stands in the graph; the rows beyond the known names are 0, and nobody looks at them."""
    array = np.zeros(_shape(variable), np.float32)
    array[: variable.shape[0]] = variable.numpy()
    return array


@lru_cache(maxsize=2)  # a process that trains again and again traces only when the tables outgrow their room
def _graph(tables: Tables) -> "Graph":
    return Graph(tables)


class Graph:
    """The traced functions for networks with these tables, for any number of rows and any batch size."""

    def __init__(self, tables: Tables) -> None:
        import tensorflow as tf

        self._trunks = [trunk(tables) for _ in OUTPUTS]
        self._shapes = [tuple(v.shape) for each in self._trunks for v in each.trainable_variables]
        self._lengths = [int(np.prod(shape)) for shape in self._shapes]
        self._rest = [tf.TensorSpec(v.shape, v.dtype) for each in self._trunks for v in each.non_trainable_variables]
        weights, number = tf.TensorSpec([sum(self._lengths)], tf.float32), tf.TensorSpec([], tf.float32)
        column, whole = tf.TensorSpec([None], tf.float32), tf.TensorSpec([], tf.int32)
        ids, past = tf.TensorSpec([None], tf.int32), tf.TensorSpec([None, len(INPUTS)], tf.float32)
        rows = [ids, ids, ids, ids, past, column, column]
        state = [weights, weights, weights, number, self._rest, weights, self._rest]
        pace = [whole, number, weights, tf.TensorSpec([4], tf.float32), whole]
        self.epoch = tf.function(self._epoch, input_signature=[*state, rows, ids, number, *pace])
        self.scores = tf.function(self._scores, input_signature=[weights, self._rest, rows[:5]])

    def _forward(self, weights: Any, rest: Any, inputs: Any, training: bool) -> tuple[Any, Any, Any]:
        """Scores (2, n), guesses at the other network's scores (2, n) and the new `rest`."""
        import tensorflow as tf

        parts = [tf.reshape(w, s) for w, s in zip(tf.split(weights, self._lengths), self._shapes, strict=True)]
        scores, guesses, after = [], [], []
        for each in self._trunks:
            own, parts = parts[: len(each.trainable_variables)], parts[len(each.trainable_variables) :]
            kept, rest = rest[: len(each.non_trainable_variables)], rest[len(each.non_trainable_variables) :]
            (score, guess), kept = each.stateless_call(own, kept, inputs, training=training)
            scores.append(score[:, 0])
            guesses.append(guess[:, 0])
            after += kept
        return tf.stack(scores), tf.stack(guesses), after

    def _scores(self, weights: Any, rest: Any, inputs: Any) -> Any:
        return self._forward(weights, rest, inputs, training=False)[0]

    def _losses(self, weights: Any, rest: Any, inputs: Any, correct: Any, log_time: Any) -> tuple[Any, Any, Any]:
        """Cross-entropy and squared error of the log time, (2,), and of the guesses, the other way round, (2,)."""
        import tensorflow as tf

        def losses(correctness: Any, time: Any) -> tuple[Any, Any]:
            entropy = tf.nn.sigmoid_cross_entropy_with_logits(correct, correctness)
            distance = tf.math.log(tf.nn.softplus(time) + TINY) - log_time
            return tf.reduce_mean(entropy), tf.reduce_mean(tf.square(distance))

        scores, guesses, after = self._forward(weights, rest, inputs, training=True)
        entropy, distance = losses(guesses[1], guesses[0])
        return tf.stack(losses(scores[0], scores[1])), tf.stack([distance, entropy]), after

    def _wrong_way(self, weights: Any, rest: Any, inputs: Any, chance: Any) -> Any:
        """How far the scores fall where, all else equal, a success rate (an average time) rises; mean of each, (2,).

        A row has one of its four rates raised for the one network, and one of its four times for the other.
        """
        import tensorflow as tf

        some = (tf.size(chance[0]) + 3) // 4  # a quarter of the batch shows as much
        *ids, past = [column[:some] for column in inputs]
        rise = MOST_RISE * chance[1, :some, None]  # of a normalised feature
        which = tf.cast(chance[0, :some] * len(RATES), tf.int32)
        moved = [past, *(past + rise * tf.one_hot(tf.gather(columns, which), past.shape[1]) for columns in DIRECTED)]
        scores, *_ = self._forward(
            weights, rest, [*(tf.tile(i, [3]) for i in ids), tf.concat(moved, 0)], training=False
        )
        still, better, slower = tf.unstack(tf.reshape(scores, [2, 3, -1]), axis=1)
        falls = tf.stack([still[0] - better[0], still[1] - slower[1]])
        return tf.reduce_mean(tf.nn.relu(falls), axis=1)

    def _epoch(
        self,
        weights: Any,
        mean: Any,
        square: Any,
        step: Any,
        rest: Any,
        calm: Any,
        calm_rest: Any,
        rows: Any,
        order: Any,
        memory: Any,
        batch: Any,
        rate: Any,
        decays: Any,
        hide: Any,
        seed: Any,
    ) -> Any:
        """The state after one step of Adam per batch, in the order of `State`, and the mean losses (2,)."""
        import tensorflow as tf

        batches = tf.size(order) // batch
        total = tf.zeros(2)
        for i in tf.range(batches):
            picked = order[i * batch : (i + 1) * batch]
            *ids, past, correct, log_time = [tf.gather(column, picked) for column in rows]
            chance = tf.random.stateless_uniform([4, batch], tf.stack([seed, tf.cast(step, tf.int32)]))
            shown = tf.cast(chance >= hide[:, None], tf.int32)
            inputs = [*(ids[k] * shown[k] for k in range(4)), past]
            with tf.GradientTape() as tape:
                tape.watch(weights)
                losses, others, after = self._losses(weights, rest, inputs, correct, log_time)
                cost = losses + others * GUESS_COSTS + WRONG_WAY * self._wrong_way(weights, rest, inputs, chance)
            slope = tape.gradient(cost, weights)
            rest = after
            step += 1.0
            mean = MEAN_MEMORY * mean + (1 - MEAN_MEMORY) * slope
            square = SQUARE_MEMORY * square + (1 - SQUARE_MEMORY) * slope**2
            size = tf.sqrt(square / (1 - SQUARE_MEMORY**step)) + TINY
            weights -= rate * (mean / (1 - MEAN_MEMORY**step) / size + decays * weights)
            keep = tf.minimum(1 - 1 / memory, step / (step + YOUNG))
            calm = keep * calm + (1 - keep) * weights
            calm_rest = [_between(old, new, keep) for old, new in zip(calm_rest, rest, strict=True)]
            total += losses
        return weights, mean, square, step, rest, calm, calm_rest, total / tf.cast(batches, tf.float32)


def _between(old: Any, new: Any, keep: Any) -> Any:
    """One step of a running mean; of a dropout's seed there is none."""
    return keep * old + (1 - keep) * new if old.dtype.is_floating else new
