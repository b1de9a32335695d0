"""Which names this service goes by: a page elsewhere must not reach it by a name of its own (DNS rebinding)."""

import re

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.errors import printable, problem
from app.core.http import Middleware
from app.core.settings import settings

ANYBODYS = frozenset({"/healthz", "/readyz"})  # probes name the service by any address, and learn nothing from it
WRITTEN = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^\[\]:@/\s]+?)\.?)(?::[0-9]{0,5})?", re.IGNORECASE | re.ASCII)


class AllowedHosts(Middleware):
    """Refuses requests for names that are not in ALLOWED_HOSTS."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app)
        names = settings().host_names()
        self._any = "*" in names
        self._exact = frozenset(name for name in names if not name.startswith("*."))
        self._below = tuple(name[1:] for name in names if name.startswith("*."))

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._any or scope["path"] in ANYBODYS:
            await self._app(scope, receive, send)
            return
        given = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if len(given) == 1 and self._knows(host_name(given[0])):
            await self._app(scope, receive, send)
            return
        said = printable(", ".join(given), 200) or "none"
        detail = f"The header Host ({said}) names no host of this service; the setting ALLOWED_HOSTS lists them."
        await problem(Request(scope), 400, detail)(scope, receive, send)

    def _knows(self, name: str) -> bool:
        return name in self._exact or (bool(self._below) and name.endswith(self._below))


def host_name(header: str) -> str:
    """The name or address in a Host header, without the port: `[::1]:4008` is `::1`; empty where it is no such."""
    found = WRITTEN.fullmatch(header)
    return (found[1] or found[2]).lower() if found else ""
