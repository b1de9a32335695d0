"""From the start of the process to the first prediction on an existing database, and what the web process holds."""

import time
from collections.abc import Sequence

import httpx

from benchmarks import questions
from benchmarks.clients import Job, load
from benchmarks.findings import OURS, Found, Row, Target, medians
from benchmarks.service import free_port, megabytes
from benchmarks.stage import Stage, running

REQUESTS = 500  # answered before memory is looked at
DOCUMENTS = "documents"


def start(stage: Stage) -> Found:
    """Ours with its database, several times; the documents' way, whose database runs already, once."""
    seconds: dict[str, Sequence[float]] = {OURS: [_ours(stage, turn) for turn in range(stage.sizes.starts)]}
    load(Job(stage.service.port, questions.posts(questions.some(stage.world, REQUESTS, 5), stage.key), 4, 30))
    memory = {OURS: stage.service.memory()[0]}
    theirs, memory[DOCUMENTS] = _documents(stage)
    figures = medians({**seconds, DOCUMENTS: [theirs]})
    return Found(
        [
            Row("start", "start to first prediction", "s", figures, Target("<", 2, "s", figures[OURS])),
            Row("start", "web process", "MB", memory, Target("<", 200, "MB", memory[OURS])),
        ]
    )


def _ours(stage: Stage, turn: int) -> float:
    key = stage.key
    stage.say(f"start {turn + 1} of {stage.sizes.starts}: ours")
    stage.service.end()
    begun = time.perf_counter()
    service = stage.start_again()
    with service.client(key) as client:
        return _first_answer(client, questions.question(stage.world, 0)) - begun


def _documents(stage: Stage) -> tuple[float, float]:
    """Seconds and MB."""
    url, port = stage.documents_url, free_port()
    stage.say("start: the documents' application")
    begun = time.perf_counter()
    with running("web_documents", url, port, stage.folder / "start.log") as process:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            answered = _first_answer(client, questions.question(stage.world, 0))
        return answered - begun, megabytes(process.pid)


def _first_answer(client: httpx.Client, body: dict[str, str]) -> float:
    """When it came."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if client.post(questions.PATH, json=body).status_code == 201:
                return time.perf_counter()
        except httpx.TransportError:
            pass  # not there yet: that is what we wait for
        time.sleep(0.01)
    raise TimeoutError("no prediction within a minute")
