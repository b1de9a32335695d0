"""Many clients at once while trainings run: no error, and how long the answers take.

    python -m faults.load [--clients 64] [--seconds 30] [--pause 0]

Each client asks for a task and finishes it, over and over, as fast as it is answered (or with a pause between tasks).
Every fifth finished task makes a training due, so one runs all the while. Clients and service share the machine.
"""

import argparse
import asyncio
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from rich.console import Console

from app.domain.attempts import Attempts
from faults.http_client import Answer, Deeds, HttpClient, Lost, finish
from faults.services import deployment

console = Console()


@dataclass
class Seen:
    """What all the clients were answered."""

    statuses: Counter[str] = field(default_factory=Counter)
    posts: list[float] = field(default_factory=list)  # seconds
    patches: list[float] = field(default_factory=list)

    def add(self, answer: Answer, into: list[float]) -> None:
        self.statuses[str(answer.status)] += 1
        into.append(answer.seconds)

    @property
    def errors(self) -> dict[str, int]:
        return {status: n for status, n in self.statuses.items() if not status.startswith("2")}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--pause", type=float, default=0, help="seconds that a client waits between two tasks")
    parser.add_argument("--tasks", type=int, default=600, help="finished before")
    given = parser.parse_args()
    broken = run(given.clients, given.seconds, given.pause, given.tasks)
    for each in broken:
        console.print(f"BROKEN {each}", style="red", markup=False)
    return 1 if broken else 0


def run(clients: int, seconds: float, pause: float = 0, tasks: int = 600) -> list[str]:
    """What broke."""
    with deployment(RETRAIN_EVERY="5", KEEP_VERSIONS="3") as made:
        service = made.start()
        made.furnish(tasks)
        before, _ = service.memory()
        seen = asyncio.run(_loaded(service.port, made.key, made.world, clients, seconds, pause))
        web, trainer = service.memory()
        runs = made.one("SELECT count(*) FROM training_runs WHERE outcome IN ('published', 'rejected')")
        at_work = made.one("SELECT count(*) FROM training_runs WHERE outcome = 'running' AND finished_at IS NULL")
        broken = made.broken()
    rate = len(seen.patches) / seconds
    console.print(
        f"{clients} clients for {seconds:g} s, {runs} trainings done and {at_work} at work: {rate:.0f} tasks/s."
    )
    for name, measured in (("POST", seen.posts), ("PATCH", seen.patches)):
        p50, p95, p99 = np.percentile(np.array(measured) * 1000, (50, 95, 99)) if measured else (np.nan,) * 3
        console.print(f"{name}: p50 {p50:.1f} ms, p95 {p95:.1f} ms, p99 {p99:.1f} ms, of {len(measured):,}.")
    console.print(f"Memory: web process {before:.0f} MB before, {web:.0f} MB after; trainer {trainer:.0f} MB.")
    if seen.errors:
        broken.append(f"Not every answer was a 2xx: {seen.errors}.")
    if not runs + at_work:
        broken.append("No training ran.")
    return broken


async def _loaded(port: int, key: str, world: Attempts, clients: int, seconds: float, pause: float) -> Seen:
    seen, ends = Seen(), time.monotonic() + seconds

    async def practise(number: int) -> None:
        client, deeds = HttpClient(port, key), Deeds(world, number)
        while time.monotonic() < ends:
            try:
                posted, patched = await finish(client, deeds.next())
            except Lost as why:
                seen.statuses[f"lost: {why}"] += 1
                continue
            seen.add(posted, seen.posts)
            if patched:
                seen.add(patched, seen.patches)
            await asyncio.sleep(pause)
        client.close()

    await asyncio.gather(*(practise(number) for number in range(clients)))
    return seen


if __name__ == "__main__":
    sys.exit(main())
