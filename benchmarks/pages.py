"""The pages of a student with a long past: milliseconds of each on the server, and what a first visit loads.

    python -m benchmarks.pages [PATH ...] [--tasks 100000] [--times 10]

Starts a service of its own (database, models and port are its own, and gone at the end), trains it on the sample, lets
V2 answer with LNIRT beside it, and gives one account so many finished tasks of the last 60 days, another as many of the
last two years; the newest of them were predicted. Each page is asked for over HTTP, one request at a time: the first
answer, then the median of the others. Other pages, such as /dashboard/preparation, are measured by naming their paths.
"""

import argparse
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import httpx
import numpy as np
from rich.console import Console
from rich.table import Table

from app.domain.attempts import Attempts
from app.ml.evaluation.simulated import SECOND, school, simulate
from benchmarks.service import Service, wait_until_ready
from benchmarks.stage import sql

PATHS = ("/dashboard", "/dashboard/analytics")
SPREADS = {"60 days": 60, "2 years": 730}
TOPICS = tuple(f"Topic {number}" for number in range(1, 31))
PASSWORD = "a password for a minute"  # of accounts that are gone with their database
HTML = {"Accept": "text/html"}
PREDICT = """
    UPDATE practice_tasks SET correctness_prob = 0.5 + 0.4 * sin(hashtext(topic || difficulty)),
        estimated_time_seconds = 35, correctness_prob_low = 0.1, correctness_prob_high = 0.9, time_low_seconds = 15,
        time_high_seconds = 70, lnirt_model_version = 'prior'
    WHERE id IN (SELECT id FROM practice_tasks WHERE user_id = %s ORDER BY completed_at DESC LIMIT 5000)"""


@dataclass(frozen=True, slots=True)
class Page:
    """What was measured of one page."""

    account: str
    path: str
    first_ms: float
    median_ms: float
    bytes: int
    first_load_kb: float  # with style sheet, script and icon; not compressed


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", default=PATHS, metavar="PATH")
    parser.add_argument("--tasks", type=int, default=100_000, help="in each account")
    parser.add_argument("--times", type=int, default=10, help="requests of each page, after the first")
    parser.add_argument("--untrained", action="store_true", help="no models: quicker, and less to show")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        service = Service(Path(folder))
        try:
            print_table(measured(service, given.paths, given.tasks, given.times, trained=not given.untrained))
        finally:
            service.end()


def measured(service: Service, paths: Sequence[str], tasks: int, times: int, *, trained: bool) -> Iterator[Page]:
    """Each page of each account."""
    with service.client() as client:
        wait_until_ready(client, service.process)
        if trained:
            _train(service, client)
        service.run("pause")
        for place, (name, days) in enumerate(SPREADS.items()):
            client.cookies.clear()
            _register(service, client, f"student{place}@example.com", tasks, days)
            for path in paths:
                yield _page(client, name, path, times)


def _train(service: Service, client: httpx.Client) -> None:
    """V2 answers, LNIRT is asked what it believes."""
    service.run("sample")
    service.run("train")
    found = sql(service.url(), "SELECT max(id) FROM model_versions WHERE kind = 'embedding_v2'")
    service.run("promote", str(found[0][0]))
    deadline = time.monotonic() + 30
    while client.get("/model/status").json()["serving"]["model_version"] != "embedding_v2":
        if time.monotonic() > deadline:
            raise RuntimeError("V2 was promoted, but doesn't answer")
        time.sleep(0.2)


def _register(service: Service, client: httpx.Client, email: str, tasks: int, days: int) -> None:
    """An account with a past, and one task open."""
    client.post("/register", data={"email": email, "password": PASSWORD, "name": "Ada"})
    student = sql(service.url(), "SELECT id FROM users WHERE email = %s", email)[0][0]
    service.add(past(str(student), tasks, days))
    sql(service.url(), PREDICT, str(student))
    sql(service.url(), "ANALYZE practice_tasks")
    client.post("/dashboard/tasks", data={"topic": TOPICS[0], "difficulty": "medium"})


def past(student: str, tasks: int, days: int) -> Attempts:
    """So many tasks of one student, at any time of the last days."""
    made = simulate(school(1, TOPICS, learning=0.05, seed=12), tasks, seed=12).attempts
    now = int(time.time() * SECOND)
    ago = np.sort(np.random.default_rng(12).uniform(0.05, days, tasks))[::-1] * 86_400 * SECOND
    started = now - ago.astype(np.int64)
    return replace(made, students=(student,), started=started, finished=started + made.finished - made.started)


def _page(client: httpx.Client, account: str, path: str, times: int) -> Page:
    answers = [_asked(client, path) for _ in range(times + 1)]
    page = answers[0][1]
    files = {found.split("?")[0]: found for found in re.findall(r'(?:href|src)="(/static/[^"]+)"', page.text)}
    sizes = [len(client.get(file).raise_for_status().content) for file in files.values()]
    milliseconds = [each for each, _ in answers]
    size = len(page.content)
    return Page(account, path, milliseconds[0], median(milliseconds[1:]), size, (size + sum(sizes)) / 1000)


def _asked(client: httpx.Client, path: str) -> tuple[float, httpx.Response]:
    """Milliseconds, and the answer; a page that isn't one stops the measurement."""
    begun = time.perf_counter()
    answer = client.get(path, headers=HTML)
    took = (time.perf_counter() - begun) * 1000
    if answer.status_code != httpx.codes.OK:
        raise RuntimeError(f"{path} was answered {answer.status_code}")
    return took, answer


def print_table(pages: Iterator[Page]) -> None:
    shown = Table("account", "path", "median ms", "first ms", "bytes", "first load kB")
    shown.columns[1].no_wrap = True
    for page in pages:
        times = (f"{page.median_ms:.1f}", f"{page.first_ms:.1f}")
        shown.add_row(page.account, page.path, *times, f"{page.bytes:,}", f"{page.first_load_kb:.1f}")
    Console(soft_wrap=True).print(shown)


if __name__ == "__main__":
    main()
