"""What happens, told to all who listen.

The database is looked at once a second for all listeners of a process, while there are some. Whatever process did it,
it stands there; so nothing is passed between processes, and no connection is kept.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Hashable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from fastapi.sse import ServerSentEvent
from pydantic import BaseModel

from app.core.database import new_session
from app.core.db.outages import NO_DATABASE
from app.core.settings import settings
from app.crud import events
from app.crud.events import Changed, Discarded, Pass, changed_at
from app.domain.errors import TooManyTries
from app.domain.tasks import Task
from app.ml.serving.model_order import ServingModels
from app.monitoring.status import serving_now, training_now
from app.schemas.events import DiscardedOut, End
from app.schemas.practice_tasks import TaskOut

log = logging.getLogger("smartstudy.events")
POLL_SECONDS = 1.0
LONGEST_SECONDS = 3600.0  # then a listener has to come again
MOST_OF_CALLER = 5  # listeners of one student or of one key, in this process
NOT_FETCHED = 1000  # events; who has so many waiting is cut off
RETRY_MILLISECONDS, RETRY_SECONDS = 3000, 30
ENDED = "The session or the token has ended, the key was revoked, or the student no longer allows the school."


@dataclass(eq=False)
class Listener:
    """Somebody who listens."""

    by: Pass
    caller: Hashable  # the student, or the key with the student whom it names
    address: str
    student: UUID | None  # whose tasks it is told of
    school: UUID | None = None  # and only of those that this one brought
    last_heard: datetime | None = None  # of those that it was told before it came again
    events: asyncio.Queue[ServerSentEvent | None] = field(default_factory=asyncio.Queue)
    came: float = field(default_factory=time.monotonic)
    tasks: dict[UUID, Task | Discarded] | None = None  # as it was told last, or need not be told
    states: dict[str, BaseModel] = field(default_factory=dict)

    def tell(self, news: "News") -> None:
        """Pass on what is new to this listener."""
        if self.by not in news.let_in:
            self._say(news, "end", End(reason=ENDED))
            self.end()
            return
        for name, state in news.states.items():
            if self.states.get(name) != state:
                self._say(news, name, state)
        self.states = dict(news.states)
        came_at = news.at - timedelta(seconds=time.monotonic() - self.came)
        own = {task.id: task for task in self._own(news.tasks)}
        if self.tasks is not None:
            fresh = [task for task in own.values() if self.tasks.get(task.id) != task]
        else:
            missed = self._own(news.missed.get(self, []))
            fresh = missed or [task for task in own.values() if changed_at(task) > came_at]
        for task in fresh:
            if isinstance(task, Discarded):
                self._say(news, "discarded", DiscardedOut.model_validate(task))
            else:
                self._say(news, "task", TaskOut.model_validate(task))
        self.tasks = own
        if self.events.qsize() > NOT_FETCHED:
            self.end()

    def _own(self, found: Sequence[Changed]) -> list[Task | Discarded]:
        """Return what this listener may see."""
        of_student = (each for each in found if each.task.user_id == self.student)
        return [each.task for each in of_student if self.school in (None, each.school)]

    def end(self) -> None:
        """End the answer, after what is waiting."""
        self.events.put_nowait(None)

    def _say(self, news: "News", what: str, data: BaseModel) -> None:
        self.events.put_nowait(ServerSentEvent(event=what, data=data, id=str(round(news.at.timestamp() * 1_000_000))))

    async def told(self) -> AsyncIterator[ServerSentEvent]:
        """Give the events as they come, until the end."""
        yield ServerSentEvent(retry=RETRY_MILLISECONDS)
        until = self.came + LONGEST_SECONDS
        while (left := until - time.monotonic()) > 0:
            try:
                event = await asyncio.wait_for(self.events.get(), left)
            except TimeoutError:
                return
            if event is None:
                return
            yield event


class News(NamedTuple):
    """What one look at the database found."""

    at: datetime  # the database's clock, UTC
    let_in: set[Pass]
    states: dict[str, BaseModel]  # of training and version
    tasks: list[Changed]  # of all listeners, that changed lately
    missed: dict[Listener, list[Changed]]  # by who came again, since they last heard anything


class Feed:
    """All who listen in this process."""

    def __init__(self, serving: ServingModels) -> None:
        self._serving = serving
        self._listeners = set[Listener]()
        self._poller: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def listening(self, listener: Listener) -> AsyncIterator[None]:
        """Be told meanwhile. Raises TooManyTries where so many listen already."""
        self._make_sure_there_is_room(listener)
        self._listeners.add(listener)
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll())
        try:
            yield
        finally:
            self._listeners.discard(listener)

    def _make_sure_there_is_room(self, listener: Listener) -> None:
        """Leave half of the connections, of all and of each address, to those who ask for something."""
        given = settings()
        addresses = Counter(each.address for each in self._listeners)
        callers = Counter(each.caller for each in self._listeners)
        if callers[listener.caller] >= MOST_OF_CALLER:
            raise TooManyTries(f"You listen {MOST_OF_CALLER} times already: end one of these first.", RETRY_SECONDS)
        is_full = len(self._listeners) >= given.max_connections // 2
        if is_full or addresses[listener.address] >= max(given.max_connections_per_address // 2, 1):
            raise TooManyTries("As many listen here as may; ask again and again instead.", RETRY_SECONDS)

    async def _poll(self) -> None:
        while self._listeners:
            listeners = list(self._listeners)
            try:
                news = await asyncio.to_thread(self._look, listeners)
            except NO_DATABASE:  # the supervisor says so, and all go on when it is back
                news = None
            except Exception:
                log.exception("Listeners were not told what happened; it is tried again.")
                news = None
            if news:
                for each in listeners:
                    each.tell(news)
            await asyncio.sleep(POLL_SECONDS)

    def _look(self, listeners: list[Listener]) -> News:
        students = {each.student for each in listeners if each.student}
        again = [each for each in listeners if each.tasks is None and each.student and each.last_heard]
        with new_session().begin() as db:
            return News(
                events.now(db),
                events.let_in(db, [each.by for each in listeners]),
                {"training": training_now(db), "version": serving_now(db, self._serving)},
                events.changed(db, list(students)),
                {each: events.changed(db, [each.student], each.last_heard) for each in again if each.student},
            )
