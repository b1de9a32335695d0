"""A long time at work: memory, threads and file handles of the web process and of its trainer stay flat.

    python -m faults.soak [--trainings 300] [--completions 10000]

Completions come from eight clients; each time enough of them have come, a training runs, and its end is waited for.
Looks after each training; the first tenth (three at least) warms up. Fails where memory grows by more than a tenth, or
threads or handles by more than a few.
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.service import Service, megabytes
from benchmarks.service import trainer_of as find_trainer
from faults.http_client import Deeds, HttpClient, finish
from faults.services import Deployment, deployment, until

console = Console()
CLIENTS = 8
MOST_GROWTH = 0.10  # of memory
SLACK = 4  # threads or handles: a pool that fills up
FEW = 3  # samples that a level is the median of


@dataclass(frozen=True, slots=True)
class Sample:
    """At one process."""

    megabytes: float
    threads: int
    handles: int

    @classmethod
    def at(cls, pid: int) -> "Sample":
        threads = len(list(Path(f"/proc/{pid}/task").iterdir()))
        return cls(megabytes(pid), threads, len(list(Path(f"/proc/{pid}/fd").iterdir())))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trainings", type=int, default=300)
    parser.add_argument("--completions", type=int, default=10_000)
    given = parser.parse_args()
    broken = run(given.trainings, given.completions)
    for each in broken:
        console.print(f"BROKEN {each}", style="red", markup=False)
    return 1 if broken else 0


def run(trainings: int, completions: int) -> list[str]:
    """What broke."""
    started, each = time.monotonic(), max(1, completions // trainings)
    samples: dict[str, list[Sample]] = {"web process": [], "trainer": []}
    with deployment(RETRAIN_EVERY=str(each), KEEP_VERSIONS="3", TRAINER_IDLE_SECONDS="3600") as made:
        service = made.start()
        made.furnish()
        until(lambda: _trained(made, 0), "the first training") if each <= 60 else None
        for training in range(trainings):
            before = made.one("SELECT count(*) FROM training_runs WHERE outcome IN ('published', 'rejected')")
            asyncio.run(finish_some(service.port, made, each, training))
            until(lambda before=before: _trained(made, before), "a training")  # type: ignore[misc]
            samples["web process"].append(Sample.at(service.process.pid))
            samples["trainer"].append(Sample.at(trainer_of(service)))
            if training % 20 == 19:
                console.print(f"{training + 1} of {trainings} trainings; {_last(samples)}", style="dim")
        done = made.one("SELECT count(*) FROM practice_tasks WHERE completed") - 60
        folders = len(list((made.model_dir / "versions").iterdir()))
        broken = made.broken(settled=True)
    console.print(_table(samples))
    console.print(
        f"{trainings} trainings, {done:,} completions in {time.monotonic() - started:.0f} s; {folders} folders."
    )
    return [*broken, *(said for name, seen in samples.items() for said in grown(name, seen))]


def _last(samples: Mapping[str, Sequence[Sample]]) -> str:
    return "; ".join(f"{name}: {', '.join(f'{of(seen[-1]):.0f} {what}' for what, of in COLUMNS.items())}"
                     for name, seen in samples.items())  # fmt: skip


async def finish_some(port: int, made: Deployment, n: int, seed: int) -> None:
    deeds = Deeds(made.world, seed)
    left = iter(range(n))

    async def practise() -> None:
        client = HttpClient(port, made.key)
        for _ in left:
            posted, patched = await finish(client, deeds.next())
            if patched is None or patched.status != 200:
                raise RuntimeError(f"answered {posted.status}, {patched and patched.status}")
        client.close()

    await asyncio.gather(*(practise() for _ in range(min(n, CLIENTS))))


def _trained(made: Deployment, before: int) -> bool:
    done = made.one("SELECT count(*) FROM training_runs WHERE outcome IN ('published', 'rejected')")
    unfinished = made.one("SELECT count(*) FROM training_runs WHERE finished_at IS NULL")
    return bool(done > before and not unfinished)


def trainer_of(service: Service) -> int:
    """The training process of this web process."""
    if trainer := find_trainer(service.process.pid):
        return trainer
    raise LookupError("there is no training process")


COLUMNS: dict[str, Callable[[Sample], float]] = {
    "MB": lambda sample: sample.megabytes,
    "threads": lambda sample: sample.threads,
    "handles": lambda sample: sample.handles,
}


def levels(seen: Sequence[Sample], of: Callable[[Sample], float]) -> tuple[float, float]:
    """After warming up, and at the end."""
    warm = min(max(FEW, len(seen) // 10), len(seen) - 1)
    values = [of(sample) for sample in seen]
    return statistics.median(values[warm : warm + FEW]), statistics.median(values[-FEW:])


def grown(name: str, seen: Sequence[Sample]) -> list[str]:
    """What did not stay flat."""
    found = []
    for column, of in COLUMNS.items():
        first, last = levels(seen, of)
        if last > (first * (1 + MOST_GROWTH) if column == "MB" else first + SLACK):
            found.append(f"{name}: {first:.0f} {column} after warming up, {last:.0f} at the end.")
    return found


def _table(samples: dict[str, list[Sample]]) -> Table:
    shown = Table("process", "what", "first", "warm", "last", "most", "growth", title="Flat")
    for name, seen in samples.items():
        for column, of in COLUMNS.items():
            warm, last = levels(seen, of)
            values = (of(seen[0]), warm, last, max(map(of, seen)))
            shown.add_row(name, column, *(f"{value:.0f}" for value in values), f"{last / warm - 1:+.1%}")
    return shown


if __name__ == "__main__":
    sys.exit(main())
