"""The answer to a call that may hang, for those who can't wait: made in a thread, one at a time, with a timeout."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class TimeoutCache(Generic[T]):
    """Keeps an answer for `fresh` seconds; whoever asks while one is awaited, awaits the same."""

    def __init__(self, ask: Callable[[], T], seconds: float, fresh: float = 0) -> None:
        self._ask, self._seconds, self._fresh = ask, seconds, fresh
        self._asked: Future[T] | None = None
        self._fresh_until = 0.0

    async def answer(self) -> T:
        """Return or raise what `ask` does; raise TimeoutError where it takes too long."""
        asked = self._asked
        if asked is None or (asked.done() and (asked.exception() or time.monotonic() >= self._fresh_until)):
            self._asked = asked = Future[T]()
            asked.set_running_or_notify_cancel()
            threading.Thread(target=self._answer, args=(asked,), daemon=True, name="watching").start()
        awaited = asyncio.wrap_future(asked)
        done, _ = await asyncio.wait({awaited}, timeout=self._seconds)
        if not done:
            awaited.add_done_callback(lambda late: late.exception())  # asyncio need not complain that nobody looked
            raise TimeoutError
        return awaited.result()

    def _answer(self, asked: "Future[T]") -> None:
        try:
            found = self._ask()
        except Exception as why:
            asked.set_exception(why)
        else:
            self._fresh_until = time.monotonic() + self._fresh
            asked.set_result(found)
