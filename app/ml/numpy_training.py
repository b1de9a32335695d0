"""The inner loop of V2's training: correctness and time network side by side, their gradients written out in NumPy.

On batches this small a framework spends its time in calling itself: Keras' `fit` takes some twenty times longer for the
same epochs (`make bench`). Both networks' weights are one vector, so a step of Adam is a handful of passes over it; no
weight is shared, so each network learns as it would alone.

While it learns, each network also guesses what the other is asked, which makes better use of the same rows (Caruana
1997); the guesses are dropped. What is judged and kept are running means of the weights, calmer than the last step's.
"""

from dataclasses import dataclass, replace
from math import prod

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import saxpy
from scipy.special import expit

from app.ml.embedding_model_v2 import BATCH_MEMORY, DROPOUTS, EPSILON, IDS, LAYERS, NORMS, Sizes
from app.ml.features import FEATURES
from app.ml.inputs import INPUTS
from app.ml.v2_state import Arrays, Singles, State, named, weights_of

Floats = NDArray[np.float64]
Places = NDArray[np.int32]

MEAN_MEMORY = 0.9  # Adam, as Keras has it
SQUARE_MEMORY = 0.999
TINY = 1e-7
YOUNG = 2.0  # steps: while there are no more, the running means forget faster
# What each network pays for its error about right and wrong, and about the time; a guess at the former is cheap, for
# its loss is three times larger.
CHANCE_COSTS = np.array([[1.0], [0.25]], np.float32)
TIME_COSTS = 2 * np.array([[1.0], [1.0]], np.float32)  # the slope of a square
WRONG_WAY = 5.0  # what a score's fall in the wrong direction costs, in losses
MOST_RISE = 2.0  # standard deviations
ASKED = 8  # one row in so many of a batch is asked which way it goes
DIRECTED = np.array([[p for p, name in enumerate(FEATURES) if name.endswith(end)] for end in ("_rate", "_time")])
RATES, TIMES = DIRECTED  # columns of the inputs
NETWORKS = np.arange(2)[:, None]
SWEEP = 50  # steps: so often what has faded to almost nothing becomes 0, for arithmetic on such numbers is slow
FADED = 1e-30
AT_ONCE = 8192  # rows of a pass without learning


@dataclass(frozen=True, slots=True)
class Rows:
    """Tasks as the networks see them: columns of n."""

    ids: Places  # (4, n) index in the embeddings of student, topic, difficulty, item; 0 = unknown
    past: Singles  # (n, 24) transformed and normalised inputs
    correct: Singles  # 0 or 1
    log_time: Singles  # log(seconds / typical seconds)

    def take(self, rows: slice | NDArray[np.intp] | Places) -> "Rows":
        """Only these rows."""
        return Rows(self.ids[:, rows], self.past[rows], self.correct[rows], self.log_time[rows])

    def __len__(self) -> int:
        return len(self.correct)


@dataclass(frozen=True, slots=True)
class Pace:
    """How one epoch learns."""

    batch: int  # rows
    rate: float
    decay: float  # share of a kernel or embedding given back at each step, times rate
    hide: tuple[float, float, float, float]  # chance that a student, topic, difficulty, item is shown as unknown
    memory: float  # of the running means, steps


class Learner:
    """Both networks on their way through the epochs."""

    def __init__(self, state: State, sizes: Sizes, seed: int) -> None:
        """Goes on from this state, which it leaves alone."""
        self._state, self._sizes = state.copy(), sizes
        self._slope, self._room = np.zeros_like(state.flat), np.zeros_like(state.flat)
        self._w, self._g = named(self._state.flat, sizes), named(self._slope, sizes)
        self._decays = np.zeros_like(state.flat)
        for name, part in named(self._decays, sizes).items():
            part[...] = name.endswith(("kernel", "vector"))
        self._random = np.random.default_rng([seed, state.step])
        self._step = state.step
        self._units = Units()

    def state(self) -> State:
        """Where it stands now."""
        self._in_ones()
        return replace(self._state, step=self._step).copy()

    def scores(self, rows: Rows) -> Floats:
        """What they say before sigmoid and softplus, (2, n)."""
        self._in_ones()
        return scores(weights_of(self._state, self._sizes), rows)

    def epoch(self, rows: Rows, order: Places, pace: Pace) -> Floats:
        """Learn from the rows in this order, whole batches of them; the mean loss of each network, (2,)."""
        batches, b = len(order) // pace.batch, pace.batch
        shown = self._hidden(rows.take(order[: batches * b]), pace.hide)
        keep = 1 - np.float32(pace.rate * pace.decay) * self._decays
        total = np.zeros(2)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # who judges, sees what is no number
            for first in range(0, batches * b, b):
                total += self._learn(shown.take(slice(first, first + b)), pace, keep)
        return total / batches

    def _hidden(self, rows: Rows, hide: tuple[float, float, float, float]) -> Rows:
        """Some ids shown as unknown."""
        chance = self._random.random(rows.ids.shape, np.float32)
        return replace(rows, ids=rows.ids * (chance >= np.array(hide, np.float32)[:, None]))

    def _learn(self, batch: Rows, pace: Pace, keep: Singles) -> Floats:
        losses = self.slopes(batch)
        self._step += 1
        self._adam(pace.rate, keep)
        self._calmer(min(1 - 1 / pace.memory, self._step / (self._step + YOUNG)))
        if self._step % SWEEP == 0:
            self._in_ones()
            self._state.mean[np.abs(self._state.mean) < FADED] = 0
        return losses

    # Adam (Kingma and Ba 2015) and the running mean, each vector in a unit of its own: what would shrink the whole
    # vector at each step shrinks a number instead, and a step is one pass less over each.

    def _adam(self, rate: float, keep: Singles) -> None:
        """One step, in place; `keep` is what decay leaves of each weight."""
        state, room, units, n = self._state, self._room, self._units, self._step
        units.mean *= MEAN_MEMORY
        units.square *= SQUARE_MEMORY
        saxpy(self._slope, state.mean, a=(1 - MEAN_MEMORY) / units.mean)
        np.multiply(self._slope, self._slope, out=room)
        saxpy(room, state.square, a=(1 - SQUARE_MEMORY) / units.square)
        np.sqrt(state.square, out=room)
        size = (units.square / (1 - SQUARE_MEMORY**n)) ** 0.5
        room += TINY / size
        np.divide(state.mean, room, out=room)
        np.multiply(state.flat, keep, out=state.flat)
        saxpy(room, state.flat, a=-rate * units.mean / (1 - MEAN_MEMORY**n) / size)

    def _calmer(self, keep: float) -> None:
        """One step of the running means."""
        state, units = self._state, self._units
        units.calm *= keep
        saxpy(state.flat, state.calm, a=(1 - keep) / units.calm)
        for name, now in state.seen.items():
            state.calm_seen[name] += np.float32(1 - keep) * (now - state.calm_seen[name])

    def _in_ones(self) -> None:
        """Every vector in the unit 1 again."""
        for name in ("mean", "square", "calm"):
            vector = getattr(self._state, name)
            vector *= np.float32(getattr(self._units, name))
        self._units = Units()

    def slopes(self, batch: Rows) -> Floats:
        """The gradient of the cost into `_slope`; the mean losses, (2,).

        Behind the b rows of the batch stand some of them again twice: as they are, and with one success rate (for the
        time network: one average time) raised. These see no dropout and the batch norms' memory, as in serving.
        """
        b, s = len(batch), (len(batch) + ASKED - 1) // ASKED
        ids = np.concatenate([batch.ids, batch.ids[:, :s], batch.ids[:, :s]], axis=1)
        passed = _Pass(self._w, self._state.seen, self._random)
        out = passed.forward(ids, self._past(batch.past, s), b)
        slope, losses = _costs(out, batch, s)
        passed.backward(slope, self._g)
        passed.remember(self._state.seen)
        return losses

    def _past(self, past: Singles, s: int) -> Singles:
        """(2, b + 2s, 24): the batch, its first s rows again, and these with one rate (time) raised."""
        b, chance = len(past), self._random.random((2, s), np.float32)
        both = np.empty((2, b + 2 * s, past.shape[1]), np.float32)
        both[:, :b], both[:, b : b + s], both[:, b + s :] = past, past[:s], past[:s]
        which, rows = (chance[0] * len(RATES)).astype(np.intp), np.arange(b + s, b + 2 * s)
        both[NETWORKS, rows, DIRECTED[:, which]] += np.float32(MOST_RISE) * chance[1]
        return both


@dataclass(slots=True)
class Units:
    """What the vectors of a state are to be multiplied by."""

    mean: float = 1.0
    square: float = 1.0
    calm: float = 1.0


def _costs(out: Singles, batch: Rows, s: int) -> tuple[Singles, Floats]:
    """The cost's slope by what both networks say of chance and time, `out` (2, b + 2s, 2); the mean losses (2,).

    Cross-entropy, squared error of the log time, the guesses at what the other is asked, and what falls the wrong way.
    """
    b, slope = len(batch), np.zeros_like(out)
    chances, times = out[:, :b, 0], out[:, :b, 1]
    likely = expit(out[:, :b])
    soft = np.logaddexp(np.float32(0), times)
    soft += np.float32(TINY)
    error = np.log(soft) - batch.log_time
    slope[:, :b, 0] = (likely[..., 0] - batch.correct) * (CHANCE_COSTS / np.float32(b))
    slope[:, :b, 1] = error * likely[..., 1] / soft * (TIME_COSTS / np.float32(b))
    answers = out[NETWORKS[:, 0], b:, NETWORKS[:, 0]]  # (2, 2s)
    falls = (answers[:, :s] > answers[:, s:]) * np.float32(WRONG_WAY / s)
    slope[NETWORKS[:, 0], b:, NETWORKS[:, 0]] = np.concatenate([falls, -falls], axis=1)
    entropy = np.logaddexp(np.float32(0), chances[0]) @ np.ones(b, np.float32) - batch.correct @ chances[0]
    return slope, np.array([entropy / b, error[1] @ error[1] / b], np.float64)


class _Pass:
    """One batch through both networks and back."""

    def __init__(self, weights: Arrays, seen: Arrays, random: np.random.Generator) -> None:
        self._w, self._seen, self._random = weights, seen, random
        self._inputs: list[Singles] = []  # of each dense layer
        self._active: list[NDArray[np.bool_]] = []  # where its relu passes
        self._norms: dict[str, list[tuple[Singles, Singles, Singles]]] = {norm: [] for norm in NORMS}
        self._dropped: list[Singles] = []
        self._batch: list[tuple[Singles, Singles]] = []  # mean and variance

    def forward(self, ids: Places, past: Singles, b: int) -> Singles:
        """What r rows, the first b of which are learnt from, are given: chance and time, (2, r, 2)."""
        self._ids, self._b, self._dropped = ids, b, _dropouts(b, self._random)
        x = _first(self._w, ids, past)
        for place, units in enumerate(LAYERS):
            self._inputs.append(x)
            x = x @ self._w[f"dense_{units}_kernel"]
            x += self._w[f"dense_{units}_bias"][:, None]
            self._active.append(x > 0)
            np.maximum(x, 0, out=x)
            if place < len(NORMS):
                x = self._normalised(x, NORMS[place])
            if place < len(DROPOUTS):
                x[:, :b] *= self._dropped[place]
        self._inputs.append(x)
        out: Singles = x @ self._w["score_kernel"] + self._w["score_bias"][:, None]
        return out

    def _normalised(self, x: Singles, norm: str) -> Singles:
        """Batch norm (Ioffe and Szegedy 2015): the first b rows by themselves, the rest by what is remembered."""
        b, gamma, beta = self._b, self._w[f"{norm}_gamma"], self._w[f"{norm}_beta"]
        mean = np.add.reduce(x[:, :b], axis=1) / np.float32(b)
        variance = np.maximum(_dots(x[:, :b], x[:, :b]) / np.float32(b) - mean * mean, 0)
        means, variances = (mean, self._seen[f"{norm}_mean"]), (variance, self._seen[f"{norm}_variance"])
        y = np.empty_like(x)
        for part, middle, spread in zip((slice(b), slice(b, None)), means, variances, strict=True):
            scale = 1 / np.sqrt(spread + EPSILON)
            gain = scale * gamma
            np.multiply(x[:, part], gain[:, None], out=y[:, part])
            y[:, part] += (beta - middle * gain)[:, None]
            self._norms[norm].append((x[:, part], middle, scale))
        self._batch.append((mean, variance))
        return y

    def backward(self, slope: Singles, into: Arrays) -> None:
        """The gradient by every weight, from that by the scores and guesses (2, r, 2)."""
        np.matmul(self._inputs[-1].swapaxes(1, 2), slope, out=into["score_kernel"])
        np.add.reduce(slope, axis=1, out=into["score_bias"])
        slope = slope @ self._w["score_kernel"].swapaxes(1, 2)
        for place in reversed(range(len(LAYERS))):
            if place < len(DROPOUTS):
                slope[:, : self._b] *= self._dropped[place]
            if place < len(NORMS):
                self._unnormalise(slope, NORMS[place], into)
            slope *= self._active[place]
            kernel = f"dense_{LAYERS[place]}_kernel"
            np.matmul(self._inputs[place].swapaxes(1, 2), slope, out=into[kernel])
            np.add.reduce(slope, axis=1, out=into[f"dense_{LAYERS[place]}_bias"])
            inputs = self._w[kernel] if place else self._w[kernel][:, : -len(INPUTS)]
            slope = slope @ inputs.swapaxes(1, 2)
        self._vectors(slope, into)

    def _unnormalise(self, slope: Singles, norm: str, into: Arrays) -> None:
        """Back through a batch norm, in place. With n = (x - middle) scale, the slope by x of the batch's own rows is
        gamma scale (slope - mean(slope) - n mean(slope n)); of the rest it is gamma scale slope.
        """
        b, gamma = self._b, self._w[f"{norm}_gamma"]
        sums, products = [], []
        for part, (x, middle, scale) in zip((slope[:, :b], slope[:, b:]), self._norms[norm], strict=True):
            sums.append(np.add.reduce(part, axis=1))
            products.append((_dots(part, x) - middle * sums[-1]) * scale)
            part *= (gamma * scale)[:, None]
        into[f"{norm}_beta"][...] = sums[0] + sums[1]
        into[f"{norm}_gamma"][...] = products[0] + products[1]
        x, middle, scale = self._norms[norm][0]
        steep = gamma * scale * scale * products[0] / np.float32(b)
        slope[:, :b] -= x * steep[:, None]
        slope[:, :b] += (middle * steep - gamma * scale * sums[0] / np.float32(b))[:, None]

    def _vectors(self, slope: Singles, into: Arrays) -> None:
        """What the rows say of the vectors of their ids, added up by id."""
        end = 0
        for name, ids in zip(IDS, self._ids, strict=True):
            table = into[f"{name}_vector"]
            begin, end = end, end + table.shape[2]
            few = table.shape[1] <= 4 * len(ids)
            found = np.arange(table.shape[1]) if few else np.unique(ids)
            if not few:
                table[...] = 0
            table[:, found] = (found[:, None] == ids).astype(np.float32) @ slope[:, :, begin:end]

    def remember(self, seen: Arrays) -> None:
        """Move the batch norms' memory towards this batch."""
        for norm, (mean, variance) in zip(NORMS, self._batch, strict=True):
            for name, now in ((f"{norm}_mean", mean), (f"{norm}_variance", variance)):
                seen[name] += np.float32(1 - BATCH_MEMORY) * (now - seen[name])


def _dropouts(b: int, random: np.random.Generator) -> list[Singles]:
    """What the outputs of the first layers are multiplied by (Srivastava and others 2014), (2, b, units) each."""
    return [_dropout((2, b, units), share, random) for units, share in zip(LAYERS, DROPOUTS, strict=False)]


def _dropout(shape: tuple[int, int, int], share: float, random: np.random.Generator) -> Singles:
    """To a 256th."""
    least = round(share * 256)
    chance = random.bit_generator.random_raw(prod(shape) // 8).view(np.uint8)
    factors: Singles = (chance >= least) * np.float32(256 / (256 - least))
    return factors.reshape(shape)


def _dots(one: Singles, other: Singles) -> Singles:
    """Sums over the rows, (2, units)."""
    sums: Singles = np.einsum("nru,nru->nu", one, other)
    return sums


def _first(weights: Arrays, ids: Places, past: Singles) -> Singles:
    """What the first dense layer reads: vectors and past, (2, r, sum of lengths)."""
    vectors = [np.take(weights[f"{name}_vector"], each, axis=1) for name, each in zip(IDS, ids, strict=True)]
    return np.concatenate([*vectors, past], axis=2)


def scores(weights: Arrays, rows: Rows) -> Floats:
    """What networks with these weights say before sigmoid and softplus, (2, n)."""
    parts = [
        _scores(weights, rows.take(slice(first, first + AT_ONCE))) for first in range(0, max(len(rows), 1), AT_ONCE)
    ]
    return np.concatenate(parts, axis=1)


def _scores(weights: Arrays, rows: Rows) -> Floats:
    x = _first(weights, rows.ids, np.broadcast_to(rows.past, (2, *rows.past.shape)))
    for place, units in enumerate(LAYERS):
        x = np.maximum(x @ weights[f"dense_{units}_kernel"] + weights[f"dense_{units}_bias"][:, None], 0)
        if place < len(NORMS):
            norm = NORMS[place]
            scale = weights[f"{norm}_gamma"] / np.sqrt(weights[f"{norm}_variance"] + np.float32(EPSILON))
            x = (x - weights[f"{norm}_mean"][:, None]) * scale[:, None] + weights[f"{norm}_beta"][:, None]
    said = x @ weights["score_kernel"] + weights["score_bias"][:, None]
    return np.stack([said[0, :, 0], said[1, :, 1]]).astype(np.float64)
