"""Several web processes count together, and everything that they say is JSON."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.school import Student, until


@dataclass(frozen=True)
class Served:
    address: str
    process: "subprocess.Popen[bytes]"
    folder: Path  # for what is temporary
    log: Path

    def is_up(self) -> bool:
        try:
            return httpx.get(f"{self.address}/readyz").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def counted(self, route: str) -> float:
        """Answers on this route, as whichever process is asked says it."""
        families = text_string_to_metric_families(httpx.get(f"{self.address}/metrics").text)
        samples = [sample for family in families for sample in family.samples]
        found = [s.value for s in samples if s.name == "smartstudy_http_requests_total" and s.labels["route"] == route]
        return sum(found)

    def web_processes(self) -> set[int]:
        """Those that have counted something."""
        return {int(file.stem.rpartition("_")[2]) for file in self.folder.glob("smartstudy-counters-*/counter_*.db")}


@pytest.fixture
def served(environment: Path) -> Iterator[Served]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder, log = environment / "temporary", environment / "log"
    folder.mkdir()
    command = [sys.executable, "-m", "app", "serve", "--port", str(port), "--workers", "2", "--access-log"]
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, stderr=stderr, env={**os.environ, "TMPDIR": str(folder)})
    yield Served(f"http://127.0.0.1:{port}", process, folder, log)
    if process.poll() is None:
        process.terminate()
        process.wait(15)


def ask(served: Served, times: int) -> None:
    for _ in range(times):
        httpx.get(f"{served.address}/healthz").raise_for_status()  # each on a connection of its own, so by anybody


def test_what_several_processes_counted_is_told_by_each_and_outlives_one_that_dies(served: Served) -> None:
    until(served.is_up, 60)
    asked = 0

    def both_have_answered() -> bool:
        nonlocal asked
        ask(served, 20)
        asked += 20
        return len(served.web_processes()) >= 2

    until(both_have_answered, 60)
    assert {served.counted("/healthz") for _ in range(10)} == {asked}
    os.kill(min(served.web_processes()), signal.SIGKILL)
    until(served.is_up, 60)
    assert served.counted("/healthz") == asked
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(15) in (0, -signal.SIGTERM)
    assert list(served.folder.glob("smartstudy-counters-*")) == []
    lines = [json.loads(line) for line in served.log.read_text().splitlines()]
    assert {"timestamp", "level", "logger", "event"} <= set.intersection(*map(set, lines))
    assert len({line["request_id"] for line in lines if line.get("route") == "/healthz"}) == asked


def sent_until_answered(served: Served, headers: dict[str, str], key: str) -> httpx.Response:
    """As a client does whose connection breaks: the same request again, with the same key."""
    body = {"topic": "Waves", "difficulty": "easy"}

    def sent() -> httpx.Response | None:
        try:
            answer = httpx.post(
                f"{served.address}/practice-tasks", json=body, headers=headers | {"Idempotency-Key": key}, timeout=60
            )
        except httpx.TransportError:
            return None
        return None if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE else answer

    answer: httpx.Response = until(sent, 60)
    return answer


@pytest.mark.slow
def test_100_requests_sent_three_times_at_once_make_100_tasks_though_a_process_is_killed(served: Served) -> None:
    until(served.is_up, 60)
    with httpx.Client(base_url=served.address) as client:
        ada = Student.registered(client, "ada")
        with ThreadPoolExecutor(24) as pool:
            coming = [pool.submit(sent_until_answered, served, ada.headers, str(n // 3)) for n in range(300)]
            until(lambda: sum(each.done() for each in coming) >= 60 and len(served.web_processes()) >= 2, 60)
            os.kill(min(served.web_processes()), signal.SIGKILL)
            answers = [each.result() for each in coming]
        assert {each.status_code for each in answers} == {httpx.codes.CREATED}
        for n in range(100):
            assert len({each.content for each in answers[3 * n : 3 * n + 3]}) == 1
        stored = ada.get("/practice-tasks", limit=200).json()["items"]
    assert len(stored) == 100
    assert {each["id"] for each in stored} == {each.json()["id"] for each in answers}
