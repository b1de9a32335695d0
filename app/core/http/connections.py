"""What one connection may cost before anybody is known: bytes, requests in a row, seconds, and how many there may be.

uvicorn bounds none of these. Its protocol is extended here; parsing and answering stay uvicorn's own.
"""

import asyncio
import json
import resource
from collections import Counter
from functools import lru_cache
from http import HTTPStatus
from ipaddress import ip_address, ip_network
from secrets import token_hex
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.core.http.cors import allowed
from app.core.http.neighbourhood import neighbourhood
from app.core.http.security_headers import ALWAYS, KEEP_NOTHING
from app.core.settings import Settings, settings

USEFUL_FILES = 65_536
RESERVED_FILES = 200  # for the database, models, logs and libraries
FILES_OF_ONE = 2  # a connection, and the file that is sent there
MOST_PIPELINED = 16  # requests of one connection that wait for the answer to an earlier one
CHUNKED_OVERHEAD = 8  # a body in chunks may be this many times longer on the wire than what it holds
LINGER_SECONDS = 2.0  # what is still being sent is read and thrown away so long, or the refusal would get lost
IDLE, HEAD, BODY = range(3)


class Room:
    """The open connections of this process.

    One that has not sent a whole request yet, or does not read its answer, makes room for a new one, the oldest first:
    whoever opens connections and leaves them so loses them, and keeps nobody out.
    """

    def __init__(self, given: Settings) -> None:
        self._most = min(given.max_connections, max(_files() - RESERVED_FILES, RESERVED_FILES) // FILES_OF_ONE)
        self._most_per_address = given.max_connections_per_address
        proxies = [each.strip() for each in given.forwarded_allow_ips.split(",") if each.strip()]
        self._any_proxy = "*" in proxies
        self._proxies = [ip_network(each) for each in proxies if each != "*"]
        self._open: Counter[str | None] = Counter()
        self._waiting: dict[BoundedProtocol, None] = {}  # the oldest first

    def enter(self, connection: "BoundedProtocol", host: str | None) -> bool:
        """Take it in; False where every other one is at work too."""
        address = connection.address = self._address(host)
        crowded = address is not None and self._open[address] >= self._most_per_address
        full = self._open.total() >= self._most
        if (crowded and not self._make_room(address)) or (full and not crowded and not self._make_room(None)):
            return False
        self._open[address] += 1
        self._waiting[connection] = None
        return True

    def leave(self, connection: "BoundedProtocol") -> None:
        self.at_work(connection)
        self._open[connection.address] -= 1
        if not self._open[connection.address]:
            del self._open[connection.address]

    def at_work(self, connection: "BoundedProtocol") -> None:
        self._waiting.pop(connection, None)

    def waits(self, connection: "BoundedProtocol") -> None:
        self._waiting[connection] = None

    def _make_room(self, address: str | None) -> bool:
        """Close the connection that has waited longest for its caller, of this address where one is named."""
        oldest = next((each for each in self._waiting if address in (None, each.address)), None)
        if oldest is None:
            return False
        self.leave(oldest)
        oldest.give_up()
        return True

    def _address(self, host: str | None) -> str | None:
        """Who is counted together; None for those who are not bounded one by one: proxies and Unix sockets."""
        if host is None or self._any_proxy:
            return None
        found = ip_address(host.partition("%")[0])
        if any(found in proxy for proxy in self._proxies):
            return None
        return neighbourhood(host)


def raise_file_limit() -> None:
    """As many open files as this process may have, up to what is of use."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = USEFUL_FILES if hard == resource.RLIM_INFINITY else min(hard, USEFUL_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _files() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else 1 << 20


@lru_cache
def room() -> Room:
    return Room(settings())


class BoundedProtocol(HttpToolsProtocol):
    """HTTP/1.1 with bounds. Refusals are problems (RFC 9457) where no answer has begun; else the connection closes."""

    address: str | None = None
    counted = False

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._given = settings()
        self._expects = IDLE
        self._deadline: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._bytes = self._headers = self._header_bytes = 0  # of the request that arrives
        self._refusal: tuple[int, str] | None = None
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.counted = room().enter(self, self.client[0] if self.client else None)
        if self.counted:
            self._set_deadline(self._given.header_timeout_seconds)
        else:
            self.refuse(503, "There are too many connections. Try again shortly.")

    def connection_lost(self, exc: Exception | None) -> None:
        self._drop_deadlines()
        if self.counted:
            room().leave(self)
            self.counted = False
        super().connection_lost(exc)

    def eof_received(self) -> None:
        if self._refused:
            self.transport.close()
        self._close_in_time()  # asyncio closes it now

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        before = self._expects
        self._bytes += len(data)
        super().data_received(data)
        if self._refused:
            return
        most = self._given.max_header_bytes
        if self._expects == HEAD and self._bytes > most:
            self.refuse(431, f"The headers are longer than {most:,} bytes, which is the most that is accepted.")
        elif self._expects == BODY and self._bytes > most + CHUNKED_OVERHEAD * self._given.max_body_bytes:
            self.refuse(413, f"The body is longer than {self._given.max_body_bytes:,} bytes.")
        elif self._expects == IDLE and self.cycle is not None and not self.cycle.response_complete:
            self._drop_deadline()  # the whole request is there
        elif self._expects != before or self._deadline is None:
            in_body = self._expects == BODY
            self._set_deadline(self._given.body_timeout_seconds if in_body else self._given.header_timeout_seconds)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._expects, self._bytes = HEAD, 0
        self._headers = self._header_bytes = 0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > self._given.max_header_bytes:
            self._stop(414, f"The address is longer than {self._given.max_header_bytes:,} bytes.")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Of the head, or of what follows a body in chunks."""
        self._headers += 1
        self._header_bytes += len(name) + len(value)
        if self._headers > self._given.max_headers:
            self._stop(431, f"There are more than {self._given.max_headers} headers.")
        if self._header_bytes > self._given.max_header_bytes:
            self._stop(431, f"The headers are longer than {self._given.max_header_bytes:,} bytes.")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._expects = BODY
        super().on_headers_complete()
        if len(self.pipeline) > MOST_PIPELINED:
            self._stop(400, "Too many requests were sent before the first was answered.")

    def on_message_complete(self) -> None:
        self._expects = IDLE
        super().on_message_complete()
        if not self.cycle.response_complete:
            room().at_work(self)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.counted and not self.pipeline:
            room().waits(self)
        if self.transport.is_closing():
            self._close_in_time()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._close_in_time()

    def pause_writing(self) -> None:
        """Called where the caller does not read."""
        super().pause_writing()
        self._close_in_time()
        if self.counted:
            room().waits(self)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._go_on_writing()
        if self.transport.is_closing():
            self._close_in_time()
        elif self.cycle is not None and not self.cycle.response_complete:
            room().at_work(self)

    def shutdown(self) -> None:
        """Called by uvicorn when the server shuts down: an answer that would go on for long ends, too."""
        end: Any = self.cycle.scope.get("end") if self.cycle is not None else None
        if end is not None:
            end()
        super().shutdown()

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn where the parser gave up, or was made to."""
        self.refuse(*(self._refusal or (400, "What was sent can't be read as HTTP/1.1.")))

    def give_up(self) -> None:
        """Make room for another connection, at once."""
        self.counted = False
        if self._refused or self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.refuse(503, "There are too many connections, and this one was waiting for its request the longest.")

    def refuse(self, status: int, detail: str) -> None:
        """Answer where the protocol allows it, and close."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        if self.counted:
            room().waits(self)
        self._drop_deadlines()
        self._unset_keepalive_if_required()
        answer = self._may_answer(status)
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True  # what the app still says goes nowhere
            self.cycle.message_event.set()
        if answer:
            self.transport.write(_problem(status, detail, allowed(self.headers or [])))
        if answer and self.counted and self.transport.can_write_eof():
            self.transport.write_eof()
            self.flow.resume_reading()
            self._deadline = self.loop.call_later(LINGER_SECONDS, self.transport.abort)
        else:
            self.transport.close()
            self._close_in_time()

    def _may_answer(self, status: int) -> bool:
        """Not in the middle of another answer, and not to somebody who has asked nothing, unless there is no room."""
        if self.cycle is None or self.cycle.response_complete:
            return self._expects == HEAD or (self.cycle is None and status in (400, 503))
        return self._expects == BODY and not self.cycle.response_started and not self.pipeline

    def _stop(self, status: int, detail: str) -> None:
        """Stop the parser; `send_400_response` says why."""
        self._refusal = status, detail
        raise ValueError(detail)

    def _set_deadline(self, seconds: float) -> None:
        self._drop_deadline()
        self._deadline = self.loop.call_later(seconds, self._too_late)

    def _too_late(self) -> None:
        self._deadline = None
        part = "body" if self._expects == BODY else "headers"
        self.refuse(408, f"The {part} of the request did not arrive in time.")

    def _drop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _close_in_time(self) -> None:
        """Throw away what the caller does not read in time: a transport that closes would wait for ever."""
        if self._stalled is None:
            self._stalled = self.loop.call_later(self._given.body_timeout_seconds, self.transport.abort)

    def _go_on_writing(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _drop_deadlines(self) -> None:
        self._drop_deadline()
        self._go_on_writing()


def _problem(status: int, detail: str, more: list[tuple[bytes, bytes]]) -> bytes:
    """A whole answer, as the app's own refusals look."""
    request_id = token_hex(16)
    phrase = HTTPStatus(status).phrase
    body = json.dumps(
        {"type": "about:blank", "title": phrase, "status": status, "detail": detail, "request_id": request_id}
    ).encode()
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        (b"x-request-id", request_id.encode()),
        *ALWAYS,
        KEEP_NOTHING,
        *more,
        *([(b"retry-after", b"5")] if status == 503 else []),
    ]
    lines = [f"HTTP/1.1 {status} {phrase}".encode(), *(name + b": " + value for name, value in headers)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body
