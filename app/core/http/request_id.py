"""A name for each request and for the trace it belongs to (W3C Trace Context): in answers, errors and the log."""

import re
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from os import urandom

from starlette.types import Message, Receive, Scope, Send

from app.core.http import Middleware

WELL_FORMED = re.compile(rb"[A-Za-z0-9._-]{1,64}")
TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
OURS = (b"x-request-id", b"traceparent")
NO_TRACE, NO_SPAN = b"0" * 32, b"0" * 16


@dataclass(frozen=True, slots=True)
class Trace:
    """The trace that a request belongs to, and the request's own place in it; hexadecimal."""

    trace_id: str
    span_id: str
    sampled: bool

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.sampled:02x}"


@dataclass(frozen=True, slots=True)
class RequestNames:
    """What a request is called."""

    request_id: str
    trace: Trace

    def headers(self) -> dict[str, str]:
        return {"x-request-id": self.request_id, "traceparent": str(self.trace)}


current: ContextVar[RequestNames | None] = ContextVar("request", default=None)  # what the log reads
tracer: list[Callable[[], Trace | None]] = []  # where traces are exported: says which span the request is


def names_of(headers: Iterable[tuple[bytes, bytes]]) -> RequestNames:
    """Take the caller's names where they are well-formed; make new ones otherwise, which never repeat."""
    request_ids, parents = list[bytes](), list[bytes]()
    for name, value in headers:
        if name == b"x-request-id":
            request_ids.append(value)
        elif name == b"traceparent":
            parents.append(value)
    made = urandom(40).hex()
    known = len(request_ids) == 1 and WELL_FORMED.fullmatch(request_ids[0])
    request_id = request_ids[0].decode() if known else made[:32]
    return RequestNames(request_id, (tracer[0]() if tracer else None) or _trace(parents, made[32:64], made[64:]))


def _trace(parents: list[bytes], trace_id: str, span_id: str) -> Trace:
    """Take the caller's trace; make a new one where there is none, or more than one, or it can't be read."""
    found = TRACEPARENT.fullmatch(parents[0]) if len(parents) == 1 else None
    if found is None:
        return Trace(trace_id, span_id, False)
    version, trace, span, flags, more = found.groups()
    if version == b"ff" or (version == b"00" and more) or trace == NO_TRACE or span == NO_SPAN:
        return Trace(trace_id, span_id, False)
    return Trace(trace.decode(), span_id, bool(int(flags, 16) & 1))


class RequestId(Middleware):
    """RequestNames each request; outermost, so that every answer has its names."""

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        names = names_of(scope["headers"])
        scope["request_id"], scope["names"] = names.request_id, names
        current.set(names)  # each request is a task with a context of its own, so nobody else sees it
        headers = [(name.encode(), value.encode()) for name, value in names.headers().items()]

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = [each for each in message["headers"] if each[0] not in OURS]
                message["headers"] = [*given, *headers]
            await send(message)

        await self._app(scope, receive, named)
