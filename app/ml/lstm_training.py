"""Train the LSTM: attempts in, a fitted model and a report out. No database, no clock, no HTTP.

First on the older tasks, to see on the newest ones how many epochs are best and how far to trust the answers; then on
all of them, for that many epochs.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from app.domain.attempts import DIFFICULTIES, Attempts, plausible
from app.ml import fitting
from app.ml.networks.calibration import Calibration
from app.ml.embedding_model import IDS, OUTPUTS, Scale, Singles, Sizes, network, set_weights, shapes, start_weights
from app.ml.fitting import AGAIN, MOST_HELD_OUT, MOST_ITEMS, MOST_STUDENTS, HeldOut, Names, Progress, TrainingFailed
from app.ml.inputs import GROUPS, INPUTS, inputs_of, known_before
from app.ml.kinds import GOES_ON_FROM
from app.ml.lstm_graph import Graph, Material, Pace, State, graph
from app.ml.numpy_lstm import KIND, METADATA_FILE, WEIGHTS_FILE, NumpyLstm, Weights
from app.ml.sequences import Windows, results

if TYPE_CHECKING:
    import keras

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

HELD_OUT = 0.15  # share, the newest
AGAIN_FROM = 2_000  # rows; fewer are not learnt from twice
PRIOR_TASKS = 10  # half of them right: what the share correct counts beside the real ones
PATIENCE = 5  # epochs without a better one
LEAST_GAIN = 1e-3  # share of the loss that an epoch has to be better by; with few newest rows more
MANY = 5000  # newest rows
RATE = 5e-3  # learning rate at its highest, falling to 0 along half a cosine
RATE_ROWS = 500  # a batch this large; with smaller ones the rate is lower by this power of their share
RATE_POWER = 0.25
WARM_UP = 20  # steps
DECAY = 0.02
LEAST_MEMORY = 20  # steps that the average of the weights reaches back, or an epoch if that is longer
UPDATES = 1100  # steps that a training should have at the least, had it all its epochs
EPOCHS = (5, 60)  # the fewest and the most
BATCHES = 80  # steps in an epoch, if there are rows enough
LEAST_BATCH = 96  # rows
HIDE = (0.9, 0.02, 0.02, 0.02)  # chance to be shown as unknown: a student's name must not stand in for their past
MOST_ROWS = 100_000  # a full training learns from so many at most, whole students of them
PASSES = 2  # over the rows of a training that goes on
FILES = ("correctness_model.keras", "time_model.keras")
SAME_PROBABILITY = 1e-5
SAME_SECONDS = 1e-4  # relative
GOLDEN_START = 1_757_000_000_000_000  # microseconds UTC, a school morning in September 2025


@dataclass(frozen=True)
class FittedLstm:
    """Both networks after training, with the names and scales they were trained with."""

    sizes: Sizes
    weights: tuple[list[Singles], list[Singles]]  # of correctness and time, as in `shapes`
    names: tuple[Names, ...]  # students, topics, difficulties, items
    scale: Scale
    state: Mapping[str, Singles] = field(default_factory=dict)  # where the training stands, as `State.arrays` has it
    held_out: HeldOut = field(default_factory=HeldOut)
    average: tuple[float, ...] = ()  # (24,) inputs of the tasks it was fitted on
    calibration: Calibration = field(default_factory=Calibration)
    report: dict[str, Any] = field(default_factory=dict)  # held-out scores

    def metadata(self) -> dict[str, Any]:
        """What the arrays need to be read: names in embedding order, inputs, scales, calibration, scores."""
        return {
            "kind": KIND,
            "inputs": list(INPUTS),
            "names": {name: list(each.known) for name, each in zip(IDS, self.names, strict=True)},
            "scale": asdict(self.scale),
            "calibration": self.calibration.to_dict(),
            "average": list(self.average),
            "report": self.report,
        }

    def serving(self) -> NumpyLstm:
        """The same model without TensorFlow."""
        arrays = {name: np.stack(pair) for name, *pair in zip(shapes(self.sizes), *self.weights, strict=True)}
        return NumpyLstm(Weights(**arrays), json.loads(json.dumps(self.metadata())))

    def models(self) -> tuple["keras.Model", "keras.Model"]:
        """The Keras networks."""
        models = [network(self.sizes, output, self.scale) for output in OUTPUTS]
        for model, weights in zip(models, self.weights, strict=True):
            set_weights(model, weights)
        return models[0], models[1]

    def save(self, folder: Path) -> None:
        """Write both Keras models, the served arrays and metadata.json, and check that they say the same.

        Raises TrainingFailed when the arrays differ from Keras on golden rows.
        """
        folder.mkdir(parents=True, exist_ok=True)
        models = self.models()
        for model, file in zip(models, FILES, strict=True):
            model.save(folder / file)
        self.serving().weights.save(folder / WEIGHTS_FILE)
        np.savez(folder / GOES_ON_FROM, allow_pickle=False, **{**self.state, **self.held_out.arrays()})
        (folder / METADATA_FILE).write_text(json.dumps(self.metadata(), indent=1, ensure_ascii=False), encoding="utf-8")
        compare(models, NumpyLstm.load(folder), golden(self))

    @classmethod
    def load(cls, folder: Path) -> "FittedLstm":
        """What `save` wrote, to go on from; raises ValueError, KeyError or OSError where it can't be read."""
        served = NumpyLstm.load(folder)
        kept = served.metadata
        names = tuple(Names.of_known(kept["names"][name]) for name in IDS)
        with np.load(folder / GOES_ON_FROM, allow_pickle=False) as arrays:
            state = {name: arrays[name] for name in State.KEPT}
            held_out = HeldOut.of_arrays(arrays)
        sizes = Sizes(*(len(each.known) for each in names))
        correctness, time = ([getattr(served.weights, name)[which] for name in shapes(sizes)] for which in (0, 1))
        return cls(
            sizes,
            (correctness, time),
            names,
            served.scale,
            state,
            held_out,
            tuple(kept["average"]),
            served.calibration,
            kept["report"],
        )


def golden(fitted: FittedLstm) -> Attempts:
    """Tasks of eight students, 1 to 150 each; a quarter of the names unknown, times up to 5,000 s."""
    random = np.random.default_rng(0)
    lengths = (1, 2, 5, 20, 40, 60, 100, 150)
    n = sum(lengths)
    students, topics, items = (_some(fitted.names[place].known, 20, random) for place in (0, 1, 3))
    seconds = random.lognormal(3, 1.5, n).clip(0.1, 5000)
    started = GOLDEN_START + np.cumsum(random.lognormal(4, 2, n) * 1e6).astype(np.int64)
    rows = Attempts(
        students,
        topics,
        items,
        student=random.permutation(np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)),
        topic=random.integers(0, 20, n, dtype=np.int32),
        difficulty=random.integers(0, len(DIFFICULTIES), n, dtype=np.int32),
        item=random.integers(-1, 20, n, dtype=np.int32),
        started=started,
        finished=started + np.rint(seconds * 1e6).astype(np.int64) + 1,
        correct=random.random(n) < 0.6,
        seconds=seconds,
    )
    return rows.take(np.argsort(rows.finished, kind="stable"))


def _some(known: tuple[str, ...], count: int, random: np.random.Generator) -> tuple[str, ...]:
    """Names, most of them known if there are enough."""
    chosen = random.permutation(len(known))[: count * 3 // 4]
    return (*(known[place] for place in chosen), *(f"\0 nobody {place}" for place in range(count - len(chosen))))


def compare(models: tuple["keras.Model", "keras.Model"], served: NumpyLstm, attempts: Attempts) -> None:
    """Raise TrainingFailed where the arrays answer otherwise than Keras does."""
    rows = np.unique(np.linspace(0, len(attempts) - 1, 64).astype(np.intp))
    p, seconds = served.raw(served.scores(attempts, rows))
    asked = keras_inputs(served, attempts, rows)
    said = [np.asarray(model(asked, training=False), np.float64)[:, 0] for model in models]
    if not np.allclose(p, said[0], rtol=0, atol=SAME_PROBABILITY):
        raise TrainingFailed("the exported arrays give other probabilities than the Keras model")
    if not np.allclose(seconds, said[1], rtol=SAME_SECONDS, atol=0):
        raise TrainingFailed("the exported arrays give other times than the Keras model")


def keras_inputs(served: NumpyLstm, attempts: Attempts, rows: Rows, padding: int = 0) -> dict[str, NDArray[Any]]:
    """What the Keras networks are asked for these rows (ascending), padded to the longest past or further."""
    past, done = _pasts(attempts, rows)
    past = np.pad(past, ((0, 0), (0, padding)))
    there = np.arange(past.shape[1]) < done[:, None]
    columns = served.ids(attempts)
    asked: dict[str, NDArray[Any]] = {}
    for name, column in zip(IDS, columns, strict=True):
        asked[name] = column[rows].astype(np.int32)
        asked[f"past_{name}"] = np.where(there, column[past], 0).astype(np.int32)
    del asked["past_student"]
    asked["inputs"] = inputs_of(known_before(attempts))[rows].astype(np.float32)
    asked["past_results"] = results(attempts)[past].astype(np.float32)
    return asked | {"past_there": there.astype(np.float32)}


def _pasts(attempts: Attempts, rows: Rows) -> tuple[Rows, Rows]:
    """The steps before each row, (m, longest), and how many they are."""
    windows = Windows.of(attempts, rows)
    back = np.argsort(windows.rows, kind="stable")
    return np.maximum(windows.steps, 0).astype(np.intp)[windows.window[back]], windows.done[back].astype(np.intp)


def fit_lstm(
    attempts: Attempts,
    *,
    groups: tuple[str, ...] = tuple(GROUPS),
    seed: int = 0,
    progress: Progress | None = None,
) -> FittedLstm:
    """Fit both networks to n tasks; `groups` of inputs (app.ml.inputs.GROUPS) that are left out count as unknown.

    The newest choose the number of epochs; from 2,000 tasks on all are then learnt from for so many.
    Raises TrainingFailed for fewer than 8 attempts and for anything that is no finite number.
    """
    if len(attempts) > MOST_ROWS:
        attempts = attempts.take(fitting.some_students(attempts, MOST_ROWS, seed))
    inputs, n = fitting.checked_inputs(attempts), len(attempts)
    held_out = min(max(2, round(n * HELD_OUT)), MOST_HELD_OUT)
    start = Start.of(attempts, inputs, n - held_out, groups, seed)
    trial = Training(start, attempts, inputs, Windows.of(attempts, np.arange(n - held_out)), seed)
    contest = Contest(trial, n - held_out, progress)
    contest.run()
    if n < AGAIN_FROM or held_out < AGAIN * n:
        fitted = trial.fitted(contest.best)
    else:
        start = Start.of(attempts, inputs, n, groups, seed)
        fitted = Training(start, attempts, inputs, Windows.of(attempts, np.arange(n)), seed).learn(contest.best_epochs)
    tried = contest.tried()
    report = {"rows": n, "full_rows": n, "epochs": contest.best_epochs} | fitting.report(tried, contest.constant)
    average = tuple(inputs.mean(axis=0).tolist())
    fitted = replace(fitted, held_out=tried, calibration=tried.calibration(), average=average, report=report)
    return _sound(fitted)


def _sound(fitted: FittedLstm) -> FittedLstm:
    if not all(np.isfinite(array).all() for pair in fitted.weights for array in pair):
        raise TrainingFailed("the trained model has weights that are no finite numbers")
    return fitted


def go_on_lstm(
    before: FittedLstm,
    attempts: Attempts,
    fresh: NDArray[np.bool_],
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> FittedLstm:
    """Go on from a model that was trained before, with bounded work: learn from the stretches that hold the `fresh`
    ones of n attempts, (n,), and from a sample of the others, as `app.ml.training.go_on_v2` does.

    Names that are new are answered as strangers until the next full training. Raises TrainingFailed as `fit_lstm`.
    """
    inputs = fitting.checked_inputs(attempts)
    everything = Windows.of(attempts, np.arange(len(attempts)))
    learning = everything.take(_stretches(everything, fresh, seed + int(before.state["step"])))
    start = Start.again(before, attempts)
    training = Training(start, attempts, inputs, learning, seed + int(before.state["step"]))
    training.memory = BATCHES
    tried = before.held_out.and_then(training.tried(np.flatnonzero(fresh)), MOST_HELD_OUT)
    for epoch in range(PASSES):
        loss = training.epoch(0)
        if not np.isfinite(loss).all():
            raise TrainingFailed("the loss became something that is no finite number")
        if progress:
            now = {"loss": float(loss[0]), "time_loss": float(loss[1])}
            progress({"step": "fit", "epoch": epoch + 1, "epochs": PASSES} | now)
    fitted = training.fitted([training.state, training.state])
    report = before.report | {"rows": before.report["rows"] + int(fresh.sum()), "learnt_rows": len(learning.rows)}
    average, calibration = before.average, tried.calibration()
    return _sound(replace(fitted, held_out=tried, calibration=calibration, average=average, report=report))


def _stretches(everything: Windows, fresh: NDArray[np.bool_], seed: int) -> NDArray[np.intp]:
    """Which stretches a training that goes on learns from."""
    sizes = np.bincount(everything.window, minlength=len(everything))
    new = np.bincount(everything.window, fresh[everything.rows], minlength=len(everything)) > 0
    order = np.random.default_rng([seed, len(fresh)]).permutation(len(everything))
    order = order[np.argsort(~new[order], kind="stable")]  # those with fresh ones first
    wanted = max(sizes[new].sum() + fitting.REPLAY * fresh.sum(), fitting.LEAST_LEARNT)
    enough = np.searchsorted(np.cumsum(sizes[order]), min(wanted, fitting.MOST_LEARNT))
    return np.asarray(order[: enough + 1])


@dataclass(frozen=True)
class Start:
    """Where a training begins: names, scale, and the state of both networks."""

    names: tuple[Names, ...]
    sizes: Sizes
    scale: Scale
    state: State
    rows: int  # that a full training learns from; they set the pace

    @classmethod
    def of(cls, attempts: Attempts, inputs: Floats, rows: int, groups: tuple[str, ...], seed: int) -> "Start":
        """From nothing, to learn from the first `rows` attempts."""
        older, told = attempts.take(slice(rows)), results(attempts)
        items = older.item if "item" in groups else older.item[:0]
        ids = (
            (attempts.students, older.student, MOST_STUDENTS),
            (attempts.topics, older.topic, None),
            (DIFFICULTIES, older.difficulty, None),
            (attempts.items, items, MOST_ITEMS),
        )
        names = tuple(Names.seen(*each) for each in ids)
        sizes = Sizes(*(len(each.known) for each in names))
        scale = Scale.seen(inputs[:rows], told[:rows], older.seconds, groups)
        return cls(names, sizes, scale, State.start(_start(sizes, older.correct, seed)), rows)

    @classmethod
    def again(cls, before: FittedLstm, attempts: Attempts) -> "Start":
        """From a model that was trained before."""
        among = (attempts.students, attempts.topics, DIFFICULTIES, attempts.items)
        names = tuple(each.among(known) for each, known in zip(before.names, among, strict=True))
        return cls(names, before.sizes, before.scale, State.of_arrays(before.state), before.report["full_rows"])


def _start(sizes: Sizes, right: NDArray[np.bool_], seed: int) -> Singles:
    """Weights that answer with the share correct and the typical time, whoever asks; (2, w)."""
    weights = [start_weights(sizes, seed + place) for place in range(len(OUTPUTS))]
    weights[0][-1] = np.array([logit((right.sum() + PRIOR_TASKS / 2) / (len(right) + PRIOR_TASKS))], np.float32)
    return np.stack([_roomy(each, sizes) for each in weights])


class Training:
    """Both networks on their way through the epochs, learning from the rows of some stretches."""

    def __init__(self, start: Start, attempts: Attempts, inputs: Floats, windows: Windows, seed: int) -> None:
        self.attempts, self.windows, self._start, self._seed = attempts, windows, start, seed
        self.graph: Graph = graph(start.sizes.room())
        self.material = self._material(inputs, results(attempts)).tensors()
        self._random = np.random.default_rng(seed)
        self._batch = max(LEAST_BATCH, start.rows // BATCHES)  # rows
        self._rate = RATE * min(1.0, self._batch / RATE_ROWS) ** RATE_POWER
        self.epochs = int(np.clip(UPDATES * self._batch / start.rows, *EPOCHS))  # that make enough steps
        self.memory = LEAST_MEMORY
        self.state = start.state

    def _material(self, inputs: Floats, told: Floats) -> Material:
        a = self.attempts
        columns = (a.student, a.topic, a.difficulty, a.item)
        student, topic, difficulty, item = (n.of(column) for n, column in zip(self._start.names, columns, strict=True))
        return Material(
            *(student, topic, difficulty, item),
            self._start.scale.of_inputs(inputs),
            self._start.scale.of_results(told),
            a.correct.astype(np.float32),
            np.log(plausible(a.seconds) / self._start.scale.seconds).astype(np.float32),
        )

    def epoch(self, number: int) -> Floats:
        """Learn from every stretch once; mean losses, (2,)."""
        losses = []
        batches = self._batches()
        for place, batch in enumerate(batches):
            done = (number + place / len(batches)) / self.epochs
            warm = min(1.0, (float(self.state.step) + 1) / WARM_UP)
            rate = self._rate * warm * (1 + np.cos(np.pi * done)) / 2
            pace = Pace(rate, DECAY, max(len(batches), self.memory), HIDE)
            self.state, loss = self.graph.step(self.state, self.material, self.windows.take(batch), pace, self._seed)
            losses.append(loss.numpy())
        return np.asarray(np.mean(losses, axis=0), np.float64)

    def _batches(self) -> list[NDArray[np.intp]]:
        """Stretches in random order, so many together that they ask for about a batch of rows."""
        order = self._random.permutation(len(self.windows))
        sizes = np.bincount(self.windows.window, minlength=len(self.windows))[order]
        batch = (np.cumsum(sizes) - 1) // self._batch
        return np.split(order, np.flatnonzero(np.diff(batch)) + 1)

    def learn(self, epochs: list[int]) -> FittedLstm:
        """So many epochs of each network; without any it stays the constant."""
        kept = [self.state, self.state]
        for number in range(max(epochs)):
            self.epoch(number)
            for which in np.flatnonzero(np.array(epochs) == number + 1):
                kept[which] = self.state
        return self.fitted(kept)

    def fitted(self, best: Sequence[State]) -> FittedLstm:
        """The networks as these states have them."""
        state, start = State.joined(best[0], best[1]), self._start
        correctness, time = (_trimmed(each, start.sizes) for each in state["average"])
        return FittedLstm(start.sizes, (correctness, time), start.names, start.scale, state)

    def tried(self, rows: Rows) -> HeldOut:
        """What the present networks say of rows that they have not learnt from."""
        windows = Windows.of(self.attempts, rows)
        p, seconds = self.raw(self.scores(windows))
        asked = self.attempts.take(windows.rows)
        return HeldOut(p, seconds, asked.correct, asked.seconds)

    def scores(self, windows: Windows) -> Floats:
        """What the present networks say of the rows of these stretches, (2, m)."""
        parts = [windows.take(part) for part in np.split(np.arange(len(windows)), range(256, len(windows), 256))]
        return np.concatenate([self.graph.scores(self.state, self.material, part) for part in parts], axis=1)

    def losses(self, scores: Floats, rows: Rows) -> Floats:
        """Cross-entropy and squared error of the log time of each row, (2, m)."""
        sign = 2.0 * self.attempts.correct[rows] - 1
        log_time = np.log(plausible(self.attempts.seconds[rows]) / self._start.scale.seconds)
        return np.stack([np.logaddexp(0, -sign * scores[0]), np.square(scores[1] - log_time)])

    def raw(self, scores: Floats) -> tuple[Floats, Floats]:
        """Probabilities and median seconds."""
        return expit(scores[0]), np.exp(scores[1]) * self._start.scale.seconds


class Contest:
    """Which epoch answers the newest rows best, for each network; the constant it starts from is the first entrant."""

    def __init__(self, training: Training, cut: int, progress: Progress | None) -> None:
        self._training, self._progress = training, progress
        self._newest = Windows.of(training.attempts, np.arange(cut, len(training.attempts)))
        self.best_scores = training.scores(self._newest)  # (2, m)
        self.constant = training.losses(self.best_scores, self._newest.rows)  # (2, m)
        self.best_losses = self.constant.mean(axis=1)  # (2,)
        self.best_epochs = [0, 0]
        self.best = [training.state, training.state]

    def run(self) -> None:
        """Epochs until neither network gets better any more."""
        for number in range(self._training.epochs):
            self._enter(number + 1, self._training.epoch(number))
            if number + 1 - max(self.best_epochs) >= PATIENCE:
                break

    def _enter(self, epoch: int, learning: Floats) -> None:
        scores = self._training.scores(self._newest)
        losses = self._training.losses(scores, self._newest.rows)
        now = losses.mean(axis=1)
        if not (np.isfinite(learning).all() and np.isfinite(now).all()):
            raise TrainingFailed("the loss became something that is no finite number")
        least = LEAST_GAIN * max(1.0, MANY / scores.shape[1]) ** 0.5
        for which in np.flatnonzero(fitting.convincing(self.constant, losses) & (now < self.best_losses * (1 - least))):
            self.best_losses[which], self.best_scores[which] = now[which], scores[which]
            self.best_epochs[which] = epoch
            self.best[which] = self._training.state
        if self._progress:
            names = ("loss", "time_loss", "val_loss", "val_time_loss")
            said = dict(zip(names, (*learning.tolist(), *now.tolist()), strict=True))
            self._progress({"step": "fit", "epoch": epoch, "epochs": self._training.epochs} | said)

    def tried(self) -> HeldOut:
        """What the kept epochs say of the newest rows."""
        newest = self._training.attempts.take(self._newest.rows)
        return HeldOut(*self._training.raw(self.best_scores), newest.correct, newest.seconds)


def _roomy(weights: list[Singles], sizes: Sizes) -> Singles:
    """All weights of a network as one vector, with room for more names; the room is filled with zeros.

    Zeros stay zeros: where a column of an embedding and the row of the kernel behind it are 0, so are their gradients.
    """
    parts = []
    for weight, big, places in zip(weights, shapes(sizes.room()).values(), _places(sizes), strict=True):
        part = np.zeros(big, np.float32)
        part[places] = weight
        parts.append(part.ravel())
    return np.concatenate(parts)


def _trimmed(flat: Singles, sizes: Sizes) -> list[Singles]:
    """The reverse of `_roomy`."""
    big = list(shapes(sizes.room()).values())
    parts = np.split(flat, np.cumsum([int(np.prod(shape)) for shape in big])[:-1])
    return [part.reshape(shape)[p] for part, shape, p in zip(parts, big, _places(sizes), strict=True)]


def _places(sizes: Sizes) -> list[Any]:
    """Where the weights of networks of these sizes lie in those with room for more names."""
    own, big = sizes.vectors(), sizes.room().vectors()
    starts = np.cumsum([0, *big.values()])
    names = np.concatenate([start + np.arange(own[name]) for start, name in zip(starts, IDS, strict=False)])
    places: list[Any] = []
    for name, shape in shapes(sizes).items():
        rows = np.arange(shape[0])
        if name in ("lstm_64_kernel", "dense_32_kernel"):  # the kernels that read the embeddings, and then the rest
            rest = shape[0] - len(names)
            rows = np.concatenate([names, starts[-1] + np.arange(rest)])
        places.append(np.ix_(rows, *(np.arange(length) for length in shape[1:])))
    return places
