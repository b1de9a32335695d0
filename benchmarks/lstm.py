"""The LSTM beside the documents' way of training it: seconds, and how good the answers are, on 677 tasks.

    python -m benchmarks.lstm [--quick] [--seeds N] [interactions.csv]

Both learn from the same 677 tasks in one run, on one thread, and are asked for the 170 that follow, which neither was
fitted on. `--quick` gives the documents' way 2 epochs and reckons its seconds from them for the epochs it may have.
"""

import os

from app.core.one_thread import ONE_THREAD

os.environ.update(ONE_THREAD)

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.domain.attempts import Attempts
from app.domain.interactions import Interactions, attempts_of, opened
from app.ml import metrics
from app.ml.evaluation.simulated import school, simulate
from app.ml.networks.fit import fit
from app.ml.registry import network
from benchmarks.reference import lstm_documents

Floats = NDArray[np.float64]
TASKS = 677
ASKED = 170  # the tasks that follow
QUICK = 2  # epochs


@dataclass(frozen=True, slots=True)
class Figures:
    """One way on one set."""

    seconds: float  # of training; processor time, which others on the machine disturb least
    log_loss: float | None
    auc: float | None
    rmse_log_time: float | None
    epochs: str


def simulated() -> Attempts:
    """Twelve students, 72 tasks each."""
    return simulate(school(12, seed=4), 72, seed=4).attempts.take(slice(TASKS + ASKED))


def first_of(file: Path) -> Attempts:
    """The first students of a file, so many that they have tasks enough."""
    with opened(file) as (text, _):
        attempts = attempts_of(Interactions(text, False))
    first = np.full(len(attempts.students), np.iinfo(np.int64).max)
    np.minimum.at(first, attempts.student, attempts.started)
    sizes = np.bincount(attempts.student, minlength=len(first))
    order = np.argsort(first, kind="stable")
    enough = order[: int(np.searchsorted(np.cumsum(sizes[order]), TASKS + ASKED)) + 1]
    return attempts.take(np.isin(attempts.student, enough)).take(slice(TASKS + ASKED))


def documents_way(attempts: Attempts, epochs: int, seed: int) -> Figures:
    """Seconds are for as many epochs as it ran."""
    start = time.process_time()
    fitted = lstm_documents.fit(attempts.take(slice(TASKS)), epochs, seed)
    seconds = time.process_time() - start
    return _figures(attempts, seconds, *fitted.predict(attempts, _asked()), "+".join(map(str, fitted.epochs)))


def our_way(attempts: Attempts, seed: int) -> Figures:
    start = time.process_time()
    fitted = fit(network("embedding_lstm"), attempts.take(slice(TASKS)), seed=seed)
    seconds = time.process_time() - start
    said = fitted.served().answers(attempts, _asked())
    return _figures(attempts, seconds, said.probability, said.seconds, "+".join(map(str, fitted.report["best_epochs"])))


def constant(attempts: Attempts) -> Figures:
    """The share correct and the typical time."""
    older = attempts.take(slice(TASKS))
    typical = float(np.exp(np.log(older.seconds).mean()))
    return _figures(attempts, 0.0, np.full(ASKED, older.correct.mean()), np.full(ASKED, typical), "")


def _asked() -> NDArray[np.intp]:
    return np.arange(TASKS, TASKS + ASKED)


def _figures(attempts: Attempts, spent: float, p: Floats, seconds: Floats, epochs: str) -> Figures:
    asked = attempts.take(_asked())
    found = metrics.summary(asked.correct, np.clip(p, 0.01, 0.99), asked.seconds, np.clip(seconds, 0.1, 1e5))
    return Figures(spent, found.log_loss, found.auc, found.rmse_log_time, epochs)


def show(name: str, way: str, runs: list[Figures]) -> float:
    """One line of the table, means over the seeds; the seconds."""
    figures = np.array([[r.seconds, r.log_loss, r.auc, r.rmse_log_time] for r in runs], np.float64)
    seconds, loss, area, error = figures.mean(axis=0)
    epochs = " ".join(run.epochs for run in runs)
    print(f"| {name} | {way} | {seconds:.1f} | {loss:.4f} | {area:.4f} | {error:.4f} | {epochs} |", flush=True)
    return float(seconds)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("file", type=Path, nargs="?")
    options = parser.parse_args()
    sets: dict[str, Callable[[], Attempts]] = {"simulated": simulated}
    if options.file:
        sets[options.file.parent.name or options.file.name] = lambda: first_of(options.file)
    start = time.process_time()
    fit(
        network("embedding_lstm"), simulated().take(slice(50))
    )  # TensorFlow imported, functions traced: as in the process that stays warm
    print(f"warming up: {time.process_time() - start:.1f} s")
    print("| set | way | seconds | log-loss | AUC | RMSE log time | epochs (correctness+time) |")
    print("|---|---|---|---|---|---|---|")
    for name, attempts in sets.items():
        side_by_side(name, attempts(), options.seeds, options.quick)


def side_by_side(name: str, attempts: Attempts, seeds: int, quick: bool) -> None:
    show(name, "constant", [constant(attempts)])
    fit(network("embedding_lstm"), attempts.take(slice(TASKS - 5)))  # room for these names traced
    ours = show(name, "one causal pass", [our_way(attempts, seed) for seed in range(seeds)])
    epochs = QUICK if quick else lstm_documents.EPOCHS
    theirs = show(name, "a sequence per prefix", [documents_way(attempts, epochs, seed) for seed in range(seeds)])
    if quick:
        theirs *= lstm_documents.EPOCHS / QUICK
        print(f"\n{name}: {lstm_documents.EPOCHS} epochs of it would take {theirs:.0f} s")
    print(f"\n{name}: {theirs / ours:.0f} times faster\n")


if __name__ == "__main__":
    main()
