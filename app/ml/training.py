"""Train V2: attempts in, a fitted model and a report out. No database, no clock, no HTTP."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from app.domain.attempts import DIFFICULTIES, Attempts
from app.ml import fitting
from app.ml.calibration import Calibration
from app.ml.embedding_model_v2 import OUTPUTS, Scale, Sizes, folded, network
from app.ml.fitting import Names, Progress, TrainingFailed
from app.ml.inputs import GROUPS, INPUTS
from app.ml.keras_training import TINY, Pace, Pair, Rows
from app.ml.numpy_v2 import KIND, METADATA_FILE, WEIGHTS_FILE, NumpyV2

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

__all__ = ["FittedV2", "Names", "Progress", "TrainingFailed", "fit_v2", "golden_rows"]

Floats = NDArray[np.float64]
Asked = tuple[list[str], list[str], list[str], list[str | None], Floats]  # what a version is asked, as columns of n

PRIOR_TASKS = 10  # half of them right: what the share correct counts beside the real ones
HELD_OUT = 0.15  # share, the newest
LEAST_HELD_OUT = 2  # rows
EPOCHS = 25
MEMORY = 400.0  # steps, an epoch at the least: what is judged and kept are the mean weights of about the last ones
PATIENCE = 6  # epochs without a better one
RATE = 3e-3  # learning rate at the start, falling to 0 along half a cosine
DECAY = 0.3
USUAL_BATCH = 128  # rows; smaller ones say less: they move the weights more slowly, and decay holds against them
HIDE = (0.9, 0.02, 0.02, 0.02)  # chance to be shown as unknown: a student's name must not stand in for their past
INTERCEPT_SD = 0.03  # of the calibration, logits: training on all rows brings the newest ones' level itself
TYPICAL_TIME = float(np.log(np.e - 1))  # softplus of it is 1: the time network's start
FILES = ("correctness_model.keras", "time_model.keras")
SAME_PROBABILITY = 1e-5
SAME_SECONDS = 1e-4  # relative


@dataclass(frozen=True)
class FittedV2:
    """Both networks after training, with the names and scales they were trained with."""

    models: tuple["keras.Model", "keras.Model"]  # correctness, time
    students: Names
    topics: Names
    difficulties: Names
    items: Names
    groups: tuple[str, ...]  # of the inputs
    scale: Scale
    average: tuple[float, ...] = ()  # (24,) inputs of the tasks it was fitted on
    calibration: Calibration = field(default_factory=Calibration)
    report: dict[str, Any] = field(default_factory=dict)  # held-out scores

    def names(self) -> tuple[Names, Names, Names, Names]:
        """In the order of the networks' inputs."""
        return self.students, self.topics, self.difficulties, self.items

    def sizes(self) -> Sizes:
        """How many of each have a vector."""
        return Sizes(*(len(names.known) for names in self.names()))

    def metadata(self) -> dict[str, Any]:
        """What the arrays need to be read: names in embedding order, inputs, calibration, scores."""
        return {
            "kind": KIND,
            "inputs": list(INPUTS),
            "groups": list(self.groups),
            "students": list(self.students.known),
            "topics": list(self.topics.known),
            "difficulties": list(self.difficulties.known),
            "items": list(self.items.known),
            "calibration": self.calibration.to_dict(),
            "average": list(self.average),
            "report": self.report,
        }

    def serving(self) -> NumpyV2:
        """The same model without TensorFlow."""
        return NumpyV2(folded(self.models, self.scale), self.metadata())

    def raw(self, *asked: Any) -> tuple[Floats, Floats]:
        """Probabilities and seconds (n,) by the Keras networks themselves; arguments as of `NumpyV2.predict`."""
        *columns, inputs = asked
        ids = []
        for column, names in zip(columns, self.names(), strict=True):
            place: dict[str | None, int] = {name: index for index, name in enumerate(names.known, start=1)}
            ids.append(np.array([place.get(name, 0) for name in column], np.int32))
        given = [*ids, inputs.astype(np.float32)]
        p, seconds = (np.asarray(model(given, training=False))[:, 0].astype(np.float64) for model in self.models)
        return p, seconds

    def save(self, folder: Path) -> None:
        """Write both Keras models, the served arrays and metadata.json, and check that they say the same.

        Raises TrainingFailed when the arrays differ from Keras on golden rows.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for model, file in zip(self.models, FILES, strict=True):
            model.save(folder / file)
        folded(self.models, self.scale).save(folder / WEIGHTS_FILE)
        (folder / METADATA_FILE).write_text(json.dumps(self.metadata(), indent=1, ensure_ascii=False), encoding="utf-8")
        self._compare(NumpyV2.load(folder))

    def _compare(self, served: NumpyV2) -> None:
        rows = golden_rows(self)
        p, seconds = self.raw(*rows)
        served_p, served_seconds = served.raw(*rows)
        if not np.allclose(served_p, p, rtol=0, atol=SAME_PROBABILITY):
            raise TrainingFailed("the exported arrays give other probabilities than the Keras model")
        if not np.allclose(served_seconds, seconds, rtol=SAME_SECONDS, atol=0):
            raise TrainingFailed("the exported arrays give other times than the Keras model")


def golden_rows(fitted: FittedV2) -> Asked:
    """64 tasks, a quarter of the names unknown or none, with no past or a long one, times up to 5,000 s."""
    random = np.random.default_rng(0)

    def some(names: Names, otherwise: str | None = "\0 nobody") -> list[Any]:
        known = random.integers(0, max(len(names.known), 1), 64)
        return [names.known[place] if names.known and random.random() < 0.75 else otherwise for place in known]

    inputs = random.random((64, len(INPUTS)))
    for column, name in enumerate(INPUTS):
        if name.endswith("_time"):
            inputs[:, column] = random.lognormal(0, 1.5, 64).clip(0, 50)
        elif name.startswith("log_since"):
            inputs[:, column] *= 14
        elif name.endswith(("_count", "_tasks")):
            inputs[:, column] *= random.choice([0, 1, 50], 64)
    return some(fitted.students), some(fitted.topics), some(fitted.difficulties), some(fitted.items, None), inputs


def fit_v2(
    attempts: Attempts,
    *,
    groups: Sequence[str] = tuple(GROUPS),
    seed: int = 0,
    progress: Progress | None = None,
) -> FittedV2:
    """Train both networks on the older attempts to find, of each, the epoch that answers the newest ones best, and to
    calibrate; then on all attempts up to that epoch.

    Only inputs of these groups are used. Raises TrainingFailed for fewer than 8 attempts and for anything that is no
    finite number.
    """
    inputs, used = fitting.checked_inputs(attempts), tuple(groups)
    cut = len(attempts) - max(LEAST_HELD_OUT, round(len(attempts) * HELD_OUT))
    judged = _untrained(attempts, inputs, used, slice(cut), seed)
    contest = Contest(Pair(judged.models, judged.sizes()), _rows(judged, attempts, inputs, slice(cut)), cut)
    epochs = _train(contest, cut, seed, progress)
    newest = attempts.take(slice(cut, None))
    p, seconds = _answers(judged, contest)
    calibration = Calibration.fitted(newest.correct, p, newest.seconds, seconds, intercept_sd=INTERCEPT_SD)
    fitted = _untrained(attempts, inputs, used, slice(None), seed)
    _learn(fitted, _rows(fitted, attempts, inputs, slice(None)), contest.best_epochs, seed)
    report = {"rows": len(attempts), "epochs": epochs, "best_epochs": contest.best_epochs}
    report |= fitting.report(newest, p, seconds, contest.constant)
    return replace(fitted, average=tuple(inputs.mean(axis=0).tolist()), calibration=calibration, report=report)


def _untrained(attempts: Attempts, inputs: Floats, groups: tuple[str, ...], older: slice, seed: int) -> FittedV2:
    """Networks that answer with the share correct and the typical time of the older rows, whoever asks.

    There is a vector for every name of all rows, so that the second training finds the graph of the first.
    """
    students = Names.seen(attempts.students, attempts.student)
    topics = Names.seen(attempts.topics, attempts.topic)
    difficulties = Names.seen(DIFFICULTIES, attempts.difficulty)
    items = Names.seen(attempts.items, attempts.item if "item" in groups else attempts.item[:0])
    correct, seconds = attempts.correct[older], attempts.seconds[older]
    scale = Scale.of(inputs[older], seconds, groups)
    sizes = Sizes(*(len(names.known) for names in (students, topics, difficulties, items)))
    correctness, time = (network(sizes, output, scale, seed + place) for place, output in enumerate(OUTPUTS))
    share = (correct.sum() + PRIOR_TASKS / 2) / (len(correct) + PRIOR_TASKS)
    correctness.get_layer("score").bias.assign([logit(share)])
    time.get_layer("score").bias.assign([TYPICAL_TIME])
    return FittedV2((correctness, time), students, topics, difficulties, items, groups, scale)


def _rows(fitted: FittedV2, attempts: Attempts, inputs: Floats, older: slice) -> Rows:
    """All rows; a name that the older ones do not show is unknown."""

    def shown(names: Names, rows: NDArray[np.int32]) -> NDArray[np.int32]:
        places = names.of(rows)
        return np.where(np.isin(places, places[older]), places, 0).astype(np.int32)

    return Rows(
        shown(fitted.students, attempts.student),
        shown(fitted.topics, attempts.topic),
        shown(fitted.difficulties, attempts.difficulty),
        shown(fitted.items, attempts.item),
        fitted.scale.normalised(inputs).astype(np.float32),
        attempts.correct.astype(np.float32),
        np.log(attempts.seconds / fitted.scale.seconds).astype(np.float32),
    )


class Contest:
    """Which epoch answers the newest rows best, for each network; the constant it starts from is the first entrant."""

    def __init__(self, pair: Pair, rows: Rows, cut: int) -> None:
        self._pair = pair
        self.older, self._newest = rows.take(slice(cut)), rows.take(slice(cut, None))
        self._asked = self._newest.tensors()
        self.state = pair.start()
        self.constant = self._losses(pair.scores(self.state, self._asked))
        self.best_scores = pair.scores(self.state, self._asked)  # (2, n)
        self.best_losses = self.constant.mean(axis=1)  # (2,)
        self.best_epochs = [0, 0]
        self.epochs = 0
        self.since = np.zeros(2, np.int64)  # epochs

    def epoch(self, learning: list["tf.Tensor"], order: NDArray[np.int32], pace: Pace, seed: int) -> Floats:
        """One epoch on from the present state; mean losses, (2, 2): learning and newest rows of each network."""
        self.state, loss = self._pair.epoch(self.state, learning, order, pace, seed)
        scores = self._pair.scores(self.state, self._asked)
        losses = self._losses(scores)
        if not (np.isfinite(loss).all() and np.isfinite(losses).all()):
            raise TrainingFailed("the loss became something that is no finite number")
        self.since += 1
        self.epochs += 1
        for which in np.flatnonzero(
            fitting.convincing(self.constant, losses) & (losses.mean(axis=1) < self.best_losses)
        ):
            self.best_losses[which] = losses[which].mean()
            self.best_scores[which] = scores[which]
            self.best_epochs[which] = self.epochs
            self.since[which] = 0
        return np.stack([loss, losses.mean(axis=1)])

    def _losses(self, scores: Floats) -> Floats:
        """Cross-entropy and squared error of the log time of each newest row, (2, n)."""
        sign = 2 * self._newest.correct - 1
        log_time = np.log(np.logaddexp(0, scores[1]) + TINY)
        return np.stack([np.logaddexp(0, -sign * scores[0]), np.square(log_time - self._newest.log_time)])


def _train(contest: Contest, rows: int, seed: int, progress: Progress | None) -> int:
    """Run the epochs until neither network gets better any more; how many there were."""
    learning = contest.older.tensors()
    for epoch in range(EPOCHS):
        loss, newest = contest.epoch(learning, _order(rows, seed, epoch), _pace(rows, epoch), seed)
        if progress:
            now = {"loss": loss[0], "val_loss": newest[0], "time_loss": loss[1], "val_time_loss": newest[1]}
            progress({"step": "fit", "epoch": epoch + 1, "epochs": EPOCHS} | {k: float(v) for k, v in now.items()})
        if contest.since.min() >= PATIENCE:
            break
    return epoch + 1


def _learn(fitted: FittedV2, rows: Rows, epochs: list[int], seed: int) -> None:
    """Train each network on all rows for its number of epochs."""
    pair = Pair(fitted.models, fitted.sizes())
    state, learning, n = pair.start(), rows.tensors(), len(rows.correct)
    for epoch in range(max(epochs)):
        state, loss = pair.epoch(state, learning, _order(n, seed, epoch), _pace(n, epoch), seed)
        if not np.isfinite(loss).all():
            raise TrainingFailed("the loss became something that is no finite number")
        for which in (0, 1):
            if epochs[which] == epoch + 1:
                pair.keep(which, state)
    if not all(np.isfinite(weights).all() for model in fitted.models for weights in model.get_weights()):
        raise TrainingFailed("the trained model has weights that are no finite numbers")


def _order(rows: int, seed: int, epoch: int) -> NDArray[np.int32]:
    """A shuffle in which a few rows more leave the order of the others as it is."""
    return np.random.default_rng([seed, epoch]).random(rows).argsort().astype(np.int32)


def _pace(rows: int, epoch: int) -> Pace:
    batch = _batch(rows)
    noise = max(1.0, USUAL_BATCH / batch)
    rate = RATE / np.sqrt(noise) * (1 + np.cos(np.pi * epoch / EPOCHS)) / 2
    return Pace(batch, rate, DECAY * noise, HIDE, max(MEMORY, rows / batch))


def _batch(rows: int) -> int:
    """16 rows up to a thousand, 512 from 32,768 on."""
    return min(rows, int(np.clip(2 ** np.ceil(np.log2(rows / 64)), 16, 512)))


def _answers(fitted: FittedV2, contest: Contest) -> tuple[Floats, Floats]:
    """What the kept epochs say of the newest rows, probabilities and seconds."""
    p = np.asarray(expit(contest.best_scores[0]), np.float64)
    seconds = np.logaddexp(0, contest.best_scores[1]) * fitted.scale.seconds
    return p, seconds
