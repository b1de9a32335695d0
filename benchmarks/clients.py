"""Keep-alive clients that ask a service of this machine, with little work per request.

They run in a process of their own (`python -m benchmarks.clients`, a job as a line of JSON on standard input), send
each request once or over and over, as fast as it is answered or at a fixed rate, and end by themselves.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import cycle
from time import perf_counter
from typing import cast

import numpy as np
import uvloop

HOST = "127.0.0.1"  # never anybody else's service
LATEST = 60.0  # seconds that the answers still on their way are waited for


@dataclass(frozen=True, slots=True)
class Job:
    """What to send, and for how long at most."""

    port: int
    requests: list[str]
    clients: int = 16
    seconds: float = 3.0
    rate: float | None = None  # requests per second of all clients together; none: as fast as they are answered
    again: bool = False  # from the beginning when all have been sent
    bodies: bool = False  # keep what was answered


@dataclass(frozen=True, slots=True)
class Answered:
    """What came back."""

    seconds: float
    latencies: list[float]  # ms; at a fixed rate from the moment the request was due, so that waiting counts
    statuses: dict[str, int]
    bodies: list[str]

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds

    @property
    def median(self) -> float:
        """Milliseconds."""
        return self.percentile(50)

    @property
    def p99(self) -> float:
        """Milliseconds."""
        return self.percentile(99)

    @property
    def failed(self) -> int:
        """Requests that were not answered with what they asked for."""
        return sum(n for status, n in self.statuses.items() if not status.startswith("2"))

    def percentile(self, share: float) -> float:
        return float(np.percentile(self.latencies, share)) if self.latencies else float("nan")


class Load:
    """A job at work in a process of its own."""

    def __init__(self, job: Job) -> None:
        command = [sys.executable, "-m", "benchmarks.clients"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._patience = job.seconds + 2 * LATEST
        assert self._process.stdin
        self._process.stdin.write(json.dumps(asdict(job)) + "\n")
        self._process.stdin.flush()

    def answered(self, *, now: bool = False) -> Answered:
        """Wait for the end; `now` ends it when what is on its way has been answered."""
        told, _ = self._process.communicate("stop\n" if now else None, timeout=self._patience)
        if self._process.returncode:
            raise RuntimeError("the clients came to no end")
        return Answered(**json.loads(told))


def load(job: Job) -> Answered:
    """Have it done."""
    return Load(job).answered()


class Work:
    """What the clients share: the requests still to be sent, and what was answered."""

    def __init__(self, job: Job) -> None:
        requests = [request.encode("latin-1") for request in job.requests]
        self.requests: Iterator[bytes] = cycle(requests) if job.again else iter(requests)
        self.begun = perf_counter()
        self.ends = self.begun + job.seconds
        self.pause = job.clients / job.rate if job.rate else 0.0  # seconds between two requests of one client
        self.stagger = 1 / job.rate if job.rate else 0.0
        self.latencies: list[float] = []
        self.statuses: dict[str, int] = {}
        self.bodies: list[str] = []
        self._keep = job.bodies

    def told(self) -> None:
        """A line says stop; without one, nobody will."""
        asyncio.get_running_loop().remove_reader(sys.stdin)
        if sys.stdin.readline():
            self.ends = 0.0

    def answered(self, status: str, body: bytes, seconds: float) -> None:
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.latencies.append(round(seconds * 1000, 4))
        if self._keep:
            self.bodies.append(body.decode())


class Client(asyncio.Protocol):
    """One connection; its next request leaves when the answer has come, at a fixed rate not before it is due."""

    def __init__(self, work: Work, number: int) -> None:
        self._work = work
        self._due = work.begun + number * work.stagger
        self._since = 0.0
        self._received = b""
        self._transport: asyncio.Transport | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._next()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self._work.answered("lost", b"", perf_counter() - self._since)
            self.done.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        if found and len(body) >= int(length):
            self._received = b""
            self._work.answered(head[9:12].decode(), body, perf_counter() - self._since)
            self._next()

    def _next(self) -> None:
        now = perf_counter()
        wait = self._due - now if self._work.pause else 0.0
        if wait > 0:  # the clock of the loop is coarse: what it is late doesn't count
            asyncio.get_running_loop().call_later(wait, self._send, None)
        else:
            self._send(self._due if self._work.pause else now)
        self._due += self._work.pause

    def _send(self, since: float | None) -> None:
        now = perf_counter()
        request = next(self._work.requests, None) if now < self._work.ends else None
        if request is None or self._transport is None:
            self._leave()
        else:
            self._since = now if since is None else since
            self._transport.write(request)

    def _leave(self) -> None:
        if not self.done.done():
            self.done.set_result(None)
        if self._transport:
            self._transport.close()


async def _work_off(job: Job) -> Answered:
    loop, work = asyncio.get_running_loop(), Work(job)
    made = [await loop.create_connection(lambda n=n: Client(work, n), HOST, job.port) for n in range(job.clients)]  # type: ignore[misc]
    loop.add_reader(sys.stdin, work.told)
    async with asyncio.timeout(job.seconds + LATEST):
        await asyncio.gather(*(client.done for _, client in made))
    return Answered(perf_counter() - work.begun, work.latencies, work.statuses, work.bodies)


def main() -> None:
    job = Job(**json.loads(sys.stdin.readline()))
    answered = asdict(uvloop.run(_work_off(job)))
    # Python's own standard output may be set to unbuffered, and then loses what a short write leaves over.
    with open(sys.stdout.fileno(), "w", closefd=False) as out:
        json.dump(answered, out)


if __name__ == "__main__":
    main()
