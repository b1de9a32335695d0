"""Train V2: attempts in, a fitted model and a report out. No database, no clock, no HTTP."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from app.domain.attempts import DIFFICULTIES, Attempts
from app.ml import fitting
from app.ml.calibration import Calibration
from app.ml.embedding_model_v2 import OUTPUTS, Scale, Sizes, folded, network, set_weights
from app.ml.fitting import HeldOut, Names, Progress, TrainingFailed
from app.ml.inputs import GROUPS, INPUTS
from app.ml.kinds import GOES_ON_FROM
from app.ml.numpy_training import TINY, Learner, Pace, Rows, State, joined, scores, start, weights_of
from app.ml.numpy_v2 import KIND, METADATA_FILE, WEIGHTS_FILE, NumpyV2

if TYPE_CHECKING:
    import keras

__all__ = ["FittedV2", "Names", "Progress", "TrainingFailed", "fit_v2", "go_on_v2", "golden_rows"]

Floats = NDArray[np.float64]
Asked = tuple[list[str], list[str], list[str], list[str | None], Floats]  # what a version is asked, as columns of n

PRIOR_TASKS = 10  # half of them right: what the share correct counts beside the real ones
HELD_OUT = 0.15  # share, the newest
LEAST_HELD_OUT = 2  # rows
MOST_HELD_OUT = 5_000  # rows
AGAIN = 0.05  # share held out, from which it is worth while to learn from these rows too
MOST_STUDENTS, MOST_ITEMS = 2_000, 4_000  # that have a vector of their own, those with most tasks
EPOCHS = 25
PASSES = 3  # over the rows of a training that goes on
LEAST_EPOCHS = 5
MANY_ROWS = 100_000  # with more of them there are fewer epochs
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

    state: State
    sizes: Sizes
    students: Names
    topics: Names
    difficulties: Names
    items: Names
    groups: tuple[str, ...]  # of the inputs
    scale: Scale
    held_out: HeldOut = field(default_factory=HeldOut)
    average: tuple[float, ...] = ()  # (24,) inputs of the tasks it was fitted on
    calibration: Calibration = field(default_factory=Calibration)
    report: dict[str, Any] = field(default_factory=dict)  # held-out scores

    def names(self) -> tuple[Names, Names, Names, Names]:
        """In the order of the networks' inputs."""
        return self.students, self.topics, self.difficulties, self.items

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
            "lengths": list(self.sizes.lengths),
            "scale": asdict(self.scale),
            "calibration": self.calibration.to_dict(),
            "average": list(self.average),
            "report": self.report,
        }

    def serving(self) -> NumpyV2:
        """The same model without TensorFlow."""
        return NumpyV2(folded(weights_of(self.state, self.sizes), self.scale), self.metadata())

    def models(self) -> tuple["keras.Model", "keras.Model"]:
        """The Keras networks."""
        weights, models = weights_of(self.state, self.sizes), [network(self.sizes, o, self.scale) for o in OUTPUTS]
        for which, model in enumerate(models):
            set_weights(model, weights, which)
        return models[0], models[1]

    def save(self, folder: Path) -> None:
        """Write both Keras models, the served arrays, metadata.json and where a training may go on; and check that the
        first two say the same.

        Raises TrainingFailed when the arrays differ from Keras on golden rows.
        """
        folder.mkdir(parents=True, exist_ok=True)
        models = self.models()
        for model, file in zip(models, FILES, strict=True):
            model.save(folder / file)
        folded(weights_of(self.state, self.sizes), self.scale).save(folder / WEIGHTS_FILE)
        np.savez(folder / GOES_ON_FROM, allow_pickle=False, **{**self.state.arrays(), **self.held_out.arrays()})
        (folder / METADATA_FILE).write_text(json.dumps(self.metadata(), indent=1, ensure_ascii=False), encoding="utf-8")
        self._compare(models, NumpyV2.load(folder))

    @classmethod
    def load(cls, folder: Path) -> "FittedV2":
        """What `save` wrote, to go on from; raises ValueError, KeyError or OSError where it can't be read."""
        kept = json.loads((folder / METADATA_FILE).read_text(encoding="utf-8"))
        names = [Names.of_known(kept[each]) for each in ("students", "topics", "difficulties", "items")]
        with np.load(folder / GOES_ON_FROM, allow_pickle=False) as arrays:
            state, held_out = State.of_arrays(arrays), HeldOut.of_arrays(arrays)
        return cls(
            state,
            Sizes.with_lengths([len(each.known) for each in names], kept["lengths"]),
            names[0],
            names[1],
            names[2],
            names[3],
            tuple(kept["groups"]),
            Scale.from_dict(kept["scale"]),
            held_out,
            tuple(kept["average"]),
            Calibration.from_dict(kept["calibration"]),
            kept["report"],
        )

    def raw(self, models: Sequence["keras.Model"], *asked: Any) -> tuple[Floats, Floats]:
        """Probabilities and seconds (n,) by the Keras networks themselves; arguments as of `NumpyV2.predict`."""
        *columns, inputs = asked
        ids = []
        for column, names in zip(columns, self.names(), strict=True):
            place: dict[str | None, int] = {name: index for index, name in enumerate(names.known, start=1)}
            ids.append(np.array([place.get(name, 0) for name in column], np.int32))
        given = [*ids, inputs.astype(np.float32)]
        p, seconds = (np.asarray(model(given, training=False))[:, 0].astype(np.float64) for model in models)
        return p, seconds

    def _compare(self, models: Sequence["keras.Model"], served: NumpyV2) -> None:
        rows = golden_rows(self)
        p, seconds = self.raw(models, *rows)
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
    epochs: int | None = None,
) -> FittedV2:
    """Train both networks on the older attempts to find, of each, the epoch that answers the newest ones best, and to
    calibrate; then on all attempts up to that epoch, where the newest are a good part of them.

    Only inputs of these groups are used; `epochs` is the most there may be (none: by the number of attempts). Raises
    TrainingFailed for fewer than 8 attempts and for anything that is no finite number.
    """
    inputs, n = fitting.checked_inputs(attempts), len(attempts)
    held_out = min(max(LEAST_HELD_OUT, round(n * HELD_OUT)), MOST_HELD_OUT)
    cut, most = n - held_out, epochs or usual_epochs(n)
    judged = _untrained(attempts, inputs, tuple(groups), slice(cut), seed)
    contest = Contest(judged, _rows(judged, attempts, inputs), cut, seed)
    ran = _train(contest, cut, most, seed, progress)
    p, seconds = expit(contest.best_scores[0]), _seconds(contest.best_scores[1], judged.scale)
    tried = HeldOut(p, seconds, attempts.correct[cut:], attempts.seconds[cut:])
    if held_out > AGAIN * n:
        fitted = _untrained(attempts, inputs, tuple(groups), slice(None), seed)
        fitted = _learn(fitted, _rows(fitted, attempts, inputs), contest.best_epochs, most, seed)
    else:
        fitted = replace(judged, state=contest.best())
    report = {"rows": n, "full_rows": n, "epochs": ran, "best_epochs": contest.best_epochs}
    report |= fitting.report(tried, contest.constant)
    average = tuple(inputs.mean(axis=0).tolist())
    return replace(fitted, held_out=tried, calibration=tried.calibration(INTERCEPT_SD), average=average, report=report)


def go_on_v2(
    before: FittedV2,
    attempts: Attempts,
    fresh: NDArray[np.bool_],
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> FittedV2:
    """Go on from a model that was trained before, with bounded work: learn from the `fresh` ones of n attempts, (n,),
    and from a sample of the others, that they be not forgotten (experience replay: Lin 1992, Machine Learning 8).

    What the model says of the fresh ones before it learns from them calibrates it anew. The scale stays; names that
    are new get vectors that begin as a stranger's. Raises TrainingFailed as `fit_v2` does.
    """
    inputs, chosen = fitting.checked_inputs(attempts), fitting.replayed(fresh, seed + before.state.step)
    fitted = _with_names(before, attempts, np.flatnonzero(fresh))
    rows = _rows(fitted, attempts, inputs)
    tried = before.held_out.and_then(
        _tried(fitted, rows.take(np.flatnonzero(fresh)), attempts.take(fresh)), MOST_HELD_OUT
    )
    learner, learning = Learner(fitted.state, fitted.sizes, seed), rows.take(chosen)
    pace = _going_on(before.report["full_rows"], len(chosen))
    for epoch in range(PASSES):
        loss = learner.epoch(learning, _order(len(chosen), seed, epoch), pace)
        if not np.isfinite(loss).all():
            raise TrainingFailed("the loss became something that is no finite number")
        if progress:
            now = {"loss": float(loss[0]), "time_loss": float(loss[1])}
            progress({"step": "fit", "epoch": epoch + 1, "epochs": PASSES} | now)
    report = before.report | {"rows": before.report["rows"] + int(fresh.sum()), "learnt_rows": len(chosen)}
    fitted = replace(fitted, state=learner.state(), held_out=tried, calibration=tried.calibration(INTERCEPT_SD))
    return _sound(replace(fitted, report=report))


def _with_names(before: FittedV2, attempts: Attempts, rows: NDArray[np.intp]) -> FittedV2:
    """The same model with vectors for the names of these rows too, while there is room."""
    students = before.students.among(attempts.students, attempts.student[rows], MOST_STUDENTS)
    topics = before.topics.among(attempts.topics, attempts.topic[rows])
    difficulties = before.difficulties.among(DIFFICULTIES, attempts.difficulty[rows])
    item = attempts.item[rows] if "item" in before.groups else attempts.item[:0]
    items = before.items.among(attempts.items, item, MOST_ITEMS)
    counts = [len(names.known) for names in (students, topics, difficulties, items)]
    sizes = Sizes.with_lengths(counts, before.sizes.lengths)
    state = before.state.with_room(before.sizes, sizes)
    return replace(
        before, state=state, sizes=sizes, students=students, topics=topics, difficulties=difficulties, items=items
    )


def _tried(fitted: FittedV2, rows: Rows, attempts: Attempts) -> HeldOut:
    """What it says of tasks that it has not learnt from."""
    said = scores(weights_of(fitted.state, fitted.sizes), rows)
    return HeldOut(expit(said[0]), _seconds(said[1], fitted.scale), attempts.correct, attempts.seconds)


def _going_on(full_rows: int, rows: int) -> Pace:
    """The batches of the full training at the pace of its start; the running mean calms what that stirs up."""
    pace = _pace(full_rows, 0.0)
    return replace(pace, batch=min(rows, pace.batch), memory=MEMORY)


def usual_epochs(rows: int) -> int:
    """Fewer where there are so many rows that each epoch is long."""
    return int(np.clip(EPOCHS * MANY_ROWS // rows, LEAST_EPOCHS, EPOCHS))


def _untrained(attempts: Attempts, inputs: Floats, groups: tuple[str, ...], older: slice, seed: int) -> FittedV2:
    """Networks that answer with the share correct and the typical time of the older rows, whoever asks."""
    a = attempts.take(older)
    students = Names.seen(attempts.students, a.student, MOST_STUDENTS)
    topics = Names.seen(attempts.topics, a.topic)
    difficulties = Names.seen(DIFFICULTIES, a.difficulty)
    items = Names.seen(attempts.items, a.item if "item" in groups else a.item[:0], MOST_ITEMS)
    sizes = Sizes.of(*(len(names.known) for names in (students, topics, difficulties, items)))
    weights = start(sizes, seed)
    share = (a.correct.sum() + PRIOR_TASKS / 2) / (len(a) + PRIOR_TASKS)
    weights["score_bias"][:] = logit(share), TYPICAL_TIME
    scale = Scale.of(inputs[older], a.seconds, groups)
    return FittedV2(State.fresh(weights), sizes, students, topics, difficulties, items, groups, scale)


def _rows(fitted: FittedV2, attempts: Attempts, inputs: Floats) -> Rows:
    """The attempts as the networks see them."""
    columns = (attempts.student, attempts.topic, attempts.difficulty, attempts.item)
    return Rows(
        np.stack([names.of(column) for names, column in zip(fitted.names(), columns, strict=True)]),
        fitted.scale.normalised(inputs).astype(np.float32),
        attempts.correct.astype(np.float32),
        np.log(attempts.seconds / fitted.scale.seconds).astype(np.float32),
    )


class Contest:
    """Which epoch answers the newest rows best, for each network; the constant it starts from is the first entrant."""

    def __init__(self, fitted: FittedV2, rows: Rows, cut: int, seed: int) -> None:
        self._learner, self._sizes = Learner(fitted.state, fitted.sizes, seed), fitted.sizes
        self.older, self._newest = rows.take(slice(cut)), rows.take(slice(cut, None))
        self.best_scores = self._learner.scores(self._newest)  # (2, n)
        self.constant = self._losses(self.best_scores)
        self.best_losses = self.constant.mean(axis=1)  # (2,)
        self.best_epochs = [0, 0]
        self._best = [fitted.state, fitted.state]
        self.epochs = 0
        self.since = np.zeros(2, np.int64)  # epochs

    def epoch(self, order: NDArray[np.int32], pace: Pace) -> Floats:
        """One epoch on from the present state; mean losses, (2, 2): learning and newest rows of each network."""
        loss = self._learner.epoch(self.older, order, pace)
        scores = self._learner.scores(self._newest)
        losses = self._losses(scores)
        if not (np.isfinite(loss).all() and np.isfinite(losses).all()):
            raise TrainingFailed("the loss became something that is no finite number")
        self.since += 1
        self.epochs += 1
        better = fitting.convincing(self.constant, losses) & (losses.mean(axis=1) < self.best_losses)
        for which in np.flatnonzero(better):
            self.best_losses[which] = losses[which].mean()
            self.best_scores[which] = scores[which]
            self.best_epochs[which] = self.epochs
            self._best[which] = self._learner.state()
            self.since[which] = 0
        return np.stack([loss, losses.mean(axis=1)])

    def best(self) -> State:
        """Each network at its best epoch."""
        return joined(self._best[0], self._best[1], self._sizes)

    def _losses(self, scores: Floats) -> Floats:
        """Cross-entropy and squared error of the log time of each newest row, (2, n)."""
        sign = 2 * self._newest.correct - 1
        log_time = np.log(np.logaddexp(0, scores[1]) + TINY)
        return np.stack([np.logaddexp(0, -sign * scores[0]), np.square(log_time - self._newest.log_time)])


def _train(contest: Contest, rows: int, most: int, seed: int, progress: Progress | None) -> int:
    """Run the epochs until neither network gets better any more; how many there were."""
    for epoch in range(most):
        loss, newest = contest.epoch(_order(rows, seed, epoch), _pace(rows, epoch / most))
        if progress:
            now = {"loss": loss[0], "val_loss": newest[0], "time_loss": loss[1], "val_time_loss": newest[1]}
            progress({"step": "fit", "epoch": epoch + 1, "epochs": most} | {k: float(v) for k, v in now.items()})
        if contest.since.min() >= PATIENCE:
            break
    return contest.epochs


def _learn(fitted: FittedV2, rows: Rows, epochs: list[int], most: int, seed: int) -> FittedV2:
    """Each network after its number of epochs with all rows."""
    learner, kept = Learner(fitted.state, fitted.sizes, seed), [fitted.state, fitted.state]
    for epoch in range(max(epochs)):
        loss = learner.epoch(rows, _order(len(rows), seed, epoch), _pace(len(rows), epoch / most))
        if not np.isfinite(loss).all():
            raise TrainingFailed("the loss became something that is no finite number")
        for which in (0, 1):
            if epochs[which] == epoch + 1:
                kept[which] = learner.state()
    return _sound(replace(fitted, state=joined(kept[0], kept[1], fitted.sizes)))


def _sound(fitted: FittedV2) -> FittedV2:
    if not all(np.isfinite(array).all() for array in fitted.state.arrays().values()):
        raise TrainingFailed("the trained model has weights that are no finite numbers")
    return fitted


def _order(rows: int, seed: int, epoch: int) -> NDArray[np.int32]:
    """A shuffle in which a few rows more leave the order of the others as it is."""
    return np.random.default_rng([seed, epoch]).random(rows).argsort().astype(np.int32)


def _pace(rows: int, done: float) -> Pace:
    """Of an epoch when this share of them is done."""
    batch = _batch(rows)
    noise = max(1.0, USUAL_BATCH / batch)
    rate = RATE / np.sqrt(noise) * (1 + np.cos(np.pi * done)) / 2
    return Pace(batch, rate, DECAY * noise, HIDE, max(MEMORY, rows / batch))


def _batch(rows: int) -> int:
    """16 rows up to 256, 64 up to 4,096, 512 from 32,768 on."""
    wanted = max(min(rows / 16, 64), rows / 64)
    return min(rows, int(np.clip(2 ** np.ceil(np.log2(wanted)), 16, 512)))


def _seconds(scores: Floats, scale: Scale) -> Floats:
    return np.asarray(np.logaddexp(0, scores) * scale.seconds, np.float64)
