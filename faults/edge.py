"""Attacks on the port by somebody who has no account: what each costs the service, and everybody else.

    python -m faults.edge [--attack NAME]

Each attack goes to a service of its own on 127.0.0.1 and ends by itself. Told are the web process's memory before, at
its highest and after, the slowest answer to others meanwhile, how many of theirs were refused, and what the attackers
heard. Fails where others were refused, waited for more than two seconds, or memory grew by more than 100 MB.
"""

import argparse
import socket
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from app.core.http.connections import raise_file_limit
from benchmarks.service import Service, megabytes
from faults.services import deployment

console = Console(width=None if sys.stdout.isatty() else 120)
SLOWEST_SECONDS, MOST_MEGABYTES = 2.0, 100.0
ANSWER_SECONDS = 20.0
GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /auth/register HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
Attack = Callable[[int], Counter[str]]  # by port; what the attackers heard


@dataclass
class Seen:
    """What others saw of the service during an attack."""

    before: float  # megabytes
    highest: float = 0.0
    slowest: float = 0.0  # seconds
    asked: int = 0
    refused: int = 0
    heard: Counter[str] = field(default_factory=Counter)
    after: float = 0.0

    def broken(self) -> str:
        """What is not as promised, or nothing."""
        if self.refused:
            return f"{self.refused} of {self.asked} requests of others were refused"
        if self.slowest > SLOWEST_SECONDS:
            return f"somebody else waited for {self.slowest:.1f} s"
        grown = self.highest - self.before
        return f"memory grew by {grown:.0f} MB" if grown > MOST_MEGABYTES else ""


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS)


def heard(attacker: socket.socket) -> str:
    """The status of the answer, or how the connection ended."""
    with closing(attacker):
        try:
            first = attacker.recv(1 << 12)
        except OSError as why:
            return type(why).__name__
    return first.split(b" ")[1].decode() if first.startswith(b"HTTP/") else "closed"


def send(port: int, head: bytes, piece: bytes, times: int) -> str:
    """Send a head and then the same piece over and over, until it is refused."""
    attacker = connect(port)
    with suppress(OSError):
        attacker.sendall(head)
        for _ in range(times):
            attacker.sendall(piece)
    return heard(attacker)


def at_once(n: int, deed: Callable[[], str]) -> Counter[str]:
    """The same by n attackers at once."""
    said = Counter[str]()
    threads = [threading.Thread(target=lambda: said.update([deed()])) for _ in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return said


def short_headers(port: int) -> Counter[str]:
    """Four connections send 60 MB of short headers each."""
    return at_once(4, lambda: send(port, GET, b"a: b\r\n" * 10_000, 1000))


def one_header(port: int) -> Counter[str]:
    """Four connections send one header of 60 MB each."""
    return at_once(4, lambda: send(port, GET + b"x: ", b"y" * 60_000, 1000))


def trailers(port: int) -> Counter[str]:
    """Four connections send 60 MB after a body in chunks."""
    chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n"
    return at_once(4, lambda: send(port, chunked, b"a: b\r\n" * 10_000, 1000))


def half_open(port: int) -> Counter[str]:
    """Two thousand connections send half a request and wait."""
    return _held(port, 2000, GET)


def silent(port: int) -> Counter[str]:
    """Two thousand connections send nothing."""
    return _held(port, 2000, b"")


def slow_bodies(port: int) -> Counter[str]:
    """Two hundred connections promise a body and send a byte of it a second."""
    attackers = [connect(port) for _ in range(200)]
    for attacker in attackers:
        attacker.sendall(POST + b"Content-Length: 1000\r\n\r\n{")
    for _ in range(10):
        time.sleep(1)
        for attacker in attackers:
            with suppress(OSError):
                attacker.sendall(b" ")
    return Counter(map(heard, attackers))


def pipelined(port: int) -> Counter[str]:
    """Eight connections send 20,000 requests each without reading an answer."""
    return at_once(8, lambda: send(port, b"", (GET + b"\r\n") * 100, 200))


def no_http(port: int) -> Counter[str]:
    """Two hundred connections speak TLS to a port that does not."""
    return at_once(200, lambda: send(port, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\r\n\r\n", 1))


def _held(port: int, n: int, piece: bytes) -> Counter[str]:
    attackers = list[socket.socket]()
    said = Counter[str]()
    for _ in range(n):
        try:
            attackers.append(connect(port))
            attackers[-1].sendall(piece)
        except OSError as why:
            said[type(why).__name__] += 1
    said.update(map(heard, attackers))
    return said


ATTACKS: Mapping[str, Attack] = {
    "headers": short_headers,
    "header": one_header,
    "trailers": trailers,
    "half-open": half_open,
    "silent": silent,
    "slow-bodies": slow_bodies,
    "pipelined": pipelined,
    "no-http": no_http,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attack", choices=list(ATTACKS), help="only this one")
    wanted = parser.parse_args().attack
    raise_file_limit()
    seen = {name: run(ATTACKS[name]) for name in ([wanted] if wanted else ATTACKS)}
    console.print(_table(seen))
    broken = {name: why for name, each in seen.items() if (why := each.broken())}
    for name, why in broken.items():
        console.print(f"BROKEN {name}: {why}", style="red", markup=False)
    return 1 if broken else 0


def run(attack: Attack) -> Seen:
    """The attack on a service of its own."""
    with deployment() as made:
        service = made.start()
        with watched(service) as seen:
            seen.heard = attack(service.port)
        time.sleep(1)
        seen.after = megabytes(service.process.pid)
        return seen


@contextmanager
def watched(service: Service) -> Iterator[Seen]:
    """Ask as somebody else would, ten times a second, and look at the memory."""
    seen, over = Seen(megabytes(service.process.pid)), threading.Event()

    def ask() -> None:
        while not over.wait(0.1):
            started = time.monotonic()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{service.port}/readyz", timeout=ANSWER_SECONDS).close()
            except OSError:
                seen.refused += 1
            seen.asked += 1
            seen.slowest = max(seen.slowest, time.monotonic() - started)
            seen.highest = max(seen.highest, megabytes(service.process.pid))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def _table(seen: Mapping[str, Seen]) -> Table:
    table = Table(title="Attacks on the port")
    for column in ("attack", "MB before", "highest", "after", "slowest s", "others refused", "attackers heard"):
        table.add_column(column, justify="left" if column.startswith("att") else "right")
    for name, each in seen.items():
        said = ", ".join(f"{n} x {what}" for what, n in each.heard.most_common(4))
        figures = (each.before, each.highest, each.after)
        refused = f"{each.refused} of {each.asked}"
        table.add_row(name, *(f"{figure:.0f}" for figure in figures), f"{each.slowest:.2f}", refused, said)
    return table


if __name__ == "__main__":
    sys.exit(main())
