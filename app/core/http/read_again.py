"""What was being read when a pooler was started anew, or a replica ended or gave up, is read again, so that nobody
notices."""

import asyncio
import time

from starlette.types import Message, Receive, Scope, Send

from app.core import database
from app.core.http import Middleware


class ReadAgain(Middleware):
    """Answers a GET anew that a pooler or a replica lost, while a pooler may take to be back."""

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        until, again = time.monotonic() + database.read_again_seconds(), True

        async def unless_lost(message: Message) -> None:
            nonlocal again
            lost = message["type"] == "http.response.start" and scope.pop("connection_lost", False)
            again = again or (lost and time.monotonic() < until)
            if not again:
                await send(message)

        while again:
            again = False
            await self._app(scope, receive, unless_lost)
            if again:
                await asyncio.sleep(database.AGAIN_SECONDS)
