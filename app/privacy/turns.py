"""Exports leave room for everybody else: one at a time for an account, and few of all are at work at once."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar
from uuid import UUID

from anyio import CapacityLimiter, to_thread

from app.domain.errors import TooManyTries

AT_ONCE = 2  # of a process, that read and write their next piece: a thread, a connection and a page of tasks each
RETRY_SECONDS = 10
T = TypeVar("T")


class Exports:
    """The exports under way in this process. One that waits, for its turn or for who fetches it, holds nothing."""

    def __init__(self) -> None:
        self._students = set[UUID]()
        self._at_work = CapacityLimiter(AT_ONCE)

    @contextmanager
    def only_one(self, student: UUID) -> Iterator[None]:
        """Be the student's only export meanwhile. Raises TooManyTries where there is one."""
        if student in self._students:
            raise TooManyTries("An export of this account is under way: wait until it is there.", RETRY_SECONDS)
        self._students.add(student)
        try:
            yield
        finally:
            self._students.discard(student)

    async def do(self, work: Callable[[], T]) -> T:
        """Do a part of an export when it is its turn, in a thread."""
        return await to_thread.run_sync(work, limiter=self._at_work)

    async def stream(self, pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
        """Send each piece before the next is made."""
        while (piece := await self.do(lambda: next(pieces, None))) is not None:
            yield piece
