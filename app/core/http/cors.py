"""Which pages of other origins may call the API and read its answers (CORS): those that CORS_ORIGINS names.

With a Bearer token only: no answer allows credentials, so no browser shows such a page what its cookies would open.
"""

from collections.abc import Iterable, Sequence

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.errors import problem
from app.core.http import Middleware
from app.core.settings import settings

VARIES = (b"vary", b"Origin")
ANSWERS = (
    VARIES,
    (
        b"access-control-expose-headers",
        b"X-Request-ID, Retry-After, Location, Content-Disposition, Idempotent-Replayed",
    ),
)
PREFLIGHTS = (
    VARIES,
    (b"access-control-allow-methods", b"GET, POST, PUT, PATCH, DELETE"),
    (b"access-control-allow-headers", b"Authorization, Content-Type, Idempotency-Key, X-Request-ID, Last-Event-ID"),
    (b"access-control-max-age", b"600"),  # seconds
)
REFUSED = "Pages of this origin may not call the API: the setting CORS_ORIGINS names those that may."


class CrossOrigin(Middleware):
    """Stands around all that answers, refusals and failures too; pages are none of the API and stay closed."""

    def __init__(self, app: ASGIApp, pages: Sequence[str]) -> None:
        super().__init__(app)
        self._pages = tuple(pages)
        self._is_on = bool(settings().origins())

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        asks_first = scope["method"] == "OPTIONS" and "access-control-request-method" in Headers(scope=scope)
        path: str = scope["path"].removeprefix(scope.get("root_path", ""))
        if not (self._is_on or asks_first) or path.startswith(self._pages):
            await self._app(scope, receive, send)
            return
        ours = allowed(scope["headers"], PREFLIGHTS if asks_first else ANSWERS)
        if asks_first:
            scope["preflight"] = len(ours) > 1

        async def allowing(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *ours]
            await send(message)

        await self._app(scope, receive, allowing)


class Preflight(Middleware):
    """Answers what a browser asks before a call, of any route: that it is signed in, shows with the call itself."""

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer: ASGIApp = self._app
        if (may := scope.get("preflight")) is not None:
            answer = Response(status_code=204) if may else problem(Request(scope), 403, REFUSED)
        await answer(scope, receive, send)


def allowed(
    given: Iterable[tuple[bytes, bytes]], also: Sequence[tuple[bytes, bytes]] = ANSWERS
) -> list[tuple[bytes, bytes]]:
    """Return what an answer says to the origin that a request names; to others only that it depends on that."""
    origins = [value.decode("latin-1") for name, value in given if name == b"origin"]
    if len(origins) == 1 and origins[0] in settings().origins():
        return [(b"access-control-allow-origin", origins[0].encode()), *also]
    return [VARIES] if settings().origins() else []
