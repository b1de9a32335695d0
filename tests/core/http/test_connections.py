"""Whoever reaches the port: half-open requests, endless headers, slow bodies, too many connections."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from app.core.http import connections
from app.core.http.connections import BoundedProtocol
from app.core.settings import settings

GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
PATIENCE_SECONDS = 30  # of a test; nothing here should take long
Start = Callable[..., int]


async def read_all(scope: Scope, receive: Receive, send: Send) -> None:
    """An app that says how long the body was; under /long it says more than sockets hold."""
    length, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        length, more = length + len(message["body"]), message["more_body"]
    pieces = [b"a" * 100_000] * 100 if scope["path"] == "/long" else [str(length).encode()]
    size = b"%d" % sum(map(len, pieces))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", size)]})
    for each in pieces:
        await send({"type": "http.response.body", "body": each, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts a server with these settings on a free port, and gives the port."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def started(**given: object) -> int:
        for name, value in given.items():
            monkeypatch.setenv(name.upper(), str(value))
        settings.cache_clear()
        connections.room.cache_clear()
        listening = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(read_all, http=BoundedProtocol, ws="none", lifespan="off", log_level="critical")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        running.append((server, thread))
        port: int = listening.getsockname()[1]
        return port

    yield started
    for server, thread in running:
        server.should_exit = True
        thread.join(PATIENCE_SECONDS)
    connections.room.cache_clear()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)


def answer(caller: socket.socket) -> bytes:
    """All that comes until the connection ends."""
    heard = b""
    with closing(caller):
        while piece := caller.recv(1 << 16):
            heard += piece
    return heard


def one_answer(caller: socket.socket, body: bytes) -> None:
    """The next answer on a connection that is kept."""
    heard = b""
    while not heard.endswith(b"\r\n\r\n" + body):
        piece = caller.recv(1 << 16)
        assert piece, heard
        heard += piece


def ask(port: int, *pieces: bytes) -> bytes:
    caller = connect(port)
    for piece in pieces:
        caller.sendall(piece)
    return answer(caller)


def status(heard: bytes) -> int:
    """Of a refusal, which is a whole problem and the end of the connection."""
    head, _, body = heard.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    problem = json.loads(body)
    assert f"x-request-id: {problem['request_id']}".encode() in head
    assert len(problem["detail"]) > 10
    stands: int = problem["status"]
    assert head.startswith(b"HTTP/1.1 %d " % stands)
    return stands


def test_headers_that_never_end_are_refused(start: Start) -> None:
    port = start(max_header_bytes=2048)
    assert status(ask(port, GET, b"a: b\r\n" * 90, b"x: " + b"y" * 3000 + b"\r\n\r\n")) == 431
    assert status(ask(port, GET, b"a: b\r\n" * 101, b"\r\n")) == 431
    assert status(ask(port, b"GET /" + b"a" * 3000 + b" HTTP/1.1\r\n\r\n")) == 414


def test_one_header_without_an_end_is_refused_before_it_fills_the_memory(start: Start) -> None:
    caller = connect(start(max_header_bytes=2048))
    caller.sendall(GET + b"x: ")
    for _ in range(3):
        caller.sendall(b"y" * 1500)
        time.sleep(0.05)  # or all would be read at once
    assert status(answer(caller)) == 431


def test_what_follows_a_body_in_chunks_is_bounded_too(start: Start) -> None:
    port = start(max_header_bytes=2048)
    chunked = POST + b"transfer-encoding: chunked\r\n\r\n0\r\n"
    assert status(ask(port, chunked, b"a: b\r\n" * 200)) == 431


def test_half_a_request_is_told_that_it_is_too_late(start: Start) -> None:
    port = start(header_timeout_seconds=0.2, body_timeout_seconds=0.2)
    assert status(ask(port, GET)) == 408
    assert status(ask(port, POST + b"content-length: 9\r\n\r\n123")) == 408


def test_who_asks_nothing_is_let_go(start: Start) -> None:
    port = start(header_timeout_seconds=0.2)
    assert ask(port) == b""
    assert ask(port, b"\r\n") == b""


def test_what_is_not_http_gets_a_problem(start: Start) -> None:
    assert status(ask(start(), b"\x16\x03\x01 hello\r\n\r\n")) == 400


def test_a_kept_connection_has_a_deadline_for_each_request(start: Start) -> None:
    caller = connect(start(header_timeout_seconds=0.3))
    for _ in range(2):
        caller.sendall(POST + b"content-length: 3\r\n\r\nabc")
        one_answer(caller, b"3")
    caller.sendall(GET)
    assert status(answer(caller)) == 408


def test_half_open_requests_keep_nobody_out(start: Start) -> None:
    port = start(max_connections_per_address=5)
    held = [connect(port) for _ in range(20)]
    for caller in held:
        caller.sendall(GET)
    whole = connect(port)
    whole.sendall(GET + b"connection: close\r\n\r\n")
    assert answer(whole).endswith(b"0")
    assert status(answer(held[0])) == 503
    for caller in held[1:]:
        caller.close()


def test_requests_at_work_are_not_given_up_for_new_ones(start: Start) -> None:
    port = start(max_connections=10, max_connections_per_address=1000)
    held = [connect(port) for _ in range(10)]
    for caller in held:
        caller.sendall(POST + b"content-length: 3\r\n\r\nab")
    last = connect(port)
    last.sendall(GET + b"connection: close\r\n\r\n")
    assert answer(last).endswith(b"0")
    for caller in held[1:]:
        caller.sendall(b"c")
        one_answer(caller, b"3")
        caller.close()
    assert status(answer(held[0])) == 503  # the oldest, whose body was not there


def test_a_thousand_requests_in_one_go_end_the_connection(start: Start) -> None:
    port = start()
    caller = connect(port)
    caller.sendall((GET + b"\r\n") * 1000)
    heard = b""
    with closing(caller):
        try:
            while piece := caller.recv(1 << 16):
                heard += piece
        except ConnectionResetError:
            pass
    assert heard.count(b"200 OK") < 100
    assert ask(port, GET + b"connection: close\r\n\r\n").endswith(b"0")


@pytest.mark.parametrize(
    "after", [b"", b"\x00 is no request", (GET + b"\r\n") * 20], ids=["nothing", "no HTTP", "many"]
)
@pytest.mark.parametrize("head", [b"", b"connection: close\r\n"], ids=["kept", "to be closed"])
def test_who_does_not_read_the_answer_is_let_go_whatever_else_they_send(
    start: Start, head: bytes, after: bytes
) -> None:
    port = start(body_timeout_seconds=0.5, max_connections_per_address=1)
    caller = connect(port)
    caller.sendall(b"GET /long HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n")
    caller.recv(4)
    time.sleep(0.1)
    caller.sendall(after)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while connections.room()._open and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not connections.room()._open
    caller.close()


def test_answers_that_nobody_reads_keep_nobody_out(start: Start) -> None:
    port = start(max_connections_per_address=5)
    held = [connect(port) for _ in range(5)]
    for caller in held:
        caller.sendall(b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n")
        assert caller.recv(4) == b"HTTP"
    assert ask(port, GET + b"connection: close\r\n\r\n").endswith(b"0")
    for caller in held:
        caller.close()


def test_each_connection_may_need_a_file_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_files", lambda: 1024)
    assert connections.Room(settings())._most == (1024 - connections.RESERVED_FILES) // 2
