"""Many trainings in a row on a running service: memory, versions and folders stay flat, the answers steady.

    python -m benchmarks.trainings [--trainings 50] [--tasks 600]

Starts a service of its own (database, models and port are its own, and gone at the end), imports simulated tasks, and
lets students finish five more before each training. Prints memory of the web process and of the trainer, what is kept,
and how far each training moved the mean prediction of the same questions.
"""

import argparse
import csv
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from rich.console import Console
from rich.table import Table

from app.domain.attempts import DIFFICULTIES, Attempts
from app.ml.simulated import school, simulate

console = Console()
LONGEST = 300.0  # seconds for one training


def write(attempts: Attempts, path: Path) -> None:
    """The common form."""
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["student_id", "item_id", "topic", "difficulty", "correct", "time_seconds", "timestamp"])
        for row in range(len(attempts)):
            out.writerow(
                [
                    attempts.students[attempts.student[row]],
                    "",
                    attempts.topics[attempts.topic[row]],
                    DIFFICULTIES[attempts.difficulty[row]],
                    int(attempts.correct[row]),
                    attempts.seconds[row],
                    attempts.started[row] / 1e6,
                ]
            )


class Service:
    """A service in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._folder = folder
        self.environment = {
            **os.environ,
            "DATA_DIR": str(folder / "data"),
            "MODEL_DIR": str(folder / "models"),
            "KEEP_VERSIONS": "3",
        }
        self.environment.pop("DATABASE_URL", None)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "app", "serve", "--port", str(self.port)],
            env=self.environment,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=(folder / "log").open("w"),
        )

    def run(self, *command: str) -> str:
        """A command of the command line; its output."""
        done = subprocess.run(
            [sys.executable, "-m", "app", *command],
            env=self.environment,
            cwd=self._folder,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def memory(self) -> tuple[float, float]:
        """MB of the web process and of its trainer."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        children += [c for t in Path(f"/proc/{self.process.pid}/task").iterdir() for c in _children(t)]
        trainer = [pid for pid in set(children) if "training_process" in _command(pid)]
        return _megabytes(str(self.process.pid)), max([_megabytes(pid) for pid in trainer], default=0.0)

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(30)


def _children(task: Path) -> list[str]:
    try:
        return (task / "children").read_text().split()
    except FileNotFoundError:  # the thread has just ended
        return []


def _command(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except FileNotFoundError:
        return ""


def _megabytes(pid: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return float(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def until_trained(client: httpx.Client, runs_before: int) -> dict[str, Any]:
    """The status after one more run has ended."""
    deadline = time.monotonic() + LONGEST
    while time.monotonic() < deadline:
        status: dict[str, Any] = client.get("/model/status").json()
        if status["last_run"] and status["last_run"]["id"] > runs_before and not status["training"]:
            return status
        time.sleep(0.1)
    raise TimeoutError("the training did not end")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trainings", type=int, default=50)
    parser.add_argument("--tasks", type=int, default=600, help="finished before the first training")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        service = Service(folder)
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{service.port}", timeout=30) as client:
                measure(service, client, folder, given.trainings, given.tasks)
        finally:
            service.end()


def measure(service: Service, client: httpx.Client, folder: Path, trainings: int, tasks: int) -> None:
    wait_until_ready(client)
    world = simulate(school(20, seed=8), tasks // 20, seed=8).attempts
    write(world, folder / "tasks.csv")
    service.run("import", "tasks.csv")
    client.headers["Authorization"] = f"Bearer {service.run('key', 'create', 'bench').split()[0]}"
    random = np.random.default_rng(1)
    shown = Table("training", "seconds", "web MB", "trainer MB", "folders", "mean p", "moved", "how it ended")
    memory, means = [], []
    last = 0
    for training in range(1, trainings + 1):
        started = time.monotonic()
        for _ in range(5):
            finish_one(client, world, random)
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


def wait_until_ready(client: httpx.Client) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass  # not there yet: that is what we wait for
        time.sleep(0.1)
    raise TimeoutError("the service did not start")


def finish_one(client: httpx.Client, world: Attempts, random: np.random.Generator) -> None:
    row = int(random.integers(len(world)))
    made = client.post("/practice-tasks", json=question(world, row)).raise_for_status().json()
    result = {"is_correct": bool(world.correct[row]), "actual_time_seconds": float(world.seconds[row])}
    client.patch(f"/practice-tasks/{made['id']}", json=result).raise_for_status()


def question(world: Attempts, row: int) -> dict[str, str]:
    return {
        "user_id": world.students[world.student[row]],
        "topic": world.topics[world.topic[row]],
        "difficulty": DIFFICULTIES[world.difficulty[row]],
    }


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
