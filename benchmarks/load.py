"""Keep-alive clients that send prepared requests as fast as they are answered, in a process of their own.

    python -m benchmarks.load PORT SECONDS CLIENTS < requests > answers

Takes requests (one JSON string a line), deals them out to the clients and sends each once, or over and over if there
are fewer than the time allows and `--again` is given. Prints one JSON line: answered, seconds, latencies in ms, and
the bodies of the answers if `--bodies` is given.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from itertools import chain, cycle, repeat


class Client(asyncio.Protocol):
    """One connection; the next request leaves as soon as the answer has come."""

    def __init__(self, load: "Load") -> None:
        self._load = load
        self._received = b""
        self._sent_at = 0.0
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._next()

    def _next(self) -> None:
        request = next(self._load.requests, None)
        if request is None or time.perf_counter() > self._load.ends:
            self.done.set_result(None)
            self._transport.close()
            return
        self._sent_at = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if len(body) >= int(length):
            self._received = b""
            self._load.answered(head, body, time.perf_counter() - self._sent_at)
            self._next()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or ConnectionError("the service hung up"))


class Load:
    def __init__(self, requests: Iterator[bytes], seconds: float, keep: bool) -> None:
        self.requests = requests
        self.ends = time.perf_counter() + seconds
        self.latencies: list[float] = []
        self.bodies: list[str] = []
        self.statuses: dict[str, int] = {}
        self._keep = keep

    def answered(self, head: bytes, body: bytes, took: float) -> None:
        status = head[9:12].decode()
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.latencies.append(took * 1000)
        if self._keep:
            self.bodies.append(body.decode())


async def run(port: int, load: Load, clients: int) -> float:
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    made = [await loop.create_connection(lambda: Client(load), "127.0.0.1", port) for _ in range(clients)]
    await asyncio.gather(*(client.done for _, client in made))
    return time.perf_counter() - started


def main() -> None:
    port, seconds, clients = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    lines = [json.loads(line).encode("latin-1") for line in sys.stdin]
    requests = cycle(lines) if "--again" in sys.argv else chain(lines, repeat(None, 0))
    load = Load(iter(requests), seconds, "--bodies" in sys.argv)
    took = asyncio.run(run(port, load, clients))
    told = {"seconds": took, "latencies": load.latencies, "statuses": load.statuses, "bodies": load.bodies}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
