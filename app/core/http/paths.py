"""Requests that mean what a route answers, though they are not written as it is."""

import re

from starlette.types import Message, Receive, Scope, Send

from app.core.http import Middleware

SLASHES = re.compile("/{2,}")


class OneSlash(Middleware):
    """Passes over slashes too many: a redirect would lose bodies, and behind TLS might lead to plain http."""

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, root = SLASHES.sub("/", scope["path"]), scope.get("root_path", "")
        scope["path"] = path.rstrip("/") if path != f"{root}/" else path
        await self._app(scope, receive, send)


class HeadAsGet(Middleware):
    """Answers HEAD as GET; the server leaves the body out."""

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def as_head(message: Message) -> None:
            scope["method"] = "HEAD"  # as the server and whoever counts know it
            await send(message)

        scope["method"] = "GET"
        try:
            await self._app(scope, receive, as_head)
        finally:
            scope["method"] = "HEAD"
