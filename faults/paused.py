"""A training process is paused (SIGSTOP) in the middle of its run, another takes over, and it wakes late (SIGCONT).

    python -m faults.paused [--rounds 50] [--silent 15]

Two web processes on one database. The one that woke late has to publish nothing: no version, no folder, no outcome.
"""

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rich.console import Console

from benchmarks.service import Service
from faults.services import Deployment, deployment, until
from faults.soak import finish_some, trainer_of

console = Console()
FITTING = "SELECT id FROM training_runs WHERE outcome = 'running' AND progress->>'step' LIKE 'fit%%' AND id > %s"
DONE = "SELECT id FROM training_runs WHERE outcome IN ('published', 'rejected') AND id > %s ORDER BY id"
AWAKE = 5.0  # seconds for who woke late to do harm


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--silent", type=float, default=15, help="seconds of silence after which another takes over")
    given = parser.parse_args()
    broken = run(given.rounds, given.silent)
    for each in broken:
        console.print(f"BROKEN {each}", style="red", markup=False)
    return 1 if broken else 0


def run(rounds: int, silent: float = 15) -> list[str]:
    """What broke."""
    broken: list[str] = []
    with deployment(RETRAIN_EVERY="5", KEEP_VERSIONS="3", TRAINER_SILENT_SECONDS=f"{silent:g}") as made:
        services = [made.start(), made.start()]
        made.furnish()
        until(lambda: made.ask(DONE, 0), "the training that the import set off")
        for number in range(rounds):
            paused, other = services[number % 2], services[1 - number % 2]
            broken += [f"Round {number + 1}: {each}" for each in _round(made, paused, other, silent)]
            console.print(f"{number + 1} of {rounds} pauses, {len(broken)} broke", style="dim")
    console.print(f"{rounds} pauses, {len(broken)} broke.")
    return broken


def _round(made: Deployment, paused: Service, other: Service, silent: float) -> list[str]:
    last = made.one("SELECT coalesce(max(id), 0) FROM training_runs")
    with _stopped(other.process.pid):  # whichever looks first takes a training that is due: it has to be this one
        asyncio.run(finish_some(paused.port, made, 5, last))
        run_id = until(lambda: made.ask(FITTING, last), "a training")[0][0]
        trainer = trainer_of(paused)
        os.kill(trainer, signal.SIGSTOP)
    try:
        asyncio.run(finish_some(other.port, made, 5, last + 1))
        since = time.monotonic()
        taken = until(lambda: made.ask(DONE, last), "the other one's training", silent + 60)
        took = time.monotonic() - since
    finally:
        with suppress(ProcessLookupError):
            os.kill(trainer, signal.SIGCONT)
    time.sleep(AWAKE)  # not for luck: the harm would be done in this time
    until(lambda: not made.one("SELECT count(*) FROM training_runs WHERE finished_at IS NULL"), "the end of all runs")
    outcome = made.one("SELECT outcome FROM training_runs WHERE id = %s", run_id)
    versions = made.one("SELECT count(*) FROM model_versions WHERE run_id = %s", run_id)
    console.print(f"run {run_id} was paused, run {taken[0][0]} took over after {took:.1f} s; it ended {outcome}")
    late = [f"Run {run_id} woke late, ended {outcome} and has {versions} versions."]
    return [*(late if versions or outcome in ("published", "rejected") else []), *made.broken(settled=True)]


@contextmanager
def _stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


if __name__ == "__main__":
    sys.exit(main())
