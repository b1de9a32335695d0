"""Training V2: ours beside Keras `fit` as the documents have it, on few tasks and on many, one thread each."""

import json
import sys
from dataclasses import asdict, dataclass
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.domain.attempts import Attempts
from app.ml.evaluation.simulated import school, simulate
from benchmarks.child import told_by
from benchmarks.findings import OURS, Found, Row, Target
from benchmarks.stage import Stage

DOCUMENTS = "keras fit"
HELD_OUT = 0.1  # of as many tasks as were trained on, the following ones
FEW = 1000  # tasks that are trained on within a second or two
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Fit:
    """One training."""

    seconds: float
    epochs: float  # passes over the tasks
    log_loss: float  # on tasks that follow


def training(stage: Stage) -> Found:
    """Two comparisons, each in a process of its own."""
    sizes = stage.sizes
    stage.say(f"training on {sizes.small:,} tasks: ours, Keras fit for {sizes.small_epochs} epochs, ours")
    small = _in_a_process(sizes.small, sizes.small_epochs)
    stage.say(f"training on {sizes.large:,} tasks: ours, Keras fit for {sizes.large_epochs} epochs")
    return Found(
        [*_small_rows(sizes.small, *small), *_large_rows(sizes.large, *_in_a_process(sizes.large, sizes.large_epochs))]
    )


def _small_rows(tasks: int, ours: Fit, theirs: Fit) -> list[Row]:
    name = f"V2 on {tasks:,} tasks"
    times = theirs.seconds / ours.seconds
    target = Target(">=", 15, "times faster", times)
    figures = {OURS: ours.seconds, DOCUMENTS: theirs.seconds}
    note = f"{theirs.epochs:g} epochs of fit; ours reads the past, chooses its epochs and calibrates, warm"
    per_epoch = {OURS: ours.seconds / ours.epochs * theirs.epochs, DOCUMENTS: theirs.seconds}
    same = Target(">=", 15, "times faster", theirs.seconds / per_epoch[OURS])
    return [
        Row("train", f"{name}, the whole training", "s", figures, target, note),
        Row("train", f"{name}, {theirs.epochs:g} epochs of both networks", "s", per_epoch, same),
        _quality(name, ours, theirs),
    ]


def _large_rows(tasks: int, ours: Fit, theirs: Fit) -> list[Row]:
    name = f"V2 on {tasks:,} tasks"
    figures = {OURS: ours.seconds / ours.epochs, DOCUMENTS: theirs.seconds / theirs.epochs}
    target = Target(">=", 5, "times faster", figures[DOCUMENTS] / figures[OURS])
    note = f"ours ran {ours.epochs:g} epochs, fit {theirs.epochs:g}"
    worse = ours.log_loss - theirs.log_loss
    quality = _quality(name, ours, theirs)
    return [
        Row("train", f"{name}, an epoch of both networks", "s", figures, target, note),
        Row("train", quality.what, "nats", quality.figures, Target("<=", 0, "above Keras fit", worse), note),
    ]


def _quality(name: str, ours: Fit, theirs: Fit) -> Row:
    return Row("train", f"{name}, held-out log-loss", "nats", {OURS: ours.log_loss, DOCUMENTS: theirs.log_loss})


def _in_a_process(tasks: int, epochs: int) -> tuple[Fit, Fit]:
    """Ours and theirs."""
    ours, theirs = told_by("benchmarks.training_path", tasks, epochs)
    return Fit(**ours), Fit(**theirs)


def tasks_of(n: int) -> Attempts:
    """n tasks to train on, and those that follow: fifty to a hundred of each student."""
    each = 60 if n <= FEW else 110
    wanted = round(n * (1 + HELD_OUT))
    attempts = simulate(school(-(-wanted // each), seed=4), each, seed=4).attempts
    return attempts.take(slice(wanted))


def ours(attempts: Attempts) -> tuple[float, Any]:
    """Passes over the tasks, and the model that serves: on the older tasks to choose the epochs, then on all."""
    from app.ml.networks.fit import fit
    from app.ml.registry import network

    fitted = fit(network("embedding_v2"), attempts)
    return fitted.report["epochs"] + max(fitted.report["best_epochs"]), fitted.served()


def our_fit(attempts: Attempts, n: int) -> Fit:
    if n <= FEW:
        ours(attempts.take(slice(n)))  # its functions are traced, as in the process that stays warm
    begun = perf_counter()
    epochs, model = ours(attempts.take(slice(n)))
    seconds = perf_counter() - begun
    said = model.answers(attempts, np.arange(n, len(attempts)))
    return Fit(seconds, epochs, _log_loss(attempts, n, said.probability))


def documents_fit(attempts: Attempts, n: int, epochs: int) -> Fit:
    """New networks, as each of the documents' trainings makes them: `fit` traces their graphs anew."""
    from benchmarks.reference import v2_documents

    networks = v2_documents.untrained(attempts)
    begun = perf_counter()
    networks.fit(attempts.take(slice(n)), epochs)
    seconds = perf_counter() - begun
    return Fit(seconds, epochs, _log_loss(attempts, n, networks.predict(attempts)[0][n:]))


def _log_loss(attempts: Attempts, n: int, p: Floats) -> float:
    from app.ml import metrics

    return metrics.log_loss(attempts.correct[n:], np.clip(p, 0.01, 0.99))


def compared(n: int, epochs: int) -> tuple[Fit, Fit]:
    """Ours before theirs; where it is short, after them too: what disturbs the machine disturbs both."""
    attempts = tasks_of(n)
    ours(attempts.take(slice(min(n, FEW) - 5)))  # TensorFlow is imported: as in the process that stays warm
    first = our_fit(attempts, n)
    theirs = documents_fit(attempts, n, epochs)
    seconds = median([first.seconds, our_fit(attempts, n).seconds]) if n <= FEW else first.seconds
    return Fit(seconds, first.epochs, first.log_loss), theirs


if __name__ == "__main__":
    print(json.dumps([asdict(fit) for fit in compared(int(sys.argv[1]), int(sys.argv[2]))]))
