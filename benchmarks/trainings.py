"""Many trainings in a row on a running service: memory, versions and folders stay flat, the answers steady.

    python -m benchmarks.trainings [--trainings 50] [--tasks 600]

Starts a service of its own (database, models and port are its own, and gone at the end), imports simulated tasks, and
lets students finish five more before each training. Prints memory of the web process and of the trainer, what is kept,
and how far each training moved the mean prediction of the same questions.
"""

import argparse
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np
from rich.console import Console
from rich.table import Table

from app.domain.attempts import Attempts
from app.ml.evaluation.simulated import school, simulate
from benchmarks.questions import question
from benchmarks.service import Service, finish_one, until_trained, wait_until_ready

console = Console()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trainings", type=int, default=50)
    parser.add_argument("--tasks", type=int, default=600, help="finished before the first training")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        service = Service(folder)
        try:
            with service.client() as client:
                measure(service, client, folder, given.trainings, given.tasks)
        finally:
            service.end()


def measure(service: Service, client: httpx.Client, folder: Path, trainings: int, tasks: int) -> None:
    wait_until_ready(client, service.process)
    world = simulate(school(20, seed=8), tasks // 20, seed=8).attempts
    service.add(world)
    client.headers["Authorization"] = f"Bearer {service.key()}"
    random = np.random.default_rng(1)
    shown = Table("training", "seconds", "web MB", "trainer MB", "folders", "mean p", "moved", "how it ended")
    memory, means = [], []
    last = 0
    for training in range(1, trainings + 1):
        started = time.monotonic()
        for _ in range(5):
            finish_one(client, world, int(random.integers(len(world))))
        status = until_trained(client, last)
        last = status["last_run"]["id"]
        memory.append(service.memory())
        means.append(mean_prediction(client, world))
        moved = abs(means[-1] - means[-2]) if len(means) > 1 else 0.0
        folders = len(list((folder / "models" / "versions").iterdir()))
        outcome = status["last_run"]["outcome"]
        row = (training, f"{time.monotonic() - started:.1f}", *(f"{each:.0f}" for each in memory[-1]), folders)
        shown.add_row(*map(str, row), f"{means[-1]:.3f}", f"{moved:.3f}", outcome)
        console.print(f"training {training} of {trainings}: {outcome}", style="dim")
    console.print(shown)
    summary(memory, means)


def mean_prediction(client: httpx.Client, world: Attempts) -> float:
    """Of the same 60 questions each time."""
    rows = np.linspace(0, len(world) - 1, 60).astype(int)
    asked = [client.post("/practice-tasks", json=question(world, int(row))).raise_for_status().json() for row in rows]
    return float(np.mean([task["correctness_prob"] for task in asked]))


def summary(memory: list[tuple[float, float]], means: list[float]) -> None:
    warm = memory[min(4, len(memory) - 1)]  # by the fifth training everything has been loaded once
    for place, name in enumerate(("web process", "trainer")):
        growth = memory[-1][place] / warm[place] - 1
        console.print(
            f"{name}: {warm[place]:.0f} MB after five trainings, {memory[-1][place]:.0f} at the end ({growth:+.1%})"
        )
    moves = np.abs(np.diff(means))
    if len(moves):
        console.print(f"five more tasks moved the mean prediction by {moves.mean():.4f}, at most {moves.max():.4f}")


if __name__ == "__main__":
    main()
