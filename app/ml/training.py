"""Train V2: attempts in, a fitted model and a report out. No database, no clock, no HTTP."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from app.domain.attempts import DIFFICULTIES, Attempts, plausible
from app.ml import fitting
from app.ml.embedding_model_v2 import Scale, Sizes
from app.ml.fitted_v2 import FittedV2
from app.ml.fitting import AGAIN, MOST_HELD_OUT, MOST_ITEMS, MOST_STUDENTS, HeldOut, Names, Progress, TrainingFailed
from app.ml.inputs import GROUPS
from app.ml.numpy_training import TINY, Learner, Pace, Rows, scores
from app.ml.v2_state import State, joined, start, weights_of

Floats = NDArray[np.float64]

PRIOR_TASKS = 10  # half of them right: what the share correct counts beside the real ones
HELD_OUT = 0.15  # share, the newest
LEAST_HELD_OUT = 2  # rows
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
        np.log(plausible(attempts.seconds) / fitted.scale.seconds).astype(np.float32),
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
