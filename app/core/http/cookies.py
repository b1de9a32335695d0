"""Cookies of ours: what they are called, where they go along, how long they stay."""

from fastapi import Request
from fastapi.responses import Response

YEAR = 365 * 86_400  # seconds
SESSION = "smartstudy"  # signs in
BROWSER = "smartstudy-browser"  # tells a browser that has signed in from others, for long; signs nobody in


def guarded(request: Request, name: str) -> str:
    """Return a cookie's name that a browser takes over https from this very host only, and for all of its paths.

    Below a path of a proxy's `__Secure-` is as much as there is: `__Host-` would hand the cookie to every neighbour.
    """
    if not _is_https(request):
        return name
    return f"__Host-{name}" if _root(request) == "/" else f"__Secure-{name}"


def keep(request: Request, answer: Response, name: str, value: str, seconds: int = YEAR) -> None:
    answer.set_cookie(
        name, value, seconds, path=_root(request), httponly=True, samesite="lax", secure=_is_https(request)
    )


def drop(request: Request, answer: Response, name: str) -> None:
    answer.delete_cookie(name, path=_root(request), httponly=True, samesite="lax", secure=_is_https(request))


def _is_https(request: Request) -> bool:
    return bool(request.scope["scheme"] == "https")


def _root(request: Request) -> str:
    return request.scope.get("root_path", "") or "/"
