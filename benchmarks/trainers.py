"""p99 of POST: idle, while a trainer of its own trains on this machine, while the web process's own child does.

    python -m benchmarks.trainers [--rounds 3] [--seconds 10] [--rate 80]

The three take turns on one database, so that what else the machine does hits all of them. On one machine the trainer
and PostgreSQL's part of its work share processors and caches with those who answer; elsewhere only the latter is left.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from rich.console import Console

from benchmarks.clients import Answered, Load, load
from benchmarks.during_training import LONGEST, _job, _train_once
from benchmarks.service import Service, wait_until_ready
from benchmarks.sizes import Sizes
from benchmarks.stage import Stage

console = Console()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each phase")
    parser.add_argument("--rate", type=float, default=80.0, help="POSTs a second")
    given = parser.parse_args()
    sizes = Sizes(phases=given.rounds, phase_seconds=given.seconds, rate=given.rate)
    with tempfile.TemporaryDirectory() as name:
        stage = Stage(Path(name), sizes, console.print)
        try:
            measure(stage, given.rounds)
        finally:
            stage.close()


def measure(stage: Stage, rounds: int) -> None:
    """Every round has all three."""
    found: dict[str, list[Answered]] = {"idle": [], "a trainer of its own": [], "here": []}
    _ = stage.key
    for number in range(rounds):
        with served(stage, "elsewhere") as service:
            found["idle"].append(load(_job(stage, stage.ours, stage.sizes.rate)))
            with trainer(service):
                found["a trainer of its own"].append(while_training(stage, service))
        with served(stage, "here") as service:
            found["here"].append(while_training(stage, service))
        console.print(f"round {number + 1}: " + ", ".join(f"{k} {v[-1].p99:.1f} ms" for k, v in found.items()))
    for name, answers in found.items():
        times = median(each.p99 / idle.p99 for each, idle in zip(answers, found["idle"], strict=True))
        failed = sum(each.failed for each in answers)
        console.print(
            f"{name}: p99 {median(each.p99 for each in answers):.1f} ms, {times:.2f} times idle, {failed} failed"
        )


@contextmanager
def served(stage: Stage, place: str) -> Iterator[Service]:
    """The service, started anew on what it has stored; `place` is where it has models trained."""
    stage.service.end()
    stage.service = Service(stage.folder / "ours", MODEL="embedding_v2", TRAINER=place)
    with stage.service.client() as client:
        wait_until_ready(client, stage.service.process)
    yield stage.service


@contextmanager
def trainer(service: Service) -> Iterator[None]:
    """`smartstudy trainer` on the same database and models."""
    with (service.folder / "trainer.log").open("a") as log:
        process = subprocess.Popen([sys.executable, "-m", "app", "trainer"], env=service.environment, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def while_training(stage: Stage, service: Service) -> Answered:
    """One training after another for as long as a phase lasts, once the training process is warm."""
    with service.client(stage.key) as client:
        _train_once(stage, client)
        at_work = Load(_job(stage, stage.ours, stage.sizes.rate, LONGEST))
        try:
            for _ in range(max(1, round(stage.sizes.phase_seconds / 4))):
                _train_once(stage, client)
        finally:
            answered = at_work.answered(now=True)
    return answered


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
