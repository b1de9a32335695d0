"""Behind a pooler that lends a server for one transaction only, everything works, while it is started anew too."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.pooler import PROGRAM, Pooler
from tests.school import Student, until
from tests.test_away import Serve, serve

__all__ = ["serve"]  # the fixture

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason="PgBouncer is not installed (apt-get install pgbouncer)"),
]
STUDENTS, TASKS_EACH = 50, 20


@pytest.fixture
def pooler(database_url: str) -> Iterator[Pooler]:
    made = Pooler(database_url)
    yield made
    made.close()


def works(student: Student, number: int, done: list[int], answers: "Counter[tuple[str, int]]") -> None:
    """A student does tasks; every answer is counted."""
    for task in range(TASKS_EACH):
        asked = student.ask(f"Topic {task % 4}")
        answers["POST", asked.status_code] += 1
        answers["PATCH", student.complete(asked.json()["id"], (number + task) % 3 > 0, 20 + task).status_code] += 1
        done.append(task)


def test_a_thousand_tasks_and_a_training_through_a_pooler_that_is_started_anew_lose_nothing(
    pooler: Pooler, serve: Serve, db: Session, monkeypatch: pytest.MonkeyPatch, environment: Path
) -> None:
    monkeypatch.setenv("RETRAIN_EVERY", str(STUDENTS * TASKS_EACH))
    monkeypatch.setenv("TRAINER_SILENT_SECONDS", "6")
    address, _, log = serve(pooler.url)
    until(lambda: _answers(address), 60)
    done: list[int] = []
    answers: Counter[tuple[str, int]] = Counter()

    def has_done(tasks: int) -> bool:
        return len(done) >= tasks or any(each.done() and each.exception() for each in working)

    with httpx.Client(base_url=address, timeout=30) as client, ThreadPoolExecutor(8) as threads:
        students = [Student.registered(client, f"student{number}") for number in range(STUDENTS)]
        working = [threads.submit(works, student, n, done, answers) for n, student in enumerate(students)]
        for so_many in (300, 600):
            until(partial(has_done, so_many), 300)
            pooler.restart()
        for each in working:
            each.result()
        total = STUDENTS * TASKS_EACH
        assert answers == {("POST", 201): total, ("PATCH", 200): total}, log.read_text()

        until(lambda: db_says(db, "SELECT count(*) FROM training_runs WHERE progress ->> 'step' LIKE 'fit%'"))
        pooler.restart()
        until(lambda: db_says(db, "SELECT count(*) FROM training_runs WHERE finished_at IS NOT NULL"), 300)
        assert client.get("/readyz").json() == {"status": "ok", "reasons": []}
        assert db_says(db, "SELECT count(*) FROM practice_tasks WHERE completed") == total
        assert db_says(db, "SELECT string_agg(outcome, ' ') FROM training_runs") == "published"
        assert db_says(db, "SELECT sum(n_taken) FROM training_runs") == total
    assert "Traceback" not in log.read_text()


def test_commands_work_through_a_pooler(pooler: Pooler, environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", pooler.url)
    for command in (["migrate"], ["sample"], ["train", "--kind", "lnirt"], ["backup", str(environment / "b.tar")]):
        ran = subprocess.run([sys.executable, "-m", "app", *command], capture_output=True, text=True, timeout=300)
        assert ran.returncode == 0, ran.stderr + ran.stdout


def db_says(db: Session, sql: str) -> Any:
    with db.begin():
        return db.scalar(text(sql))


def test_requests_that_come_again_make_one_task_each_through_a_pooler(pooler: Pooler, serve: Serve) -> None:
    address, _, log = serve(pooler.url)
    until(lambda: _answers(address), 60)
    with httpx.Client(base_url=address, timeout=30) as client, ThreadPoolExecutor(6) as threads:
        ada = Student.registered(client, "ada")
        sent = [ada.headers | {"Idempotency-Key": str(n // 3)} for n in range(60)]
        body = {"topic": "Waves", "difficulty": "easy"}
        answers = list(threads.map(lambda headers: client.post("/practice-tasks", json=body, headers=headers), sent))
        assert {each.status_code for each in answers} == {201}, log.read_text()
        assert len({each.json()["id"] for each in answers}) == 20
        assert len(ada.get("/practice-tasks", limit=200).json()["items"]) == 20


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/readyz").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def test_listeners_are_told_through_a_pooler(pooler: Pooler, serve: Serve) -> None:
    address, _, _ = serve(pooler.url)
    until(lambda: _answers(address), 60)
    with httpx.Client(base_url=address, timeout=60) as client:
        ada, bob = Student.registered(client, "ada"), Student.registered(client, "bob")
        with client.stream("GET", "/events", headers=ada.headers) as events:
            lines = events.iter_lines()
            next(line for line in lines if line == "event: version")
            bob.ask()
            pooler.restart()
            made = {ada.ask().json()["id"] for _ in range(10)}
            tasks = (line for line in lines if '"correctness_prob"' in line)
            assert {next(tasks).partition('"id":"')[2][:36] for _ in range(10)} == made
