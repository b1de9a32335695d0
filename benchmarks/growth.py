"""What grows with the number of finished tasks: the run that five new ones trigger, POST, memory."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from uuid import UUID

from app.domain.attempts import Attempts
from app.ml.simulated import school, simulate
from benchmarks import questions
from benchmarks.clients import Job, load
from benchmarks.during_training import ended_runs, until_ended
from benchmarks.findings import OURS, Curve, Found, Row
from benchmarks.service import Service, finish_one, wait_until_ready
from benchmarks.stage import Stage, sql

EACH = 100  # tasks of a student; fewer where there are few tasks
STUDENTS = 4  # at least
ALONG = "finished tasks"


@dataclass(frozen=True, slots=True)
class Point:
    """One size."""

    tasks: int
    import_rate: float  # rows a second
    first_run: float  # s, from the fifth PATCH to the end of the run: the one that meets the imported tasks
    next_run: float  # s, of the one after it: five more tasks
    outcome: str  # of that one
    post: float  # ms, median of one client
    web: float  # MB
    trainer: float  # MB


def growth(stage: Stage) -> Found:
    points = list(_measured(stage))
    return Found([_row(point) for point in points], _curves(points))


def _measured(stage: Stage) -> Iterator[Point]:
    service = Service(stage.folder / "growth")
    try:
        with service.client() as client:
            wait_until_ready(client, service.process)
        key, url = service.key(), service.url()
        before = 0
        for size in stage.sizes.growth:
            stage.say(f"growth: importing up to {size:,} tasks")
            added = block(size - before, before)
            yield _point(stage, service, key, url, size, added)
            before = size
    finally:
        service.end()


def block(n: int, before: int) -> Attempts:
    """n tasks of students whom the `before` tasks don't have."""
    each = min(EACH, max(1, n // STUDENTS))
    attempts = simulate(school(-(-n // each), seed=before), each, seed=before).attempts.take(slice(n))
    ids = tuple(str(UUID(int=10_000_000 + before + number)) for number in range(len(attempts.students)))
    return replace(attempts, students=ids)


def _point(stage: Stage, service: Service, key: str, url: str, size: int, added: Attempts) -> Point:
    begun = time.perf_counter()
    service.add(added)
    rate = len(added) / (time.perf_counter() - begun)
    stage.say(f"growth: {size:,} tasks, five more, training on all")
    first = _run(service, key, url, added)
    stage.say(f"growth: {size:,} tasks, five more, training again")
    following = _run(service, key, url, added)
    asked = questions.posts(questions.some(added, stage.sizes.asked, size), key)
    load(Job(service.port, asked, 1, 30))
    post = load(Job(service.port, asked, 1, 30)).median
    outcome = sql(url, "SELECT outcome FROM training_runs ORDER BY id DESC LIMIT 1")[0][0]
    return Point(size, rate, first, following, outcome, post, *service.memory())


def _run(service: Service, key: str, url: str, world: Attempts) -> float:
    """Seconds from the fifth PATCH to the end of the run that it triggers."""
    sql(url, "UPDATE embedding_model_tracker SET n_samples_since_training = 0")
    runs = ended_runs(url)
    with service.client(key) as client:
        for row in range(5):
            begun = time.perf_counter()
            finish_one(client, world, row)
    until_ended(url, runs)
    return time.perf_counter() - begun


def _row(point: Point) -> Row:
    figures = {OURS: point.next_run, "after an import": point.first_run}
    note = f"{point.outcome}; POST {point.post:.1f} ms, web process {point.web:.0f} MB, trainer {point.trainer:.0f} MB"
    return Row("growth", f"training, five new tasks on {point.tasks:,}", "s", figures, note=note)


def _curves(points: list[Point]) -> list[Curve]:
    shown = {
        "run after five tasks (s)": {OURS: "next_run", "the first after an import": "first_run"},
        "POST, one client (ms)": {OURS: "post"},
        "memory (MB)": {"web process": "web", "trainer": "trainer"},
        "import (rows/s)": {OURS: "import_rate"},
    }
    x = [float(point.tasks) for point in points]
    return [
        Curve(panel, line, ALONG, x, [float(getattr(point, name)) for point in points])
        for panel, lines in shown.items()
        for line, name in lines.items()
    ]
