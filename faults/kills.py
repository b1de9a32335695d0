"""Kills (-9) of the web process in the middle of completions, under load.

    python -m faults.kills [--kills 200] [--clients 12]

Clients ask for tasks and finish them all the while; the web process is killed and started anew on the same database.
At the end every acknowledged completion is there with its result, every other one is sent again, and all count once.
"""

import argparse
import asyncio
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from uuid import UUID

import numpy as np
from rich.console import Console

from benchmarks import questions
from benchmarks.service import Service
from faults.http_client import Deed, Deeds, HttpClient, Lost
from faults.services import Deployment, deployment

console = Console()


@dataclass
class Diary:
    """What the clients know."""

    sent: dict[str, Deed] = field(default_factory=dict)  # every task whose completion was sent
    acknowledged: set[str] = field(default_factory=set)
    refused: Counter[int] = field(default_factory=Counter)
    lost_posts: int = 0
    lost_patches: int = 0

    @property
    def open(self) -> list[str]:
        return [task for task in self.sent if task not in self.acknowledged]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--clients", type=int, default=12)
    given = parser.parse_args()
    broken = run(given.kills, given.clients)
    for each in broken:
        console.print(f"BROKEN {each}", style="red", markup=False)
    return 1 if broken else 0


def run(kills: int, clients: int) -> list[str]:
    """What broke."""
    started = time.monotonic()
    with deployment(RETRAIN_EVERY="1000000") as made:
        service = made.start()
        made.furnish()
        diary = Diary()
        broken = asyncio.run(_killed(made, service, kills, clients, diary))
        broken += _judged(made, diary)
    console.print(
        f"{kills} kills in {time.monotonic() - started:.0f} s: {len(diary.sent):,} completions sent, "
        f"{len(diary.acknowledged):,} acknowledged in the end, {diary.lost_patches} of them sent again after a kill; "
        f"{diary.lost_posts:,} questions asked in vain; {len(broken)} broke."
    )
    return broken


async def _killed(made: Deployment, service: Service, kills: int, clients: int, diary: Diary) -> list[str]:
    over = asyncio.Event()
    at_work = [asyncio.create_task(_client(made, service.port, number, diary, over)) for number in range(clients)]
    random = np.random.default_rng(0)
    for kill in range(kills):
        await asyncio.sleep(float(random.uniform(0.1, 0.5)))
        service.process.kill()
        await asyncio.to_thread(service.process.wait)
        service = await asyncio.to_thread(made.start, service.port)
        if kill % 20 == 19:
            console.print(f"{kill + 1} of {kills} kills, {len(diary.acknowledged):,} acknowledged", style="dim")
    over.set()
    await asyncio.gather(*at_work)
    acknowledged_before = set(diary.acknowledged)
    lost = _missing(made, acknowledged_before)
    return [*([f"{lost} acknowledged completions are lost."] if lost else []), *await _send_again(made, service, diary)]


async def _client(made: Deployment, port: int, number: int, diary: Diary, over: asyncio.Event) -> None:
    client, deeds = HttpClient(port, made.key), Deeds(made.world, number)
    while not over.is_set():
        deed = deeds.next()
        try:
            posted = await client.ask("POST", questions.PATH, deed.question)
        except Lost:
            diary.lost_posts += 1
            await asyncio.sleep(0.05)
            continue
        if posted.status != 201:
            diary.refused[posted.status] += 1
            continue
        task = posted.body["id"]
        diary.sent[task] = deed
        try:
            done = await client.ask("PATCH", f"{questions.PATH}/{task}", deed.result)
        except Lost:
            diary.lost_patches += 1
            continue
        if done.status == 200:
            diary.acknowledged.add(task)
        else:
            diary.refused[done.status] += 1
    client.close()


async def _send_again(made: Deployment, service: Service, diary: Diary) -> list[str]:
    client, broken = HttpClient(service.port, made.key), []
    for task in diary.open:
        answer = await client.ask("PATCH", f"{questions.PATH}/{task}", diary.sent[task].result)
        if answer.status == 200:
            diary.acknowledged.add(task)
        else:
            broken.append(f"Sent again, a completion was answered {answer.status}: {answer.body}")
    client.close()
    return broken


def _missing(made: Deployment, tasks: set[str]) -> int:
    found = made.one("SELECT count(*) FROM practice_tasks WHERE completed AND id = ANY(%s::uuid[])", list(tasks))
    return len(tasks) - int(found)


def _judged(made: Deployment, diary: Diary) -> list[str]:
    broken = made.broken()
    stored = made.ask(
        "SELECT id, is_correct, actual_time_seconds FROM practice_tasks WHERE completed AND id = ANY(%s::uuid[])",
        list(diary.sent),
    )
    wrong = 0
    for task, is_correct, seconds in stored:
        result = diary.sent[str(UUID(str(task)))].result
        wrong += (is_correct, seconds) != (result["is_correct"], result["actual_time_seconds"])
    if wrong or len(stored) != len(diary.sent):
        broken.append(f"{len(diary.sent)} completions were sent, {len(stored)} are there, {wrong} with other results.")
    counted = made.one("SELECT n_samples_since_training FROM embedding_model_tracker")
    if counted != 60 + len(diary.sent):
        broken.append(f"{len(diary.sent)} completions and 60 imported tasks, but the counter says {counted}.")
    if refused := {status: n for status, n in diary.refused.items() if status != 503}:
        broken.append(f"Requests were refused: {refused}.")
    return broken


if __name__ == "__main__":
    sys.exit(main())
