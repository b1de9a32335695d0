"""Each request is counted and timed by its route, and logged if it failed or all are logged."""

import logging
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.http import Middleware
from app.core.observability import metrics
from app.core.settings import settings

log = logging.getLogger("smartstudy.access")


class Access(Middleware):
    """Logs the route's template, never the path, the query, a header or a body: those may hold secrets."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app)
        self._log_all = settings().access_log

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        started, status = perf_counter(), 0

        async def seen(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                self._answered(scope, status, perf_counter() - started)  # not after background work

        try:
            await self._app(scope, receive, seen)
        except Exception:  # whoever is around us answers it
            self._answered(scope, 500, perf_counter() - started)
            raise

    def _answered(self, scope: Scope, status: int, seconds: float) -> None:
        method, route = scope["method"], template(scope)
        metrics.count_request(method, route, status, seconds)
        if self._log_all or status >= 500:
            level = logging.INFO if status < 500 else logging.WARNING if status == 503 else logging.ERROR
            said = {"method": method if method in metrics.METHODS else metrics.OTHER, "status": status}
            said |= {"route": route or metrics.UNMATCHED, "duration_ms": round(seconds * 1000, 2)}
            log.log(level, "request", extra=said)


def template(scope: Scope) -> str | None:
    """Return the route as the code has it, such as /practice-tasks/{task_id}; none where nothing matched.

    Of files, it is what they are mounted below.
    """
    path: str | None = getattr(scope.get("route"), "path_format", None)
    root = scope.get("root_path", "")
    return path or root.removeprefix(scope.get("app_root_path", root)) or None
