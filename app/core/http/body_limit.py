"""Requests may send so much and no more; what is longer is never held in memory."""

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from app.core.errors import problem
from app.core.http import Middleware
from app.core.settings import settings

BATCHES, BATCH = ("/practice-tasks/batch", "/predictions"), 4  # what holds hundreds of tasks may be so much longer
DIGITS = 15  # a thousand terabytes have no more


class BodyLimit(Middleware):
    """Goes by Content-Length where there is one, and counts what arrives in any case."""

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        most = settings().max_body_bytes * (BATCH if scope["path"].endswith(BATCHES) else 1)
        if refused := _refused(scope, most):
            await problem(Request(scope), *refused)(scope, receive, send)
            return
        arrived = 0

        async def counted() -> Message:
            nonlocal arrived
            message = await receive()
            arrived += len(message.get("body", b""))
            if arrived > most:
                raise HTTPException(413, _too_long(most))
            return message

        await self._app(scope, counted, send)


def _refused(scope: Scope, most: int) -> tuple[int, str] | None:
    """Return status and reason where the headers alone say that the body is not to be read."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            if not value.isdigit():
                return 400, "The header Content-Length must be a whole number of bytes."
            if len(value) > DIGITS or int(value) > most:
                return 413, _too_long(most)
    return None


def _too_long(most: int) -> str:
    return f"The body is longer than {most:,} bytes, which is the most that is accepted."
