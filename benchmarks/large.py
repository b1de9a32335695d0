"""From an empty database to very many tasks: import, training from scratch, the run after five tasks, POST and PATCH.

    python -m benchmarks.large [--rows 1000000 10000000]

Each number of rows has a service with a database of its own, in a folder that is thrown away, and goes a user's way:
`smartstudy import` of a file, `smartstudy train`, five tasks over HTTP, one client, sixteen. The tasks are those
of benchmarks.memory. Memory of the import is the command's, of a training its process's with TensorFlow.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from app.domain.attempts import Attempts
from benchmarks import questions
from benchmarks.clients import Job, load
from benchmarks.during_training import ended_runs, until_ended
from benchmarks.memory import attempts
from benchmarks.service import Service, finish_one, peak_of, wait_until_ready, write
from benchmarks.stage import NEVER, PUT_DOWN, sql

ROWS = (1_000_000, 10_000_000)
ASKED = 4_050  # students: 50 warm up, one client asks for 1,000 of them, sixteen for the others
LOOK = 0.2  # seconds between two looks at how far a training is
NOTHING_TRAINS = PUT_DOWN % NEVER
SIZE = """SELECT pg_relation_size('practice_tasks'), pg_indexes_size('practice_tasks'),
          pg_database_size(current_database())"""
AT_WORK = """SELECT progress ->> 'step', coalesce(progress ->> 'kind', '') FROM training_runs
             WHERE outcome = 'running'"""
LAST = """SELECT outcome, n_tasks, n_read, extract(epoch FROM finished_at - started_at), seconds, peak_bytes, rung,
          coalesce(message, '') FROM training_runs ORDER BY id DESC LIMIT 1"""
console = Console(width=None if sys.stdout.isatty() else 140)
Found = dict[str, str]


def command(service: Service, *words: str) -> tuple[float, float]:
    """Seconds and peak MB of a command of the command line."""
    begun = time.perf_counter()
    with (service.folder / "log").open("a") as log:
        at_work = subprocess.Popen(
            [sys.executable, "-m", "app", *words], env=service.environment, cwd=service.folder, stdout=log, stderr=log
        )
    most = peak_of(at_work)
    if at_work.returncode:
        last = (service.folder / "log").read_text().strip().splitlines()[-1:]
        raise RuntimeError(f"smartstudy {words[0]} ended with {at_work.returncode}: {last}")
    return time.perf_counter() - begun, most


@contextmanager
def steps(url: str) -> Iterator[dict[str, float]]:
    """Seconds in each step of the training at work, filled by the end."""
    taken: dict[str, float] = {}
    over = threading.Event()

    def look() -> None:
        while not over.wait(LOOK):
            for step, kind in sql(url, AT_WORK):
                name = f"{step or 'start'} {kind}".strip()
                taken[name] = taken.get(name, 0.0) + LOOK

    watching = threading.Thread(target=look)
    watching.start()
    try:
        yield taken
    finally:
        over.set()
        watching.join()


def trained(url: str, taken: dict[str, float], name: str) -> Found:
    """What the last run's row and its steps tell."""
    outcome, tasks, read, wall, work, peak, rung, message = sql(url, LAST)[0]
    if outcome not in ("published", "rejected"):
        raise RuntimeError(f"{name}: {outcome}, {message}")
    return {
        name: f"{float(wall):.0f} s, {float(work):.0f} of them at work",
        f"{name}: memory": f"{peak / 1e6:,.0f} MB",
        f"{name}: outcome": f"{outcome}, {read:,} of {tasks:,} tasks, rung {rung}",
        f"{name}: steps": ", ".join(f"{step} {seconds:.0f}" for step, seconds in taken.items() if seconds >= 1),
    }


def answers(service: Service, url: str, asked: list[dict[str, str]], key: str) -> Found:
    """POST and PATCH, nothing being trained: of students who were not seen since the models are new, whose past is
    worked through then; the same students' next tasks; and the results of those."""
    sql(url, NOTHING_TRAINS)
    load(Job(service.port, questions.posts(asked[:50], key), 1, 60))  # what is loaded when it is first needed
    found = {}
    for who, clients, tasks in (("one client", 1, asked[50:1050]), ("16 clients", 16, asked[1050:])):
        first = load(Job(service.port, questions.posts(tasks, key), clients, 120))
        again = load(Job(service.port, questions.posts(tasks, key), clients, 120, bodies=True))
        done = load(Job(service.port, questions.patches(questions.ids_of(again.bodies), key), clients, 120))
        for what, each in (("POST, first", first), ("POST, then", again), ("PATCH", done)):
            told = f"{each.median:.2f} ms, p99 {each.p99:.1f} ms, {each.per_second:,.0f}/s, {each.failed} failed"
            found[f"{what}, {who}"] = told
    return found


def of_each(tasks: Attempts, n: int) -> list[dict[str, str]]:
    """A task of each of n students, or of as many as there are."""
    _, rows = np.unique(tasks.student, return_index=True)
    return [questions.question(tasks, int(row)) for row in np.random.default_rng(n).permutation(rows)[:n]]


def measured(rows: int, folder: Path) -> Found:
    """All of it, in words."""
    tasks = attempts(rows)
    service = Service(folder)
    try:
        with service.client() as client:
            wait_until_ready(client, service.process)
        key, url = service.key(), service.url()
        write(tasks, folder / "tasks.csv")
        console.print(f"{rows:,}: import")
        seconds, peak = command(service, "import", "tasks.csv")
        table, indexes, whole = sql(url, SIZE)[0]
        found = {
            "import": f"{seconds:.0f} s, {rows / seconds:,.0f} rows/s",
            "import: memory": f"{peak:,.0f} MB",
            "database": f"{whole / 1e9:.2f} GB; a task {table / rows:.0f} bytes, {indexes / rows:.0f} in indexes",
        }
        console.print(f"{rows:,}: training from scratch")
        sql(url, NOTHING_TRAINS)
        with steps(url) as taken:
            command(service, "train")
        found |= trained(url, taken, "from scratch")
        console.print(f"{rows:,}: five tasks more")
        found |= going_on(service, url, key, rows)
        console.print(f"{rows:,}: POST and PATCH")
        found |= answers(service, url, of_each(tasks, ASKED), key)
        web, trainer = service.memory()
        return found | {"web process": f"{web:,.0f} MB", "trainer, waiting": f"{trainer:,.0f} MB"}
    finally:
        service.end()


def going_on(service: Service, url: str, key: str, rows: int) -> Found:
    """The run that five tasks set off, begun when the fifth is finished."""
    sql(url, "UPDATE embedding_model_tracker SET n_samples_since_training = 0")
    runs = ended_runs(url)
    with service.client(key) as client:
        tasks = attempts(10_000, seed=rows)
        for row in range(5):
            finish_one(client, tasks, row)
    with steps(url) as taken:
        until_ended(url, runs)
    return trained(url, taken, "five tasks more")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="*", default=ROWS)
    sizes = parser.parse_args().rows
    table = Table("", *(f"{rows:,}" for rows in sizes))
    found = []
    for rows in sizes:
        folder = Path(tempfile.mkdtemp())
        try:
            found.append(measured(rows, folder))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        for name, figure in found[-1].items():
            console.print(f"  {name}: {figure}")
    for name in found[0] if found else ():
        table.add_row(name, *(each[name] for each in found))
    console.print(table)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
