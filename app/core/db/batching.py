"""Requests that wait for the same statement go to the database together: one round trip, one transaction, one flush."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from contextvars import Context
from typing import Any

from asyncpg.exceptions import (
    DataError,
    IntegrityConstraintViolationError,
    LockNotAvailableError,
    TransactionRollbackError,
)

from app.core.db.statements import BatchedStatement, Row

Waiting = tuple[Mapping[str, object], "asyncio.Future[Row]"]

MOST = 32  # requests in a batch
# The database refused the batch and nothing of it was stored; each alone may fare better.
REFUSED = (DataError, IntegrityConstraintViolationError, LockNotAvailableError, TransactionRollbackError)


class Batcher:
    """One batch is under way at a time; what is asked meanwhile goes with the next. A lone request waits for nobody.

    An answer leaves only after the commit of its batch. Where a batch is refused, each of its requests is sent anew
    by itself, so that one that is wrong, or has to wait for a lock, spoils and holds up no other.
    """

    def __init__(self, statement: BatchedStatement, acquire: Callable[[], AbstractAsyncContextManager[Any]]) -> None:
        self._statement = statement
        self._acquire = acquire
        self._waiting: deque[Waiting] = deque()
        self._workers = 0
        self._tasks: set[asyncio.Task[None]] = set()  # a task that nobody holds may vanish before its end

    async def row(self, values: Mapping[str, object]) -> Row:
        """Return the row that the statement gives for these values."""
        answer: asyncio.Future[Row] = asyncio.get_running_loop().create_future()
        self._waiting.append((values, answer))
        if self._workers < self._statement.at_once:
            self._workers += 1
            self._start(self._work())
        return await answer

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._send(self._next())
        finally:
            self._workers -= 1  # at once, not when the task is found done: who asks meanwhile has to start another

    def _next(self) -> list[Waiting]:
        """Take the first that wait; of those about the same thing only one, for the others must see what it did."""
        batch, about, others = list[Waiting](), set[object](), list[Waiting]()
        while self._waiting and len(batch) < MOST:
            values, answer = self._waiting.popleft()
            this = self._statement.about(values)
            (others if this in about else batch).append((values, answer))
            about |= {this} - {None}
        self._waiting.extendleft(reversed(others))
        return batch

    async def _send(self, batch: list[Waiting]) -> None:
        try:
            async with self._acquire() as connection:
                rows = await self._statement.each(connection, [values for values, _ in batch])
        except REFUSED as why:
            if len(batch) == 1:
                _fail(batch, why)
            else:
                for one in batch:
                    self._start(self._send([one]))
        except TimeoutError as why:  # who waits behind it would wait as long again, and again
            _fail([*batch, *self._waiting], why)
            self._waiting.clear()
        except Exception as why:
            _fail(batch, why)
        else:
            for (_, answer), row in zip(batch, rows, strict=True):
                if not answer.done():  # its request may have been given up
                    answer.set_result(row)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, context=Context())  # it works for other requests too, and goes by none's name
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _fail(batch: list[Waiting], why: Exception) -> None:
    for _, answer in batch:
        if not answer.done():
            answer.set_exception(why)
