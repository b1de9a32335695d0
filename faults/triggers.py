"""Two web processes on one database: whoever triggers, one run at a time, and no version lost or doubled.

    python -m faults.triggers [--rounds 200] [--processes 2]

Each round finishes five tasks, in turn through one process or through all at once, which makes a training due. All the
while the database is asked who holds the single writer's lock, and how many runs are at work.
"""

import argparse
import asyncio
import sys
import threading
import time

import psycopg2
from rich.console import Console

from app.crud.training_runs import LOCK
from faults.http_client import Deeds, HttpClient, finish
from faults.services import Deployment, deployment, until

console = Console()
EVERY = 5
LONGEST_WAIT = 1.5  # seconds after a round for its run; then the next one triggers into it
HOLDERS = f"""
    SELECT (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND ((classid::bigint << 32) | objid::bigint) = {LOCK}::bigint),
           (SELECT count(*) FROM training_runs WHERE outcome = 'running' AND finished_at IS NULL)"""
BOOKED = "SELECT coalesce(sum(n_taken), 0) FROM training_runs WHERE outcome IN ('published', 'rejected')"


class Watch(threading.Thread):
    """Looks who is at work, fifty times a second."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._url = url
        self.over = threading.Event()
        self.looks = self.holders = self.running = 0

    def run(self) -> None:
        connection = psycopg2.connect(self._url)
        connection.autocommit = True
        cursor = connection.cursor()
        while not self.over.wait(0.02):
            cursor.execute(HOLDERS)
            holders, running = cursor.fetchone()
            self.looks += 1
            self.holders, self.running = max(self.holders, holders), max(self.running, running)
        connection.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    broken = run(given.rounds, given.processes)
    for each in broken:
        console.print(f"BROKEN {each}", style="red", markup=False)
    return 1 if broken else 0


def run(rounds: int, processes: int = 2) -> list[str]:
    """What broke."""
    started = time.monotonic()
    with deployment(RETRAIN_EVERY=str(EVERY), KEEP_VERSIONS="3") as made:
        for _ in range(processes):
            made.start()
        made.furnish()
        watch = Watch(made.url)
        watch.start()
        errors = asyncio.run(_triggered(made, rounds))
        until(lambda: _quiet(made), "the end of the trainings")
        watch.over.set()
        watch.join()
        broken = [*errors, *_judged(made, watch)]
        runs = made.ask("SELECT outcome, count(*) FROM training_runs GROUP BY outcome ORDER BY outcome")
    outcomes = ", ".join(f"{n} {outcome}" for outcome, n in runs)
    console.print(
        f"{rounds} triggers through {processes} processes in {time.monotonic() - started:.0f} s; runs: {outcomes}. "
        f"At most {watch.holders} held the lock and {watch.running} ran, in {watch.looks:,} looks. {len(broken)} broke."
    )
    return broken


async def _triggered(made: Deployment, rounds: int) -> list[str]:
    clients = [[HttpClient(service.port, made.key) for _ in range(EVERY)] for service in made.services]
    deeds, refused = Deeds(made.world), []
    for number in range(rounds):
        if number % 2:
            chosen = [clients[place % len(clients)][place] for place in range(EVERY)]  # through all at once
        else:
            chosen = clients[number // 2 % len(clients)]
        for posted, patched in await asyncio.gather(*(finish(client, deeds.next()) for client in chosen)):
            if patched is None or patched.status != 200:
                refused.append(f"Round {number}: answered {posted.status}, {patched and patched.status}.")
        await _wait_a_little(made)
        if number % 20 == 19:
            console.print(f"{number + 1} of {rounds} triggers", style="dim")
    for client in (each for some in clients for each in some):
        client.close()
    return refused


async def _wait_a_little(made: Deployment) -> None:
    """For the run of this round, but not for long."""
    deadline = time.monotonic() + LONGEST_WAIT
    while time.monotonic() < deadline and await asyncio.to_thread(_counter, made) >= EVERY:
        await asyncio.sleep(0.1)


def _counter(made: Deployment) -> int:
    return int(made.one("SELECT n_samples_since_training FROM embedding_model_tracker"))


def _quiet(made: Deployment) -> bool:
    unfinished = made.one("SELECT count(*) FROM training_runs WHERE finished_at IS NULL")
    return _counter(made) < EVERY and not unfinished


def _judged(made: Deployment, watch: Watch) -> list[str]:
    broken = made.broken(settled=True)
    if watch.holders > 1 or watch.running > 1:
        broken.append(f"{watch.holders} held the lock at a time, {watch.running} runs were at work.")
    tasks = made.one("SELECT count(*) FROM practice_tasks WHERE completed")
    taken, since = made.one(BOOKED), _counter(made)
    if taken + since != tasks:
        broken.append(f"{tasks} tasks are completed, but the runs took {taken} and {since} wait.")
    if bad := made.ask("SELECT id, outcome, message FROM training_runs WHERE outcome IN ('failed', 'interrupted')"):
        broken.append(f"Runs did not succeed: {bad[:3]}.")
    return broken


if __name__ == "__main__":
    sys.exit(main())
