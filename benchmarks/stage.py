"""What is measured, side by side: our service, bare routes on its database, and the documents' application.

Each is started when it is first needed, on the same simulated tasks, and ended with the stage.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import psycopg2

from app.core.db import embedded_postgres
from app.domain.attempts import Attempts
from app.ml.evaluation.simulated import school, simulate
from benchmarks import questions
from benchmarks.service import Service, ended, free_port, wait_until_ready
from benchmarks.sizes import Sizes

NEVER = -1_000_000  # where the counter is put so that nothing trains meanwhile
LONGEST_RUN = 300.0  # seconds
PUT_DOWN = "UPDATE embedding_model_tracker SET n_samples_since_training = %s"
AT_REST = """SELECT n_samples_since_training = %s AND NOT EXISTS (SELECT FROM training_runs WHERE finished_at IS NULL)
             FROM embedding_model_tracker"""
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Way:
    """One of those that answer."""

    name: str
    port: int
    path: str = questions.PATH
    key: str = ""


class Stage:
    def __init__(self, folder: Path, sizes: Sizes, say: Say) -> None:
        self.folder = folder
        self.sizes = sizes
        self.say = say
        self._ends = ExitStack()

    def close(self) -> None:
        self._ends.close()

    @cached_property
    def world(self) -> Attempts:
        """The tasks that students have finished before anything is measured."""
        return simulate(school(self.sizes.students, seed=4), self.sizes.tasks_each, seed=4).attempts

    @cached_property
    def service(self) -> Service:
        """Ours, with a trained V2."""
        self.say("our service: starting, importing, training V2")
        service = self._started()
        self._ends.callback(self._end, service)
        with service.client() as client:
            wait_until_ready(client, service.process)
            service.add(self.world)
            if self.sizes.trained:
                _train(service, client)
        return service

    def _end(self, first: Service) -> None:
        """The one that runs now; the first, where it never came so far as to be used."""
        self.__dict__.get("service", first).end()

    def start_again(self) -> Service:
        """Ours, on what it has stored, once it was ended; with its database, unless others use that."""
        self.service = self._started()
        return self.service

    def _started(self) -> Service:
        return Service(self.folder / "ours", MODEL="embedding_v2")

    @cached_property
    def key(self) -> str:
        return self.service.key()

    @cached_property
    def url(self) -> str:
        """Of our database."""
        return self.service.url()

    @property
    def ours(self) -> Way:
        return Way("ours", self.service.port, key=self.key)

    @cached_property
    def bare(self) -> tuple[Way, Way]:
        """A raw statement, and nothing at all."""
        port = self._uvicorn("bare_web", self.url)[0]
        return Way("raw asyncpg", port, "/raw"), Way("bare route", port, "/bare")

    @cached_property
    def documents_url(self) -> str:
        from benchmarks.reference import web_documents

        folder = self.folder / "documents"
        folder.mkdir()
        folder.chmod(0o711)
        url = embedded_postgres.start(folder / "data")
        self._ends.callback(embedded_postgres.stop, folder / "data")
        web_documents.fill(url, self.world)
        return url

    @cached_property
    def documents_process(self) -> tuple[Way, int]:
        """The documents' application, and the id of its process."""
        self.say("the documents' application: starting")
        port, pid = self._uvicorn("web_documents", self.documents_url)
        way = Way("documents", port)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            client.post(way.path, json=questions.question(self.world, 0)).raise_for_status()  # its networks are traced
        return way, pid

    @property
    def documents(self) -> Way:
        return self.documents_process[0]

    def _uvicorn(self, name: str, url: str) -> tuple[int, int]:
        """A reference in a process of its own; its port and its process id."""
        port = free_port()
        process = self._ends.enter_context(running(name, url, port, self.folder / f"{name}.log"))
        return port, process.pid

    def quiet(self) -> None:
        """No training: only requests are measured.

        A run at work or about to begin takes its tasks from the counter when it ends, which brings it back to 0: the
        counter is put down again until it stays there.
        """
        deadline = time.monotonic() + LONGEST_RUN
        looks = 0  # in a row that found nothing at work and the counter where it was put
        while looks < 3:
            looks = looks + 1 if sql(self.url, AT_REST, NEVER)[0][0] else 0
            sql(self.url, PUT_DOWN, NEVER)
            if time.monotonic() > deadline:
                raise RuntimeError(f"a training was not over after {LONGEST_RUN:.0f} s")
            time.sleep(0.3)
        sql(self.documents_url, PUT_DOWN, NEVER)


def _train(service: Service, client: httpx.Client) -> None:
    """Have V2 trained and answer, by hand: on made-up students the gate may give it no share."""
    service.run("train", "--kind", "embedding_v2")
    newest = json.loads(service.run("versions", "--kind", "embedding_v2", "--limit", "1", "--json"))
    service.run("promote", str(newest["items"][0]["id"]))
    deadline = time.monotonic() + 10
    while client.get("/model/status").json()["serving"]["model_version"] != "embedding_v2":
        if time.monotonic() > deadline:
            raise RuntimeError("V2 was trained, but doesn't serve")
        time.sleep(0.2)


@contextmanager
def running(name: str, url: str, port: int, log: Path) -> "Iterator[subprocess.Popen[bytes]]":
    """One of the references under uvicorn, one worker."""
    command = [sys.executable, "-m", "uvicorn", f"benchmarks.reference.{name}:app", "--port", str(port)]
    environment = {**os.environ, "DATABASE_URL": url, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    with log.open("w") as out:
        process = subprocess.Popen(
            [*command, "--no-access-log", "--log-level", "warning"], env=environment, stdout=out, stderr=out
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            wait_until_ready(client, process)
        yield process
    finally:
        ended(process)


def sql(url: str, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    """Run it and commit; its rows."""
    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement, values)
            return list(cursor.fetchall()) if cursor.description else []
    finally:
        connection.close()
