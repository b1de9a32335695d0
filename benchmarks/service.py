"""A service with database, models and port of its own, to be measured; gone at the end."""

import csv
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from app.domain.attempts import DIFFICULTIES, Attempts
from app.ml.training.worker import START
from benchmarks import questions

LONGEST = 1800.0  # seconds for one training
READY = 60.0  # seconds to start


def write(attempts: Attempts, path: Path) -> None:
    """The common form."""
    a = attempts
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["student_id", "item_id", "topic", "difficulty", "correct", "time_seconds", "timestamp"])
        out.writerows(
            zip(
                [a.students[place] for place in a.student.tolist()],
                [a.items[place] if place >= 0 else "" for place in a.item.tolist()],
                [a.topics[place] for place in a.topic.tolist()],
                [DIFFICULTIES[place] for place in a.difficulty.tolist()],
                a.correct.astype(int).tolist(),
                a.seconds.tolist(),
                (a.started / 1e6).tolist(),
                strict=True,
            )
        )


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Service:
    """A service in a folder; what stands there is used again, and its database unless DATABASE_URL is given."""

    def __init__(self, folder: Path, port: int | None = None, **environment: str) -> None:
        folder.mkdir(exist_ok=True)
        folder.chmod(0o711)  # for root's PostgreSQL runs as another account: it keeps its data in here, too
        self.port = port or free_port()
        self.folder = folder
        self.environment = {
            **{name: value for name, value in os.environ.items() if name != "DATABASE_URL"},
            "DATA_DIR": str(folder / "data"),
            "MODEL_DIR": str(folder / "models"),
            "KEEP_VERSIONS": "3",
            **environment,
        }
        with (folder / "log").open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "app", "serve", "--port", str(self.port)],
                env=self.environment,
                cwd=folder,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )

    def run(self, *command: str) -> str:
        """A command of the command line; its output."""
        done = subprocess.run(
            [sys.executable, "-m", "app", *command],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"smartstudy {' '.join(command)}: {(done.stderr or done.stdout).strip()[-300:]}")
        return done.stdout

    def add(self, attempts: Attempts) -> None:
        """Import them."""
        write(attempts, self.folder / "tasks.csv")
        self.run("import", "tasks.csv")

    def url(self) -> str:
        """Of its database, as libpq has it."""
        return self.run("url").strip().replace("+psycopg2", "", 1)

    def key(self, name: str = "bench") -> str:
        """A new service key."""
        return self.run("key", "create", name).split()[0]

    def client(self, key: str = "") -> httpx.Client:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", headers=headers, timeout=30)

    def memory(self) -> tuple[float, float]:
        """MB of the web process and of its trainer."""
        trainer = trainer_of(self.process.pid)
        return megabytes(self.process.pid), megabytes(trainer) if trainer else 0.0

    def end(self) -> None:
        ended(self.process)


def ended(process: "subprocess.Popen[bytes]") -> None:
    """Asked to end; made to, if it doesn't."""
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(30)


def trainer_of(process: int) -> int | None:
    """The training process that it has started, if there is one."""
    threads = Path(f"/proc/{process}/task")
    children = {child for thread in threads.iterdir() for child in _children(thread)}
    return next((int(child) for child in children if START in _command(child)), None)


def _children(thread: Path) -> list[str]:
    try:
        return (thread / "children").read_text().split()
    except FileNotFoundError:  # the thread has just ended
        return []


def _command(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except FileNotFoundError:
        return ""


def megabytes(pid: int, what: str = "VmRSS") -> float:
    """Resident memory, or the most of it until now (VmHWM); 0 of one that has just ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return float(next((line for line in lines if line.startswith(what)), "0 0").split()[1]) / 1024


def peak_of(process: "subprocess.Popen[bytes]") -> float:
    """The most MB it held until it ended, which is waited for. (What is told of a child that has ended counts what we
    ourselves held when it was made; so does what it says before its program has begun, so that the last word counts.)
    """
    most = 0.0
    while process.poll() is None:
        most = megabytes(process.pid, "VmHWM") or most
        time.sleep(0.05)
    return most


def wait_until_ready(client: httpx.Client, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + READY
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the service ended as it started, with code {process.returncode}")
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass  # not there yet: that is what we wait for
        time.sleep(0.05)
    raise TimeoutError("the service did not start")


def until_trained(client: httpx.Client, runs_before: int) -> dict[str, Any]:
    """The status after one more run has ended."""
    deadline = time.monotonic() + LONGEST
    while time.monotonic() < deadline:
        status: dict[str, Any] = client.get("/model/status").json()
        if status["last_run"] and status["last_run"]["id"] > runs_before and not status["training"]:
            return status
        time.sleep(0.1)
    raise TimeoutError("the training did not end")


def finish_one(client: httpx.Client, world: Attempts, row: int) -> None:
    """A student does the task of this row."""
    made = client.post(questions.PATH, json=questions.question(world, row)).raise_for_status().json()
    result = questions.result(world, row)
    client.patch(f"{questions.PATH}/{made['id']}", json=result).raise_for_status()
