"""Trainings that go on from the model before, beside trainings from scratch: log-loss at every training, and seconds.

    python -m benchmarks.going_on [--every 1000] [--json FILE] [interactions.csv]

Both live through the same tasks (without a file 12,000 simulated ones) and train at the same moments; every task is
answered by the newest model there was. The difference that counts is of all answers up to a training: of the thousand
since the last one alone, even two trainings from scratch with other seeds differ by 0.002 to 0.007.
"""

import os

from app.core.one_thread import ONE_THREAD

os.environ.update(ONE_THREAD)

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from app.domain.attempts import Attempts
from app.domain.interactions import Interactions, attempts_of, opened
from app.ml.evaluation.prequential import Retrained, RetrainingSchedule
from app.ml.evaluation.simulated import school, simulate
from app.ml.registry import BY_NAME

Floats = NDArray[np.float64]
ALLOWED = 0.002
console = Console()


@dataclass(frozen=True, slots=True)
class Way:
    """How one way answered n tasks."""

    losses: Floats  # (n,)
    seconds: float  # of processor time, all trainings and answers
    trainings: int


@dataclass(frozen=True, slots=True)
class Moment:
    """What had been answered when a training came."""

    tasks: int
    going_on: float  # log-loss of all tasks that were created before
    from_scratch: float

    @property
    def worse(self) -> float:
        return self.going_on - self.from_scratch


def lived(attempts: Attempts, every: int, growth: float | None, progress: Progress) -> Way:
    """V2 trained whenever so many tasks were finished."""
    shown = progress.add_task("from scratch" if growth is None else "going on", total=len(attempts))
    begun = time.process_time()
    outcome = Retrained(BY_NAME["embedding_v2"], growth).answer(
        attempts, RetrainingSchedule(every), lambda step: progress.update(shown, completed=step["tasks"])
    )
    progress.update(shown, completed=len(attempts))
    p = np.where(attempts.correct, outcome.p, 1 - outcome.p).clip(0.01, 0.99)
    return Way(-np.log(p), time.process_time() - begun, outcome.trainings)


def moments(attempts: Attempts, every: int, on: Way, scratch: Way) -> list[Moment]:
    found = []
    for tasks in RetrainingSchedule(every).due(len(attempts)).tolist():
        before = attempts.started < attempts.finished[tasks - 1]
        found.append(Moment(tasks, float(on.losses[before].mean()), float(scratch.losses[before].mean())))
    return found


def read(file: Path | None) -> Attempts:
    if file is None:
        return simulate(school(150, seed=9), 80, seed=9).attempts
    with opened(file) as (text, _):
        return attempts_of(Interactions(text, False))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1000)
    parser.add_argument("--json", type=Path)
    parser.add_argument("file", type=Path, nargs="?")
    given = parser.parse_args()
    attempts = read(given.file)
    with Progress(console=Console(stderr=True)) as progress:
        on = lived(attempts, given.every, 0.5, progress)
        scratch = lived(attempts, given.every, None, progress)
    found = moments(attempts, given.every, on, scratch)
    console.print("| tasks | going on | from scratch | difference |\n|---|---|---|---|", markup=False)
    for each in found:
        row = f"| {each.tasks:,} | {each.going_on:.4f} | {each.from_scratch:.4f} | {each.worse:+.4f} |"
        console.print(row, markup=False, highlight=False)
    worst = max(each.worse for each in found)
    verdict = "within" if worst <= ALLOWED else "NOT within"
    console.print(
        f"{on.trainings} trainings: at the worst {worst:+.4f}, {verdict} {ALLOWED}; at the end {found[-1].worse:+.4f}"
    )
    console.print(f"{on.seconds:.0f} s of processor time going on, {scratch.seconds:.0f} s from scratch")
    if given.json:
        given.json.write_text(json.dumps([asdict(each) for each in found], indent=1))


if __name__ == "__main__":
    main()
