"""POST at a fixed rate, idle and while trainings run, in turn: what a training costs those who ask meanwhile."""

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from statistics import median

import httpx
import psycopg2

from benchmarks import questions
from benchmarks.clients import Answered, Job, Load, load
from benchmarks.findings import OURS, PHASE, Curve, Found, Row, Target
from benchmarks.service import finish_one
from benchmarks.stage import Stage, Way, sql

CLIENTS = 4
LONGEST = 1800.0  # seconds of one training, or of one phase
SWITCHES = 3  # of the version in service, at least
MORE_PHASES = 6  # if the gate kept some back
DOCUMENTS = "documents"
ENDED = "SELECT count(*) FROM training_runs WHERE finished_at IS NOT NULL"


@dataclass(slots=True)
class Phases:
    """p99 of each, ms; what went wrong."""

    idle: list[float] = field(default_factory=list)
    training: list[float] = field(default_factory=list)
    requests: int = 0
    failed: int = 0

    def add(self, to: list[float], answered: Answered) -> None:
        to.append(answered.p99)
        self.requests += len(answered.latencies)
        self.failed += answered.failed

    def ratio(self) -> float:
        return median(t / i for t, i in zip(self.training, self.idle, strict=True))


def during(stage: Stage) -> Found:
    sql(stage.url, "UPDATE embedding_model_tracker SET n_samples_since_training = 0")
    sql(stage.documents_url, "UPDATE embedding_model_tracker SET n_samples_since_training = 0")
    with stage.service.client(stage.key) as client:
        _train_once(stage, client)  # the trainer is warm, as it is in a service that is used
    before, ours = published(stage), Phases()
    for phase in range(stage.sizes.phases + MORE_PHASES):
        if phase >= stage.sizes.phases and published(stage) - before >= SWITCHES:
            break
        stage.say(f"POST at {stage.sizes.rate:g}/s, phase {phase + 1} of {stage.sizes.phases}: idle, then training")
        ours.add(ours.idle, load(_job(stage, stage.ours, stage.sizes.rate)))
        ours.add(ours.training, _while_training(stage))
    return _found(stage, ours, published(stage) - before, _documents(stage))


def _job(stage: Stage, way: Way, rate: float, seconds: float | None = None) -> Job:
    asked = questions.posts(questions.some(stage.world, 2000, 7), way.key, way.path)
    return Job(way.port, asked, CLIENTS, seconds or stage.sizes.phase_seconds, rate, again=True)


def _while_training(stage: Stage) -> Answered:
    """One training after another for as long as a phase lasts; the last is answered through to its end."""
    at_work = Load(_job(stage, stage.ours, stage.sizes.rate, LONGEST))
    try:
        begun = time.monotonic()
        with stage.service.client(stage.key) as client:
            while time.monotonic() - begun < stage.sizes.phase_seconds:
                _train_once(stage, client)
    finally:
        answered = at_work.answered(now=True)
    return answered


def _train_once(stage: Stage, client: httpx.Client) -> None:
    """Five tasks are finished, and the run that this sets off ends."""
    runs = ended_runs(stage.url)
    for row in range(5):
        finish_one(client, stage.world, row)
    until_ended(stage.url, runs)
    time.sleep(0.5)  # the new version has been loaded


def ended_runs(url: str) -> int:
    """Asked of the database, which disturbs the service least."""
    return int(sql(url, ENDED)[0][0])


def until_ended(url: str, runs_before: int) -> None:
    """Over one connection and not often: whoever measures must not be what is measured."""
    deadline = time.monotonic() + LONGEST
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        while True:
            cursor.execute(ENDED)
            if cursor.fetchone()[0] != runs_before:
                return
            if time.monotonic() > deadline:
                raise TimeoutError("the training did not end")
            time.sleep(0.25)


def published(stage: Stage) -> int:
    """Changes of who serves."""
    return int(sql(stage.url, "SELECT count(*) FROM serving_changes WHERE what = 'published'")[0][0])


def _documents(stage: Stage) -> Phases:
    """One phase of each: its training lasts longer than both, and nobody waits for its end."""
    way, phases = stage.documents, Phases()
    job = _job(stage, way, stage.sizes.documents_rate, 2 * stage.sizes.phase_seconds)
    stage.say(f"the documents' way: POST at {stage.sizes.documents_rate:g}/s, idle, then training")
    phases.add(phases.idle, load(job))
    _finish_five(stage, way)
    phases.add(phases.training, load(job))
    return phases


def _finish_five(stage: Stage, way: Way) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{way.port}", timeout=60) as client:
        for row in range(5):
            finish_one(client, stage.world, row)


def _found(stage: Stage, ours: Phases, switches: int, theirs: Phases) -> Found:
    note = f"POST at {stage.sizes.rate:g}/s; the documents' way at {stage.sizes.documents_rate:g}/s"
    ratio = {OURS: ours.ratio(), DOCUMENTS: theirs.ratio()}
    rows = [
        Row("during", "p99 of POST, idle", "ms", {OURS: median(ours.idle), DOCUMENTS: median(theirs.idle)}, note=note),
        Row("during", "p99 of POST, training", "ms", {OURS: median(ours.training), DOCUMENTS: median(theirs.training)}),
        Row("during", "p99 of POST, training to idle", "times", ratio, Target("<=", 1.3, "", ratio[OURS])),
        Row("during", "versions that came into service meanwhile", "", {OURS: switches}, Target(">=", 3, "", switches)),
        Row("during", f"of {ours.requests} requests, failed", "", {OURS: ours.failed}, Target("=", 0, "", ours.failed)),
    ]
    lines: dict[str, Sequence[float]] = {"idle": ours.idle, "training": ours.training}
    return Found(
        rows,
        [
            Curve("p99 of POST (ms)", line, PHASE, [float(n + 1) for n in range(len(y))], list(y))
            for line, y in lines.items()
        ],
    )
