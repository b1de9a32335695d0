"""Train V2: attempts in, a fitted model and a report out. No database, no clock, no HTTP."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from app.domain.attempts import DIFFICULTIES, Attempts
from app.ml import metrics
from app.ml.embedding_model_v2 import OUTPUTS, Scale, Sizes, folded, network, transformed
from app.ml.features import FEATURES, history_features, totals_before
from app.ml.keras_training import TINY, Pace, Pair, Rows
from app.ml.numpy_v2 import KIND, METADATA_FILE, WEIGHTS_FILE, NumpyV2

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

Floats = NDArray[np.float64]
Progress = Callable[[dict[str, Any]], None]

LEAST = 10  # attempts
HELD_OUT = 0.2  # share, the newest
EPOCHS = 30
FEW = 10  # newest rows: with these, an epoch must be two standard errors better than the constant
PATIENCE = 6  # epochs without a better one
RATE = 3e-3  # learning rate at the start, falling to 0 along half a cosine
DECAY = 0.3
HIDE = (0.9, 0.02, 0.02)  # chance to be shown as unknown: a student's name must not stand in for their features
LEAST_VARIANCE = 0.01  # of a transformed feature, where all rows have the same
TYPICAL_TIME = float(np.log(np.e - 1))  # softplus of it is 1: the time network's start
FILES = ("correctness_model.keras", "time_model.keras")
SAME_PROBABILITY = 1e-5
SAME_SECONDS = 1e-4  # relative


class TrainingFailed(ValueError):
    """No model came out; the message says why in one sentence."""


@dataclass(frozen=True, slots=True)
class Names:
    """The ids that have a vector of their own, in embedding order from index 1."""

    known: tuple[str, ...]
    places: NDArray[np.int32]  # position in the attempts' ids -> index in the embedding, 0 = unknown

    @classmethod
    def seen(cls, names: Sequence[str], rows: NDArray[np.int32]) -> "Names":
        """Only ids that the training part shows can have learnt anything."""
        used = np.unique(rows)
        places = np.zeros(len(names), np.int32)
        places[used] = np.arange(1, len(used) + 1)
        return cls(tuple(names[place] for place in used), places)


@dataclass(frozen=True)
class FittedV2:
    """Both networks after training, with the names and scales they were trained with."""

    models: tuple["keras.Model", "keras.Model"]  # correctness, time
    students: Names
    topics: Names
    difficulties: Names
    scale: Scale
    report: dict[str, Any] = field(default_factory=dict)  # held-out scores

    def sizes(self) -> Sizes:
        """How many of each have a vector."""
        return Sizes(len(self.students.known), len(self.topics.known), len(self.difficulties.known))

    def metadata(self) -> dict[str, Any]:
        """What the arrays need to be read: names in embedding order, features, scores."""
        return {
            "kind": KIND,
            "features": list(FEATURES),
            "students": list(self.students.known),
            "topics": list(self.topics.known),
            "difficulties": list(self.difficulties.known),
            "report": self.report,
        }

    def serving(self) -> NumpyV2:
        """The same model without TensorFlow."""
        return NumpyV2(folded(self.models, self.scale), self.metadata())

    def predict(
        self, students: Sequence[str], topics: Sequence[str], difficulties: Sequence[str], features: Floats
    ) -> tuple[Floats, Floats]:
        """Probabilities (n,) and median seconds (n,) by the Keras networks themselves, not clipped."""
        named = ((students, self.students), (topics, self.topics), (difficulties, self.difficulties))
        inputs = []
        for asked, names in named:
            place = {name: index for index, name in enumerate(names.known, start=1)}
            inputs.append(np.array([place.get(name, 0) for name in asked], np.int32))
        inputs.append(features.astype(np.float32))
        p, seconds = (np.asarray(model(inputs, training=False))[:, 0].astype(np.float64) for model in self.models)
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
        p, seconds = self.predict(*rows)
        served_p, served_seconds = served.predict(*rows)
        if not np.allclose(served_p, p, rtol=0, atol=SAME_PROBABILITY):
            raise TrainingFailed("the exported arrays give other probabilities than the Keras model")
        if not np.allclose(served_seconds, seconds, rtol=SAME_SECONDS, atol=0):
            raise TrainingFailed("the exported arrays give other times than the Keras model")


def golden_rows(fitted: FittedV2) -> tuple[list[str], list[str], list[str], Floats]:
    """64 tasks, a quarter of the names unknown, with no past or a long one, average times up to 5,000 s."""
    random = np.random.default_rng(0)

    def some(names: Names) -> list[str]:
        known = random.integers(0, len(names.known), 64)
        return [names.known[place] if random.random() < 0.75 else "\0 nobody" for place in known]

    features = random.random((64, len(FEATURES)))
    features[:, 1::3] = random.lognormal(0, 1.5, (64, 4)).clip(0, 50)
    features[:, 2::3] *= random.choice([0, 1, 50], (64, 1))
    return some(fitted.students), some(fitted.topics), some(fitted.difficulties), features


def fit_v2(attempts: Attempts, *, seed: int = 0, progress: Progress | None = None) -> FittedV2:
    """Train both networks on the older attempts and keep, of each, the epoch that answers the newest fifth best.

    Raises TrainingFailed for fewer than 10 attempts and for anything that is no finite number.
    """
    features = _checked_features(attempts)
    cut = len(attempts) - max(2, round(len(attempts) * HELD_OUT))
    fitted = _untrained(attempts.take(slice(cut)), features[:cut], seed)
    rows = _rows(fitted, attempts, features)
    pair = Pair(fitted.models, fitted.sizes())
    contest = Contest(pair, rows, cut)
    epochs = _train(contest, cut, seed, progress)
    for which, state in enumerate(contest.best_states):
        pair.keep(which, state)
    if not all(np.isfinite(weights).all() for model in fitted.models for weights in model.get_weights()):
        raise TrainingFailed("the trained model has weights that are no finite numbers")
    report = {"rows": len(attempts), "epochs": epochs} | _report(attempts.take(slice(cut, None)), fitted, contest)
    return replace(fitted, report=report)


def _checked_features(attempts: Attempts) -> Floats:
    if len(attempts) < LEAST:
        raise TrainingFailed(f"expected at least {LEAST} attempts, got {len(attempts)}")
    wrong = ~(np.isfinite(attempts.seconds) & (attempts.seconds > 0))
    if wrong.any():
        raise TrainingFailed(f"expected times above 0 seconds, got {attempts.seconds[wrong][0]}")
    features = history_features(totals_before(attempts))
    if not np.isfinite(features).all():
        raise TrainingFailed("expected finite features")
    return features


def _untrained(older: Attempts, features: Floats, seed: int) -> FittedV2:
    """Networks that answer with the share correct and the typical time, whoever asks."""
    students = Names.seen(older.students, older.student)
    topics = Names.seen(older.topics, older.topic)
    difficulties = Names.seen(DIFFICULTIES, older.difficulty)
    past = transformed(features)
    typical = float(np.exp(np.log(older.seconds).mean()))
    scale = Scale(tuple(past.mean(axis=0).tolist()), tuple((past.var(axis=0) + LEAST_VARIANCE).tolist()), typical)
    sizes = Sizes(len(students.known), len(topics.known), len(difficulties.known))
    correctness, time = (network(sizes, output, scale, seed + place) for place, output in enumerate(OUTPUTS))
    share = (older.correct.sum() + 1) / (len(older) + 2)
    correctness.get_layer("score").bias.assign([logit(share)])
    time.get_layer("score").bias.assign([TYPICAL_TIME])
    return FittedV2((correctness, time), students, topics, difficulties, scale)


def _rows(fitted: FittedV2, attempts: Attempts, features: Floats) -> Rows:
    past = (transformed(features) - fitted.scale.mean) / np.sqrt(fitted.scale.variance)
    return Rows(
        fitted.students.places[attempts.student],
        fitted.topics.places[attempts.topic],
        fitted.difficulties.places[attempts.difficulty],
        past.astype(np.float32),
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
        self.best_states = [self.state, self.state]
        self.since = np.zeros(2, np.int64)  # epochs

    def epoch(self, learning: list["tf.Tensor"], order: NDArray[np.int32], pace: Pace, seed: int) -> Floats:
        """One epoch on from the present state; mean losses, (2, 2): learning and newest rows of each network."""
        self.state, loss = self._pair.epoch(self.state, learning, order, pace, seed)
        scores = self._pair.scores(self.state, self._asked)
        losses = self._losses(scores)
        if not (np.isfinite(loss).all() and np.isfinite(losses).all()):
            raise TrainingFailed("the loss became something that is no finite number")
        self.since += 1
        for which in np.flatnonzero(self._convincing(losses) & (losses.mean(axis=1) < self.best_losses)):
            self.best_losses[which] = losses[which].mean()
            self.best_scores[which] = scores[which]
            self.best_states[which] = self.state
            self.since[which] = 0
        return np.stack([loss, losses.mean(axis=1)])

    def _losses(self, scores: Floats) -> Floats:
        """Cross-entropy and squared error of the log time of each newest row, (2, n)."""
        sign = 2 * self._newest.correct - 1
        log_time = np.log(np.logaddexp(0, scores[1]) + TINY)
        return np.stack([np.logaddexp(0, -sign * scores[0]), np.square(log_time - self._newest.log_time)])

    def _convincing(self, losses: Floats) -> NDArray[np.bool_]:
        """Better than the constant by a standard error, by several with few rows: two lucky ones elect nobody."""
        gain = self.constant - losses
        n = gain.shape[1]
        error = np.sqrt(np.square(gain).mean(axis=1) / n)
        return np.asarray(gain.mean(axis=1) > error * (1 + FEW / n))


def _train(contest: Contest, rows: int, seed: int, progress: Progress | None) -> int:
    """Run the epochs until neither network gets better any more; how many there were."""
    random = np.random.default_rng(seed)
    learning = contest.older.tensors()
    for epoch in range(EPOCHS):
        rate = RATE * (1 + np.cos(np.pi * epoch / EPOCHS)) / 2
        order = random.permutation(rows).astype(np.int32)
        loss, newest = contest.epoch(learning, order, Pace(_batch(rows), rate, DECAY, HIDE), seed)
        if progress:
            now = {"loss": loss[0], "val_loss": newest[0], "time_loss": loss[1], "val_time_loss": newest[1]}
            progress({"step": "fit", "epoch": epoch + 1, "epochs": EPOCHS} | {k: float(v) for k, v in now.items()})
        if contest.since.min() >= PATIENCE:
            break
    return epoch + 1


def _batch(rows: int) -> int:
    """16 rows up to a thousand, 512 from 32,768 on."""
    return min(rows, int(np.clip(2 ** np.ceil(np.log2(rows / 64)), 16, 512)))


def _report(newest: Attempts, fitted: FittedV2, contest: Contest) -> dict[str, Any]:
    """Scores of the kept epochs on the rows they were chosen by."""
    p = expit(contest.best_scores[0])
    seconds = np.logaddexp(0, contest.best_scores[1]) * fitted.scale.seconds
    if not (np.isfinite(p).all() and np.isfinite(seconds).all() and (seconds > 0).all()):
        raise TrainingFailed("the trained model gives predictions that are no finite numbers")
    area = metrics.auc(newest.correct, p)
    constant = contest.constant.mean(axis=1)
    return {
        "held_out_rows": len(newest),
        "auc": None if np.isnan(area) else area,
        "log_loss": metrics.log_loss(newest.correct, p),
        "brier": metrics.brier(newest.correct, p),
        "rmse_log_time": metrics.rmse_log_time(newest.seconds, seconds),
        "mae_seconds": metrics.mae_seconds(newest.seconds, seconds),
        "constant_log_loss": float(constant[0]),
        "constant_rmse_log_time": float(np.sqrt(constant[1])),
    }
