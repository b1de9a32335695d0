"""What every answer tells the browser: run nothing that is not ours, guess nothing, keep nothing personal."""

import re
from base64 import b64encode
from hashlib import sha256

from starlette.types import Message, Receive, Scope, Send

from app.core.http import Middleware

OWN_ONLY = "default-src 'self'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'; object-src 'none'{more}"
POLICY = OWN_ONLY.format(more="").encode()
ALWAYS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
]
HTTPS_ONLY = (b"strict-transport-security", b"max-age=31536000")  # a year
KEEP_NOTHING = (b"cache-control", b"no-store")

# The reference pages: their inline script is named by its hash. Swagger and ReDoc write styles as they go.
REFERENCE = {"/docs", "/docs/oauth2-redirect", "/redoc"}
REFERENCE_NEEDS = (
    "; script-src 'self'{scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; worker-src 'self' blob:"
)
EVERYBODYS = {"/openapi.json", *REFERENCE}  # the same for everybody, so a cache may keep it
STATIC = ("/static-offline-docs/", "/static/")
INLINE = re.compile(rb"<(script|style)>(.*?)</\1>", re.DOTALL)


class SafeHeaders(Middleware):
    """Adds what is missing; a header that an answer has itself stays."""

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"].removeprefix(scope.get("root_path", ""))  # as the routes know it; mounts change it
        is_https = scope.get("scheme") == "https"

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_missing(message["headers"], path, is_https)]
            await send(message)

        await self._app(scope, receive, _ReferencePage(guarded) if path in REFERENCE else guarded)


class _ReferencePage:
    """Sends a reference page with a policy that names its inline scripts, for which it waits for the page."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        if self._start is not None:
            policy = OWN_ONLY.format(more=REFERENCE_NEEDS.format(scripts=hashes(message.get("body", b""), b"script")))
            self._start["headers"] = [*self._start["headers"], (b"content-security-policy", policy.encode())]
            start, self._start = self._start, None
            await self._send(start)
        await self._send(message)


def _missing(headers: list[tuple[bytes, bytes]], path: str, is_https: bool) -> list[tuple[bytes, bytes]]:
    said = {name.lower() for name, _ in headers}
    ours = [(name, value) for name, value in ALWAYS if name not in said]
    if b"content-security-policy" not in said:
        ours.append((b"content-security-policy", POLICY))
    if b"cache-control" not in said and path not in EVERYBODYS and not path.startswith(STATIC):
        ours.append(KEEP_NOTHING)
    if is_https:
        ours.append(HTTPS_ONLY)
    return ours


def hashes(page: bytes, tag: bytes) -> str:
    """Name the inline elements of a page as a policy does, by their hashes."""
    found = [b64encode(sha256(text).digest()).decode() for kind, text in INLINE.findall(page) if kind == tag]
    return "".join(f" 'sha256-{each}'" for each in found)
