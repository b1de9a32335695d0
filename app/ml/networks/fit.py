"""Train a network: attempts in, a fitted network and a report out. No database, no clock, no HTTP.

From scratch: on the older tasks, to see on the newest how many epochs are best and how far to trust the answers; then
on all of them for so many epochs. An update goes on from a checkpoint with the new tasks and a sample of the others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from app.domain.attempts import Attempts, plausible, some_students
from app.ml import metrics
from app.ml.features.inputs import INPUTS, NETWORK_INPUTS, inputs_at
from app.ml.features.vocabulary import Vocabulary
from app.ml.lnirt.model import ServedLnirt, fit_lnirt
from app.ml.networks.base_inputs import BaseInputs, cross_fitted
from app.ml.networks.checkpoint import FittedNetwork, HeldOut, TrainingFailed
from app.ml.networks.loop import TINY, Data, Loop, State, compiled, without_graph_optimizer
from app.ml.networks.network import Examples, Network
from app.ml.networks.scale import Scale
from app.ml.networks.sequences import outcomes

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Progress = Callable[[dict[str, Any]], object]  # after each epoch; where it says something true, that was the last

BASE_ODDS, BASE_TIME = NETWORK_INPUTS.index("base_log_odds"), NETWORK_INPUTS.index("base_log_time")
LEAST = 8  # attempts
HELD_OUT = 0.15  # share, the newest
LEAST_HELD_OUT, MOST_HELD_OUT = 2, 5_000  # rows
AGAIN = 0.05  # share held out, from which it is worth while to learn from these rows too
BASE_SCORE = {"softplus": float(np.log(np.e - 1)), "exponential": 0.0}  # the score that leaves the base's time alone
MANY_ROWS = 100_000  # with more of them there are fewer epochs
FEW = 10  # newest rows: with these, an epoch must be two standard errors better than the constant
MANY = 5_000  # newest rows, to which `Schedule.least_gain` refers
REPLAY = 8  # older tasks for each new one in an update, that they be not forgotten (Lin 1992, Machine Learning 8)
LEAST_LEARNT, MOST_LEARNT = 128, 20_000  # tasks of an update


@without_graph_optimizer()
def fit(
    network: Network,
    attempts: Attempts,
    base: ServedLnirt | None = None,
    *,
    seed: int = 0,
    progress: Progress | None = None,
    epochs: int | None = None,
    past: Singles | None = None,
) -> FittedNetwork:
    """Train from scratch to correct the base (none: LNIRT fitted to these attempts); `epochs` is the most there may be
    (none: as the schedule has it). `past`: their inputs of the past, where these are the sample and were made before.

    Raises TrainingFailed for fewer than 8 attempts and for anything that is no finite number.
    """
    attempts = sample(network, attempts, seed) if past is None else attempts
    base = base or fit_lnirt(checked(attempts)).served()
    inputs, n = network_inputs(attempts, base, past), len(attempts)
    held_out = min(max(LEAST_HELD_OUT, round(n * HELD_OUT)), MOST_HELD_OUT)
    trial = Training.from_scratch(network, attempts, inputs, n - held_out, seed, epochs)
    stopping = EarlyStopping(trial, np.arange(n - held_out, n))
    stopping.run(progress)
    state, begun = stopping.best_state(), trial.begun
    if held_out > AGAIN * n and n >= network.schedule.again_from:
        again = Training.from_scratch(network, attempts, inputs, n, seed, epochs)
        if (learnt := again.learn(stopping.best_epochs, progress)) is not None:
            state, begun = learnt, again.begun
    tried = stopping.held_out()
    report = {"rows": n, "full_rows": n, "epochs": stopping.epochs, "best_epochs": stopping.best_epochs}
    report |= scores(tried, stopping.constant)
    fitted = replace(begun, state=state, average=tuple(inputs.mean(axis=0, dtype=np.float64).tolist()), report=report)
    return _calibrated(fitted, tried.of_vocabulary(trial.begun.vocabulary, begun.vocabulary), base)


def sample(network: Network, attempts: Attempts, seed: int = 0) -> Attempts:
    """What a training from scratch learns from: all, or where there are very many those of some students."""
    if len(attempts) <= network.schedule.most_rows:
        return attempts
    return attempts.take(some_students(attempts, network.schedule.most_rows, seed))


@without_graph_optimizer()
def update(
    before: FittedNetwork,
    attempts: Attempts,
    new_mask: NDArray[np.bool_],
    base: ServedLnirt | None = None,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> FittedNetwork:
    """Go on from an earlier training with bounded work: learn from those of n attempts that are new to it, (n,), and a
    sample of the others.

    What the network says of the new ones before it learns from them calibrates it anew, and a result that was corrected
    no longer does. The scale stays; new names get vectors that begin as a stranger's. Raises TrainingFailed as `fit`
    does.
    """
    network, base = before.network, base or fit_lnirt(checked(attempts)).served()
    inputs = network_inputs(attempts, base)
    step, passes = seed + before.state.step, network.schedule.passes
    grown = before.with_names(attempts, np.flatnonzero(new_mask))
    everything = grown.examples(attempts, np.arange(len(attempts)), inputs)
    learning = everything.take(_chosen(everything, new_mask, step))
    training = Training(grown, attempts, inputs, learning, seed, before.report["full_rows"])
    newest = training.held_out(training.data(grown.examples(attempts, np.flatnonzero(new_mask), inputs)))
    for epoch in range(passes):
        loss, time_loss = training.epoch(None, step + epoch).tolist()
        if progress:
            said = {"step": "fit", "epoch": epoch + 1, "epochs": passes, "loss": loss, "time_loss": time_loss}
            if progress(said):
                break
    report = before.report | {
        "rows": before.report["rows"] + int(new_mask.sum()),
        "learnt_rows": int(learning.tasks().sum()),
    }
    fitted = replace(grown, state=training.loop.state(), report=report)
    newest = newest.of_vocabulary(grown.vocabulary, before.vocabulary)
    told = before.held_out.still_true(before.vocabulary, attempts)
    return _calibrated(fitted, told.and_then(newest, MOST_HELD_OUT), base)


def _calibrated(fitted: FittedNetwork, held_out: HeldOut, base: ServedLnirt) -> FittedNetwork:
    """The same with its base and what the held-out tasks say of how far to trust it."""
    if not fitted.state.is_finite():
        raise TrainingFailed("the trained model has weights that are no finite numbers")
    calibration = held_out.calibration(fitted.network.schedule.intercept_sd)
    return replace(fitted, base=BaseInputs(base), held_out=held_out, calibration=calibration)


def checked(attempts: Attempts) -> Attempts:
    """The same; raises TrainingFailed where there is nothing to learn from."""
    if len(attempts) < LEAST:
        raise TrainingFailed(f"expected at least {LEAST} attempts, got {len(attempts)}")
    wrong = ~(np.isfinite(attempts.seconds) & (attempts.seconds > 0))
    if wrong.any():
        raise TrainingFailed(f"expected times above 0 seconds, got {attempts.seconds[wrong][0]}")
    return attempts


def network_inputs(attempts: Attempts, base: ServedLnirt, past: Singles | None = None) -> Singles:
    """What a network takes in of each of n attempts, (n, 26) as in NETWORK_INPUTS, in single precision; the base that a
    row is shown was not fitted to it, but moves as `base` does. `past` (n, 24) where it is known."""
    of_base = cross_fitted(checked(attempts), base.population)
    inputs = np.empty((len(attempts), len(NETWORK_INPUTS)), np.float32)
    inputs[:, : len(INPUTS)] = inputs_at(attempts, np.arange(len(attempts))) if past is None else past
    inputs[:, len(INPUTS) :] = of_base
    if not np.isfinite(inputs).all():
        raise TrainingFailed("expected finite inputs")
    return inputs


SCORES = ("auc", "log_loss", "brier", "rmse_log_time", "mae_seconds")  # of those the epochs were chosen by


def scores(tried: HeldOut, constant: Floats) -> dict[str, Any]:
    """Of the n rows that the epochs were chosen by; `constant` holds the constant's losses there, (2, n).

    Raises TrainingFailed where a prediction is no finite number.
    """
    if not (np.isfinite(tried.p).all() and np.isfinite(tried.predicted).all() and (tried.predicted > 0).all()):
        raise TrainingFailed("the trained model gives predictions that are no finite numbers")
    found = metrics.summary(tried.correct, tried.p, tried.seconds, tried.predicted)
    losses = constant.mean(axis=1)
    return {
        "held_out_rows": len(tried.p),
        **{name: getattr(found, name) for name in SCORES},
        "constant_log_loss": float(losses[0]),
        "constant_rmse_log_time": float(np.sqrt(losses[1])),
    }


def convincing(constant: Floats, losses: Floats) -> NDArray[np.bool_]:
    """Of each output, whether it beats the constant on n rows, (2, n) each: by a standard error, by several with few
    rows. Two lucky ones elect nobody."""
    gain = constant - losses
    n = gain.shape[1]
    error = np.sqrt(np.square(gain).mean(axis=1) / n)
    return np.asarray(gain.mean(axis=1) > error * (1 + FEW / n))


def untrained(network: Network, attempts: Attempts, inputs: Singles, rows: int, seed: int = 0) -> FittedNetwork:
    """For the names and the scale of the first `rows` attempts; it answers what the base says. `inputs` (n, 26)."""
    vocabulary = network.grown(Vocabulary(), attempts, slice(rows))
    sizes = network.sizes(vocabulary)
    scale = Scale.of(inputs[:rows], outcomes(attempts)[:rows], network.groups)
    state = compiled(network, sizes.room()).start(sizes, (0.0, BASE_SCORE[network.link]), seed)
    return FittedNetwork(network, sizes, vocabulary, scale, state)


@dataclass
class Training:
    """Both networks on their way through the epochs, learning from some examples."""

    begun: FittedNetwork  # where it stands at the beginning
    attempts: Attempts
    inputs: Singles  # (n, 26) raw
    learning: Examples
    seed: int
    full_rows: int  # tasks of a training from scratch: they set the size of the batches
    most_epochs: int = 0  # none: as the schedule has it

    def __post_init__(self) -> None:
        network, sizes = self.begun.network, self.begun.sizes
        self.loop: Loop = compiled(network, sizes.room())
        self.loop.load(self.begun.state, sizes, self.seed)
        self._base = self.inputs[:, BASE_ODDS]
        logs = np.log(plausible(self.attempts.seconds))
        self._seconds = (logs - self.inputs[:, BASE_TIME]).astype(np.float32)
        self._data = self.data(self.learning)
        self._tasks = self.learning.tasks()
        self.learning = replace(self.learning, columns={})  # which are tensors now
        self.batch = _batch(network, self.full_rows)
        if not self.most_epochs:
            least, most = network.schedule.epochs
            wanted = network.schedule.updates * self.batch // self.full_rows
            self.most_epochs = int(np.clip(max(wanted, min(most, most * MANY_ROWS // self.full_rows)), least, most))

    @classmethod
    def from_scratch(
        cls, network: Network, attempts: Attempts, inputs: Singles, rows: int, seed: int, epochs: int | None
    ) -> "Training":
        """To learn from the first `rows` attempts."""
        begun = untrained(network, attempts, inputs, rows, seed)
        return cls(begun, attempts, inputs, begun.examples(attempts, np.arange(rows), inputs), seed, rows, epochs or 0)

    def data(self, examples: Examples) -> Data:
        return Data(examples, self.attempts.correct.astype(np.float32), self._base, self._seconds)

    def epoch(self, number: int | None, seed: int) -> Floats:
        """Learn from every example once, in the epoch of this number, or at the rate of the start; mean losses, (2,).

        The shuffle leaves the order of the others as it is where there are a few more.
        """
        random = np.random.default_rng([seed, number or 0])
        schedule = self.begun.network.schedule
        order = random.random(len(self.learning)).argsort().astype(np.int32)
        ends = _ends(self._tasks[order], self.batch)
        steps, before = len(ends), self.loop.steps()
        noise = max(1.0, schedule.usual_batch / self.batch)
        at = np.zeros(steps) if number is None else (number + np.arange(steps) / steps) / self.most_epochs
        warm = np.minimum(1.0, (before + 1 + np.arange(steps)) / max(1, schedule.warm_up))
        rates = schedule.rate / noise**schedule.rate_power * warm * (1 + np.cos(np.pi * at)) / 2
        decay = schedule.decay * (noise if schedule.decay_holds else 1.0)
        horizon = max(schedule.ema_horizon[0], schedule.ema_horizon[1] * steps)
        return _finite(self.loop.epoch(self._data, order, ends, rates, decay, horizon))

    def learn(self, epochs: Sequence[int], progress: Progress | None = None) -> State | None:
        """Each output's network after its number of epochs; none where they were to end before."""
        kept = [self.begun.state] * 2
        for number in range(max(epochs)):
            self.epoch(number, self.seed)
            said = {"step": "fit", "again": True, "epoch": number + 1, "epochs": max(epochs)}
            if progress and progress(said) and number + 1 < max(epochs):
                return None
            for which in np.flatnonzero(np.array(epochs) == number + 1):
                kept[which] = self.loop.state()
        return kept[0].joined(kept[1])

    def losses(self, scores: Floats, tasks: NDArray[np.intp]) -> Floats:
        """Cross-entropy and squared error of the log time of each of m tasks, (2, m), from the scores, (2, m)."""
        sign = 2.0 * self.attempts.correct[tasks] - 1
        entropy = np.logaddexp(0, -sign * (scores[0] + self._base[tasks]))
        log_multiples = np.log(self.begun.network.multiples(scores[1]) + TINY)
        return np.stack([entropy, np.square(log_multiples - self._seconds[tasks])])

    def held_out(self, data: Data, scores: Floats | None = None) -> HeldOut:
        """What is said of tasks that were not learnt from."""
        scores = self.loop.scores(data) if scores is None else scores
        odds, log_time = self.inputs[data.tasks][:, [BASE_ODDS, BASE_TIME]].T.astype(np.float64)
        p = expit(scores[0] + odds)
        seconds = self.begun.network.multiples(scores[1]) * np.exp(log_time)
        order = np.argsort(data.tasks, kind="stable")  # as they were finished
        asked = self.attempts.take(data.tasks[order])
        student = self.begun.vocabulary.places(asked)[0]
        return HeldOut(p[order], seconds[order], asked.correct, asked.seconds, student)


class EarlyStopping:
    """Which epoch answers the newest rows best, for each output; the base that it starts from is the first entrant."""

    def __init__(self, training: Training, newest: NDArray[np.intp]) -> None:
        self._training = training
        self._newest = training.data(training.begun.examples(training.attempts, newest, training.inputs))
        self._best_scores = training.loop.scores(self._newest)  # (2, m)
        self.constant = training.losses(self._best_scores, self._newest.tasks)  # (2, m)
        self._best_losses = self.constant.mean(axis=1)  # (2,)
        self._best = [training.begun.state] * 2
        self.best_epochs = [0, 0]
        self.epochs = 0

    def run(self, progress: Progress | None) -> None:
        """Epochs until neither output gets better any more."""
        training, most = self._training, self._training.most_epochs
        for number in range(most):
            learning = training.epoch(number, training.seed)
            self.epochs = number + 1
            newest = self._enter()
            if progress:
                names = ("loss", "time_loss", "val_loss", "val_time_loss")
                said = dict(zip(names, (*learning.tolist(), *newest.tolist()), strict=True))
                if progress({"step": "fit", "epoch": self.epochs, "epochs": most} | said):
                    break
            if self.epochs - max(self.best_epochs) >= training.begun.network.schedule.patience:
                break

    def _enter(self) -> Floats:
        """The losses on the newest rows after this epoch, (2,), which is kept where it is better."""
        training = self._training
        scores = training.loop.scores(self._newest)
        losses = training.losses(scores, self._newest.tasks)
        now = _finite(losses.mean(axis=1))
        least = training.begun.network.schedule.least_gain * max(1.0, MANY / scores.shape[1]) ** 0.5
        better = convincing(self.constant, losses) & (now < self._best_losses * (1 - least))
        if training.begun.network.is_joint:  # one network: both outputs or none
            better = np.repeat(better.any() and now.sum() < self._best_losses.sum(), 2)
        for which in np.flatnonzero(better):
            self._best_losses[which], self._best_scores[which] = now[which], scores[which]
            self._best[which], self.best_epochs[which] = training.loop.state(), self.epochs
        return now

    def best_state(self) -> State:
        """Each output's network at its best epoch."""
        return self._best[0].joined(self._best[1])

    def held_out(self) -> HeldOut:
        """What the kept epochs say of the newest rows."""
        return self._training.held_out(self._newest, self._best_scores)


def _finite(loss: Floats) -> Floats:
    if not np.isfinite(loss).all():
        raise TrainingFailed("the loss became something that is no finite number")
    return loss


def _chosen(everything: Examples, new_mask: NDArray[np.bool_], seed: int) -> NDArray[np.intp]:
    """Which examples an update learns from: those with new tasks first, then as many others as make a sample."""
    tasks = everything.tasks()
    rows = everything.rows.reshape(len(everything), -1)
    new = (new_mask[np.maximum(rows, 0)] & (rows >= 0)).any(axis=1)
    order = np.random.default_rng([seed, len(new_mask)]).permutation(len(everything))
    order = order[np.argsort(~np.asarray(new)[order], kind="stable")]
    wanted = max(int(tasks[new].sum()) + REPLAY * int(new_mask.sum()), LEAST_LEARNT)
    enough = np.searchsorted(np.cumsum(tasks[order]), min(wanted, MOST_LEARNT))
    return np.sort(order[: enough + 1])


def _batch(network: Network, tasks: int) -> int:
    """Tasks in a batch: a power of two between the least and the most."""
    least, middle, most = network.schedule.batch
    wanted = max(min(tasks / 16, middle), tasks / network.schedule.steps)
    return min(tasks, int(np.clip(2 ** np.ceil(np.log2(wanted)), least, most)))


def _ends(tasks: NDArray[np.intp], batch: int) -> NDArray[np.int32]:
    """Where each batch ends: whole ones, the last of which may be left out where a batch is one example a task."""
    number = (np.cumsum(tasks) - 1) // batch
    ends = np.append(np.flatnonzero(np.diff(number)) + 1, len(tasks))
    if len(ends) > 1 and tasks[ends[-2] :].sum() < batch / 2:
        ends = ends[:-1]
    return ends.astype(np.int32)
