"""What the request path costs: one prediction, and POST and PATCH beside a bare route with one raw statement.

    python -m benchmarks.requests [--seconds 4] [--clients 16]

Starts a service of its own (database, models and port are its own, and gone at the end) whose V2 has weights drawn at
random, and beside it, in turn and on the same database, the bare routes of benchmarks/bare.py. Both have one worker.
"""

import os

from app.core.one_thread import ONE_THREAD

os.environ.update(ONE_THREAD)

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import numpy as np

from app.core.statements import Conversation
from app.crud import student_totals
from app.crud.model_versions import Version
from app.domain.tasks import Asked
from app.ml.embedding_service import predict
from app.ml.inputs import inputs_of_past
from app.ml.kinds import BY_NAME
from app.ml.serving import Lineup, Loaded, ServingModels
from benchmarks import served_v2
from benchmarks.trainings import Service, wait_until_ready

STUDENTS = 1000
PASSWORD = "correct horse battery staple"
DIFFICULTIES = ("easy", "medium", "hard")
ID = re.compile(r'"id":"([0-9a-f-]{36})"')


@dataclass(frozen=True, slots=True)
class Answered:
    """What came back of a load."""

    per_second: float
    median_ms: float
    p99_ms: float
    statuses: dict[str, int]
    bodies: list[str]

    @classmethod
    def of(cls, told: dict[str, Any]) -> "Answered":
        latencies = sorted(told["latencies"])
        p99 = latencies[int(len(latencies) * 0.99)]
        rate = len(latencies) / told["seconds"]
        return cls(rate, statistics.median(latencies), p99, told["statuses"], told["bodies"])


def prepared(method: str, path: str, body: dict[str, Any], secret: str) -> str:
    """A request, ready to be sent."""
    content = json.dumps(body)
    return (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {secret}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n{content}"
    )


def load(port: int, requests: list[str], seconds: float, clients: int, *options: str) -> Answered:
    """Send them all, from a process of its own, as long as the time allows."""
    command = [sys.executable, "-m", "benchmarks.load", str(port), str(seconds), str(clients), *options]
    lines = "\n".join(map(json.dumps, requests))
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
    return Answered.of(json.loads(done.stdout))


def questions(path: str, secrets: list[str], *, named: bool) -> list[str]:
    """Tasks to create; a service key names the student."""
    random = np.random.default_rng(2)
    made = []
    for number in range(2000):
        body: dict[str, Any] = {"topic": f"topic {random.integers(30)}", "difficulty": DIFFICULTIES[number % 3]}
        if named:
            body["user_id"] = str(UUID(int=int(random.integers(STUDENTS)) + 1))
        if number % 2:
            body["item_id"] = f"item {random.integers(300)}"
        made.append(prepared("POST", path, body, secrets[number % len(secrets)]))
    return made


def results(path: str, created: Answered, secrets: dict[str, str] | str) -> list[str]:
    """How the created tasks went; `secrets` is the key, or the token of each student."""
    made = []
    for number, body in enumerate(created.bodies):
        found = ID.search(body)
        assert found, body
        secret = secrets if isinstance(secrets, str) else secrets[json.loads(body)["user_id"]]
        result = {"is_correct": number % 3 > 0, "actual_time_seconds": 20.5 + number % 50}
        made.append(prepared("PATCH", f"{path}/{found[1]}", result, secret))
    return made


# One prediction without the database: from the row of the history query to the Prediction.

SUMS = [[120, 12, 40, 5, 3, 1, 1, 1], [70, 8, 20, 3, 2, 1, 0, 1], [4000, 400, 1300, 200, 99, 30, 40, 20]]
PAST_ROW = {
    "at": datetime(2026, 11, 25, tzinfo=UTC),
    "serving": [1],
    "numbers": [float(number) for number in (3, *SUMS[0], *SUMS[1], *SUMS[2], 100, 2000, 300_000)],
}
ASKED = Asked(UUID(int=5), "topic 3", "easy", "item 7")


def prediction_microseconds() -> float:
    """Processor time of one prediction of V2, the median round: inputs, both networks, calibration, limits."""
    serving = serving_v2()
    return microseconds(lambda: said(predict(serving, ASKED, student_totals.past_of(PAST_ROW))))


def parts_microseconds() -> dict[str, float]:
    """Where it goes."""
    model, past = served_v2.model(STUDENTS), student_totals.past_of(PAST_ROW)
    inputs = inputs_of_past(past)
    names = ([str(ASKED.user_id)], [ASKED.topic], [ASKED.difficulty], [ASKED.item_id])
    scores = model.scores(*names, inputs)
    return {
        "the row as arrays": microseconds(lambda: student_totals.past_of(PAST_ROW)),
        "inputs": microseconds(lambda: inputs_of_past.__wrapped__(past)),
        "both networks": microseconds(lambda: model.scores(*names, inputs)),
        "calibration": microseconds(lambda: model.calibration.answers_of_scores(scores[0], np.exp(scores[1]))),
        "one prediction": prediction_microseconds(),
    }


def serving_v2() -> ServingModels:
    """As it is in a running service, without files or database."""
    made = ServingModels(lambda: nullcontext(), Path())  # type: ignore[arg-type, return-value]  # never opened
    version = Version(1, "embedding_v2", "", {}, "serving", None, 0, {}, datetime(2026, 11, 25, tzinfo=UTC))
    loaded = Loaded(BY_NAME["embedding_v2"], version, served_v2.model(STUDENTS))
    made.lineup = Lineup((loaded,), order=("embedding_v2",))
    return made


def said(conversation: Conversation[Any]) -> Any:
    """What a conversation comes to that asks nothing."""
    try:
        next(conversation)
    except StopIteration as end:
        return end.value
    raise AssertionError("it asked the database")


def microseconds(work: Callable[[], object], n: int = 300, rounds: int = 9) -> float:
    """Processor time of one call, the median round: what else runs here does not count."""
    work()
    return statistics.median(timeit.repeat(work, timer=time.process_time, number=n, repeat=rounds)) / n * 1e6


@contextmanager
def service(folder: Path) -> Iterator[Service]:
    """A running service with V2, which never trains."""
    os.environ["RETRAIN_EVERY"] = "100000000"
    made = Service(folder)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{made.port}") as client:
            wait_until_ready(client)
            serve_v2(made, folder)
            while not client.get("/model/status").json()["serving"]["model_version_id"]:
                time.sleep(0.1)
        yield made
    finally:
        made.end()


def serve_v2(made: Service, folder: Path) -> None:
    """Make it the version that serves, as a training would have."""
    served_v2.save(folder / "models" / "versions" / "by-hand", STUDENTS)
    subprocess.run([sys.executable, "-m", "benchmarks.requests", "--publish"], env=made.environment, check=True)


def publish() -> None:
    """In the service's own environment: the row of the version."""
    from app.core.database import new_session
    from app.core.settings import settings
    from app.crud import model_versions, training_runs
    from app.ml import artifacts

    with new_session().begin() as db:
        made = model_versions.add(
            db,
            kind="embedding_v2",
            folder="versions/by-hand",
            files=artifacts.hashes(settings().model_dir / "versions" / "by-hand"),
            n_tasks=0,
            report={},
            scores={},
            span=(datetime.now(UTC), datetime.now(UTC)),
            run_id=training_runs.ask(db),
        )
        model_versions.take_turn(db)
        model_versions.serve(db, [made], what="published", made_by="benchmark", reason="To measure.")


@contextmanager
def bare(made: Service) -> Iterator[int]:
    """The bare routes on the service's database; their port."""
    command = "from app.core.database import database_url; print(database_url())"
    url = subprocess.run([sys.executable, "-c", command], env=made.environment, capture_output=True, text=True).stdout
    port = made.port + 1
    options = ["--host", "127.0.0.1", "--port", str(port), "--no-access-log", "--log-level", "warning"]
    environment = {**os.environ, "DATABASE_URL": url.strip()}
    process = subprocess.Popen([sys.executable, "-m", "uvicorn", "benchmarks.bare:app", *options], env=environment)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            wait_for(client)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def wait_for(client: httpx.Client) -> None:
    for _ in range(200):
        try:
            client.get("/docs")
            return
        except httpx.TransportError:
            time.sleep(0.1)
    raise TimeoutError("the bare routes did not start")


def signed_in(port: int, n: int) -> dict[str, str]:
    """Token of each student."""
    made = {}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        for number in range(n):
            account = {"email": f"student{number}@example.com", "password": PASSWORD}
            student = client.post("/auth/register", json=account).raise_for_status().json()["id"]
            form = {"username": account["email"], "password": PASSWORD}
            made[student] = client.post("/auth/token", data=form).raise_for_status().json()["access_token"]
    return made


def measure(folder: Path, seconds: float, clients: int, rounds: int = 3) -> None:
    with service(folder) as made, bare(made) as bare_port:
        key = made.run("key", "create", "bench").split()[0]
        tokens = signed_in(made.port, clients)
        doors: dict[str, tuple[int, str, list[str], dict[str, str] | str]] = {
            "bare": (bare_port, "/tasks", [key], key),
            "key": (made.port, "/practice-tasks", [key], key),
            "student": (made.port, "/practice-tasks", list(tokens.values()), tokens),
        }
        rates: dict[str, list[Answered]] = {}
        for _ in range(rounds):
            for name, (port, path, secrets, owners) in doors.items():
                asked = questions(path, secrets, named=name != "student")
                created = load(port, asked, seconds, clients, "--again", "--bodies")
                done = load(port, results(path, created, owners), seconds, clients)
                rates.setdefault(f"POST {name}", []).append(created)
                rates.setdefault(f"PATCH {name}", []).append(done)
        show(rates)


def show(rates: dict[str, list[Answered]]) -> None:
    for name, found in rates.items():
        method = name.split()[0]
        rate = statistics.median(each.per_second for each in found)
        beside = statistics.median(
            each.per_second / bare.per_second for each, bare in zip(found, rates[f"{method} bare"], strict=True)
        )
        median, p99 = (statistics.median(getattr(e, which) for e in found) for which in ("median_ms", "p99_ms"))
        statuses = sorted({status for each in found for status in each.statuses})
        print(f"{name:14} {rate:6.0f}/s  {beside:4.2f} of bare  median {median:5.1f} ms  p99 {p99:5.1f} ms  {statuses}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--publish", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.publish:
        return publish()
    for part, took in parts_microseconds().items():
        print(f"{part:20} {took:5.0f} us")
    with tempfile.TemporaryDirectory() as name:
        measure(Path(name), given.seconds, given.clients)
    return None


if __name__ == "__main__":
    main()
