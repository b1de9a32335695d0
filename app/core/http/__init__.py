"""What stands around every request."""

from starlette.types import ASGIApp, Receive, Scope, Send


class Middleware:
    """Plain ASGI, so that nothing of the hot path waits for it. What is no HTTP passes by."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self._handle if scope["type"] == "http" else self._app)(scope, receive, send)

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise NotImplementedError
