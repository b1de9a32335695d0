"""Machines with disks of their own and one store: trainings, kills of the trainer, a store that is away, lost files.

    python -m faults.store [--trainings 50] [--seconds-away 60] [--moto moto_server | --azurite azurite-blob]

Two web processes and two trainers on one database. The store is a folder, which is moved away; or a stand-in for S3
(`pip install 'moto[server,s3]'`) or for Azure's (`npm install azurite`), each in an environment of its own, which is
stopped for a while. All of it is on 127.0.0.1; `unshare -n sh -c 'ip link set lo up; ...'` keeps it from everybody
else.

After each step both web processes have to answer with the version that the database names, with no other status than
201, and the store has to hold the files of the versions that are kept, and nothing else.
"""

import argparse
import hmac
import os
import signal
import subprocess
import sys
import time
import urllib.request
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from rich.console import Console

from app.ml.serving.version_store import VersionStore
from benchmarks import questions
from benchmarks.service import Service, ended, finish_one, free_port
from faults import invariants
from faults.services import Deployment, deployment, until

console = Console(width=None if sys.stdout.isatty() else 120)
KEEP = 3


class Machines:
    """Two web processes, two trainers, each with a folder of its own."""

    def __init__(self, made: Deployment, url: str) -> None:
        self.made, self.url = made, url
        self.environment = {
            "DATABASE_URL": made.url,
            "MODEL_URL": url,
            "TRAINER": "elsewhere",
            "RETRAIN_EVERY": "5",
            "KEEP_VERSIONS": str(KEEP),
            "KINDS": "lnirt,embedding_v2",
            "SECRET_KEY": "k" * 40,
        }
        for name in ("web0", "web1"):
            self._folder(name)
        self.webs = [Service(made.folder / name, None, **self.environment) for name in ("web0", "web1")]
        made.services += self.webs
        self.trainers = [self.trainer(number) for number in range(2)]
        self.rows = iter(range(60, 10**6))
        self.answered = 0

    def _folder(self, name: str) -> Path:
        folder = self.made.folder / name
        folder.mkdir(exist_ok=True)
        return folder

    def trainer(self, number: int) -> "subprocess.Popen[bytes]":
        folder = self._folder(f"trainer{number}")
        given = {
            **os.environ,
            **self.environment,
            "DATA_DIR": str(folder / "data"),
            "MODEL_DIR": str(folder / "models"),
        }
        with (folder / "log").open("a") as log:
            return subprocess.Popen([sys.executable, "-m", "app", "trainer"], env=given, cwd=folder,
                                    stdout=subprocess.DEVNULL, stderr=log, start_new_session=True)  # fmt: skip

    def close(self) -> None:
        for each in self.trainers:
            ended(each)

    def kill_trainer(self, number: int) -> None:
        """With the process that trains, and start it anew."""
        self.trainers[number].kill()
        self.trainers[number].wait()
        self.trainers[number] = self.trainer(number)

    def finish(self, n: int = 5) -> None:
        for _ in range(n):
            with self.webs[self.answered % 2].client(self.made.key) as client:
                finish_one(client, self.made.world, next(self.rows) % len(self.made.world))
            self.answered += 1

    def runs(self) -> int:
        return int(self.made.one("SELECT count(*) FROM training_runs WHERE outcome IN ('published', 'rejected')"))

    def settled(self) -> bool:
        """No run is at work or due."""
        due = self.made.one("SELECT n_samples_since_training >= 5 FROM embedding_model_tracker")
        return not due and not self.made.one("SELECT count(*) FROM training_runs WHERE finished_at IS NULL")

    def train(self) -> None:
        before = self.runs()
        self.finish()
        until(lambda: self.runs() > before and self.settled(), "a training")

    def wrong(self) -> Iterator[str]:
        """What does not hold once all is quiet."""
        yield from self.wrong_answers()
        model_dir = self.made.folder / "judge"
        yield from invariants.broken(
            self.made.url, VersionStore(model_dir, self.url), settled=self.url.startswith("file")
        )

    def wrong_answers(self) -> Iterator[str]:
        wanted = self.made.ask("SELECT id FROM model_versions WHERE state = 'serving' ORDER BY id")
        for web in self.webs:
            with web.client(self.made.key) as client:

                def right(client: Any = client) -> bool:
                    status = client.get("/model/status").json()
                    task = client.post(questions.PATH, json=questions.question(self.made.world, 1))
                    return (task.status_code == 201 and status["degraded"] is False
                            and (task.json()["model_version_id"],) in wanted)  # fmt: skip

                try:
                    until(right, "the right answer", 60)
                except TimeoutError:
                    yield f"{web.folder.name}: {client.get('/model/status').json()['reason']}; wanted {wanted}"


@dataclass(frozen=True, slots=True)
class StandIn:
    """A server that speaks as a store does."""

    program: str
    arguments: str
    environment: Mapping[str, str]  # what the store itself reads
    url: str
    bucket: Callable[[str], urllib.request.Request]  # makes it


def container(at: str) -> urllib.request.Request:
    """Azure takes no request that is not signed."""
    now, account = formatdate(usegmt=True), at.rpartition("/")[2]
    headers = {"x-ms-date": now, "x-ms-version": "2021-08-06"}
    said = "".join(f"{name}:{value}\n" for name, value in headers.items())
    signed = f"PUT{12 * chr(10)}{said}/{account}/{account}/models\nrestype:container".encode()
    signature = b64encode(hmac.digest(b64decode(AZURITES_KEY), signed, "sha256")).decode()
    headers["Authorization"] = f"SharedKey {account}:{signature}"
    return urllib.request.Request(f"{at}/models?restype=container", method="PUT", headers=headers)  # noqa: S310


# Known to everybody, from its documentation.
AZURITES_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
STAND_INS = {
    "moto": StandIn(
        "moto_server",
        "-H 127.0.0.1 -p {port}",
        {
            "AWS_ENDPOINT_URL": "http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_REGION": "us-east-1",
        },
        "s3://models/school",
        lambda at: urllib.request.Request(f"{at}/models", method="PUT"),  # noqa: S310
    ),
    "azurite": StandIn(
        "azurite-blob",
        "--blobHost 127.0.0.1 --blobPort {port} --inMemoryPersistence --skipApiVersionCheck --disableTelemetry",
        {
            "AZURE_STORAGE_ENDPOINT": "http://127.0.0.1:{port}/devstoreaccount1",
            "AZURE_STORAGE_ACCOUNT_NAME": "devstoreaccount1",
            "AZURE_STORAGE_ACCOUNT_KEY": AZURITES_KEY,
        },
        "az://models/school",
        container,
    ),
}


@contextmanager
def store(folder: Path, stand_in: StandIn | None) -> Iterator[tuple[str, Any]]:
    """The URL of a store, and what has it go away (True) and come back (False)."""
    if stand_in is None:
        place = folder / "store"
        yield (
            place.as_uri(),
            lambda away: place.rename(f"{place}.away") if away else Path(f"{place}.away").rename(place),
        )
        return
    port = free_port()
    arguments = stand_in.arguments.format(port=port).split()
    server = subprocess.Popen([stand_in.program, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    environment = {name: value.format(port=port) for name, value in stand_in.environment.items()}
    os.environ |= environment
    at = next(value for value in environment.values() if "://" in value)

    def bucket() -> bool:
        try:
            urllib.request.urlopen(stand_in.bucket(at), timeout=5)  # noqa: S310 — our own
        except OSError:
            return False
        return True

    try:
        until(bucket, "the bucket", 60)
        yield stand_in.url, lambda away: server.send_signal(signal.SIGSTOP if away else signal.SIGCONT)
    finally:
        server.send_signal(signal.SIGCONT)
        ended(server)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trainings", type=int, default=50)
    parser.add_argument("--seconds-away", type=float, default=60)
    for name, stand_in in STAND_INS.items():
        parser.add_argument(f"--{name}", metavar="PROGRAM", help=f"the program {stand_in.program}")
    given = parser.parse_args()
    named = (replace(each, program=getattr(given, name)) for name, each in STAND_INS.items() if getattr(given, name))
    broken = run(given.trainings, given.seconds_away, next(named, None))
    for each in broken:
        console.print(f"BROKEN {each}", style="red", markup=False)
    return 1 if broken else 0


def run(trainings: int, seconds_away: float, stand_in: StandIn | None) -> list[str]:
    """What broke."""
    broken, started = list[str](), time.monotonic()
    with ExitStack() as stack:
        made = stack.enter_context(deployment())
        url, away = stack.enter_context(store(made.folder, stand_in))
        machines = Machines(made, url)
        stack.callback(machines.close)
        for web in machines.webs:
            until(lambda web=web: is_ready(web), "the start")  # type: ignore[misc]
        made.furnish()
        until(lambda: machines.runs() and machines.settled(), "the first training")

        def step(name: str) -> None:
            found = list(machines.wrong())
            console.print(f"{time.monotonic() - started:5.0f} s  {name}: {len(found)} broke", markup=False)
            broken.extend(f"{name}: {each}" for each in found)

        step("first training")
        random = np.random.default_rng(0)
        for number in range(trainings):
            machines.train()
            if number % 10 == 4:  # a kill in the middle of a run
                before = machines.runs()
                machines.finish()
                time.sleep(float(random.uniform(0.2, 4)))
                machines.kill_trainer(0)
                machines.kill_trainer(1)
                until(lambda before=before: machines.runs() > before and machines.settled(), "a training")  # type: ignore[misc]
            if number % 10 == 9:
                step(f"{number + 1} trainings")
        oldest = made.one("SELECT min(id) FROM model_versions WHERE pruned_at IS NULL AND state <> 'serving'")
        machines.webs[0].run("promote", str(oldest))
        step(f"version {oldest} promoted")
        machines.webs[1].run("rollback")
        step("rolled back")
        before = machines.runs()
        away(True)
        machines.finish()
        left = time.monotonic() + seconds_away
        while time.monotonic() < left:
            machines.finish(1)
            broken.extend(f"{web.folder.name} does not serve." for web in machines.webs if not is_ready(web))
            time.sleep(1)
        status = machines.webs[0].run("status", "--json")
        if "can't be used" not in status:
            broken.append("A store that is away is not told.")
        away(False)
        until(lambda: machines.runs() > before and machines.settled(), "a training after the store was away")
        step(f"the store away for {seconds_away:g} s")
        counts = made.ask("SELECT outcome, count(*) FROM training_runs GROUP BY outcome ORDER BY outcome")
        requests = machines.answered
    console.print(f"{dict(counts)}; {requests} completions; {time.monotonic() - started:.0f} s; {len(broken)} broke.")
    return broken


def is_ready(web: Service) -> bool:
    try:
        with web.client() as client:
            return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


if __name__ == "__main__":
    sys.exit(main())
