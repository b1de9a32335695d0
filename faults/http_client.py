"""A client of a service on this machine: one connection, one request at a time, little work of its own."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from app.domain.attempts import Attempts
from benchmarks import questions

HOST = "127.0.0.1"  # never anybody else's service
TIMEOUT_SECONDS = 60.0  # seconds for an answer
IDLE = 2.0  # seconds after which a connection is given up: the service does so after five


class Lost(ConnectionError):
    """There was no answer, or not all of it."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: Any
    seconds: float


class HttpClient:
    """Connects when it has something to ask, anew after a loss."""

    def __init__(self, port: int, key: str) -> None:
        self.port, self._key = port, key
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._used = 0.0

    async def ask(self, method: str, path: str, body: dict[str, Any]) -> Answer:
        """Raises Lost where no answer came."""
        since = perf_counter()
        if since - self._used > IDLE:
            self.close()
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                status, headers, said = await self._asked(questions.request(method, path, body, self._key))
        except (OSError, EOFError, asyncio.IncompleteReadError) as why:  # a timeout is an OSError
            self.close()
            raise Lost(repr(why)) from why
        self._used = perf_counter()
        if headers.get("connection") == "close":
            self.close()
        return Answer(status, headers, said, self._used - since)

    async def _asked(self, request: str) -> tuple[int, dict[str, str], Any]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(HOST, self.port)
        reader, writer = self._streams
        writer.write(request.encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        return int(head[0].split()[1]), headers, json.loads(body) if body else None

    def close(self) -> None:
        if self._streams:
            self._streams[1].close()
        self._streams = None


@dataclass(frozen=True, slots=True)
class Deed:
    """A task that a student does."""

    question: dict[str, str]
    result: dict[str, Any]


class Deeds:
    """Without end, as the students of a simulated school might do them."""

    def __init__(self, world: Attempts, seed: int = 0) -> None:
        self._world, self._random = world, np.random.default_rng(seed)

    def next(self) -> Deed:
        row = int(self._random.integers(len(self._world)))
        return Deed(questions.question(self._world, row), questions.result(self._world, row))


async def finish(client: HttpClient, deed: Deed) -> tuple[Answer, Answer | None]:
    """POST and PATCH; the second is left out where the first was refused."""
    made = await client.ask("POST", questions.PATH, deed.question)
    if made.status != 201:
        return made, None
    return made, await client.ask("PATCH", f"{questions.PATH}/{made.body['id']}", deed.result)
