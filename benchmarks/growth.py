"""What grows with the number of finished tasks: the run that five new ones trigger, POST, memory."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from uuid import UUID

from app.domain.attempts import Attempts
from app.ml.evaluation.simulated import school, simulate
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
    """As far as it goes: what was measured before something failed is kept."""
    points: list[Point] = []
    stopped = ""
    try:
        for point in _measured(stage):
            points.append(point)
    except Exception as why:
        if not points:
            raise
        stopped = f"stopped after {points[-1].tasks:,} tasks, {type(why).__name__}: {why}"
    return Found(_rows(points), _curves(points), stopped)


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
    truth, first = school(-(-n // each), seed=before), school(1)
    truth = replace(truth, hardness=first.hardness, effort=first.effort)  # other students, the same tasks
    attempts = simulate(truth, each, seed=before).attempts.take(slice(n))
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
    """Seconds from the fifth new task to the end of the run that it triggers."""
    sql(url, "UPDATE embedding_model_tracker SET n_samples_since_training = 0")
    runs = ended_runs(url)
    with service.client(key) as client:
        for row in range(5):
            begun = time.perf_counter()
            finish_one(client, world, row)
    until_ended(url, runs)
    return time.perf_counter() - begun


def _rows(points: list[Point]) -> list[Row]:
    """Ours is the largest size; the others stand beside it."""
    last = points[-1]
    shown = {
        "from the fifth new task to the end of its run": ("next_run", "s"),
        "the same, the first run after an import": ("first_run", "s"),
        "POST, one client": ("post", "ms"),
        "web process": ("web", "MB"),
        "trainer": ("trainer", "MB"),
    }
    outcomes = ", ".join(f"{point.outcome} on {point.tasks:,}" for point in points)
    notes = {"next_run": outcomes}
    return [
        Row("growth", f"{what}, {last.tasks:,} tasks", unit, _by_size(points, name), note=notes.get(name, ""))
        for what, (name, unit) in shown.items()
    ]


def _by_size(points: list[Point], name: str) -> dict[str, float]:
    figures = {f"on {point.tasks:,}": float(getattr(point, name)) for point in points[:-1]}
    return {OURS: float(getattr(points[-1], name)), **figures}


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
