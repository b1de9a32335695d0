"""A Dask scheduler and two workers as processes of their own, on 127.0.0.1 and on ports that are free."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.core.one_thread import ONE_THREAD

TOP = Path(__file__).parents[1]


@dataclass(frozen=True)
class Cluster:
    """What may be killed."""

    address: str
    scheduler: "subprocess.Popen[bytes]"
    workers: "list[subprocess.Popen[bytes]]"


@contextmanager
def cluster(folder: Path, settings: Mapping[str, str] | None = None) -> Iterator[Cluster]:
    """Yield one whose processes end with the block."""
    file = folder / "scheduler.json"
    env = {**os.environ, **ONE_THREAD, "PYTHONPATH": str(TOP), **(settings or {})}

    def started(module: str, *options: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", f"distributed.cli.{module}", "--host", "127.0.0.1", "--no-dashboard"]
        with (folder / f"{module}.log").open("ab") as log:
            return subprocess.Popen(
                [*command, "--scheduler-file", str(file), *options], cwd=folder, env=env, stderr=log
            )

    scheduler = started("dask_scheduler", "--port", "0")
    workers = []
    try:
        while not file.exists():
            assert scheduler.poll() is None, (folder / "dask_scheduler.log").read_text()
            time.sleep(0.1)
        workers = [started("dask_worker", "--nthreads", "1", "--no-nanny") for _ in range(2)]
        yield Cluster(json.loads(file.read_text())["address"], scheduler, workers)
    finally:
        for each in (*workers, scheduler):
            each.send_signal(signal.SIGKILL)
            each.wait()
