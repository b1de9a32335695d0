"""Whether the database may be asked at all; while it may not, nobody waits to find that out."""

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from app.core.errors import problem
from app.core.http import Middleware
from app.domain.errors import DatabaseUnavailable

ASK_NOBODY = frozenset({"/healthz", "/readyz", "/metrics"})


class Availability:
    """Says in a sentence why no request is let through; None while they are."""

    def __init__(self) -> None:
        self.closed: str | None = None


class OnlyWhileAvailable(Middleware):
    """Refuses requests while the service is closed; costs one look at an attribute."""

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        why = scope["app"].state.availability.closed
        if why is None or scope["path"] in ASK_NOBODY:
            await self._app(scope, receive, send)
            return
        error = DatabaseUnavailable(why)
        await problem(Request(scope), error.status, error.detail, error.headers)(scope, receive, send)
