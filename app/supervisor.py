"""Services and trainers poll their database every second: is it there, does it fit, who should serve, what is due."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from app.core import database
from app.core.db import migrations
from app.core.db.migrations import SchemaMismatch
from app.core.db.outages import NO_DATABASE, reason
from app.core.http.availability import Availability

log = logging.getLogger("smartstudy")
POLL_SECONDS = 1.0
FIRST_POLL_SECONDS = 5.0  # a start waits no longer for it
SLOW_SECONDS = 3.0  # a database that refuses does so at once; one that takes so long to fail would hang each request


class Supervisor:
    """Does every second what there is to do (load what another process published, begin a training that is due), while
    the database is there and fits; starts an embedded one again. What changed is said once."""

    def __init__(self, steps: Sequence[Callable[[], object]], availability: Availability) -> None:
        self._steps, self._availability = steps, availability
        self._said: str | None = None
        self._complaints: set[str] = set()
        self._seen = False  # a database that fits, since the start

    async def run(self, first: asyncio.Event) -> None:
        while True:
            await asyncio.to_thread(self.poll)
            first.set()
            await asyncio.sleep(POLL_SECONDS)

    def poll(self) -> None:
        """Poll once: it blocks for about ten seconds at the most, and raises nothing, so that there is a next time."""
        started = time.monotonic()
        try:
            database.keep_up()
            migrations.check(database.engine())
            self._follow_up()
        except SchemaMismatch as why:
            self._say(str(why))
            self._availability.closed = str(why)
        except Exception as why:
            self._away(reason(why), close=not self._seen or time.monotonic() - started > SLOW_SECONDS)
        else:
            self._back()

    def _follow_up(self) -> None:
        """Load and train what is due; where that fails, the service answers all the same."""
        for step in self._steps:
            try:
                step()
            except NO_DATABASE:
                raise
            except Exception as why:
                self._complain(why)

    def _complain(self, why: Exception) -> None:
        if repr(why) not in self._complaints:
            log.error("Looking after versions and trainings went wrong, and is tried again.", exc_info=why)
        self._complaints.add(repr(why))

    def _away(self, why: str, close: bool) -> None:
        """Note that the database is away. A request finds out by itself; where that would take long, none is let in."""
        self._say(f"The database is away, the service waits for it: {why}")
        if close:
            self._availability.closed = "The database does not answer; the service waits for it. Try again shortly."

    def _back(self) -> None:
        if self._said is not None:
            log.warning("The database is back.")
        self._said, self._seen = None, True
        self._availability.closed = None

    def _say(self, what: str) -> None:
        if what != self._said:
            log.warning("%s", what)
        self._said = what
