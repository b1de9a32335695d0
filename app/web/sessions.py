"""Who looks at a page: a cookie names a session, the session an account. And whether a form was really ours."""

from dataclasses import replace
from secrets import token_urlsafe
from typing import Annotated, cast
from urllib.parse import quote, urlsplit
from uuid import UUID

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import Response
from python_multipart.multipart import parse_options_header
from sqlalchemy.orm import Session

from app.core.http.cookies import BROWSER, SESSION, drop, guarded, keep
from app.core.languages import Translator, chosen
from app.core.settings import settings
from app.core.time_zones import zone_of
from app.crud import accounts, browser_sessions, known_places
from app.crud.browser_sessions import Visitor
from app.domain.actors import Actor
from app.domain.days import zones
from app.domain.errors import NotAccepted, NotAllowed
from app.domain.tasks import Claim
from app.routers.dependencies import Db, address_of, count_request
from app.routers.limits import browser_place

LANGUAGE, THEME, ZONE = "language", "theme", "zone"  # cookies of those who are not signed in; the zone is a script's
THEMES = ("light", "dark")
DAY = 86_400
SAFE = ("GET", "HEAD", "OPTIONS")


class SignInFirst(Exception):  # no error: the way to the page leads over the sign-in
    """Nobody is signed in; answered with the way to the sign-in."""


def session_of(request: Request) -> str | None:
    """Return what the browser's cookie holds, if it sends one."""
    return request.cookies.get(guarded(request, SESSION))


def visitor(request: Request, db: Db) -> Visitor | None:
    """Return who is signed in, if somebody is."""
    token = session_of(request)
    found = browser_sessions.find(db, token) if token else None
    if found:
        count_request(request, Claim(student=found.id))
        if found.time_zone is None and (named := browser_zone(request)):
            accounts.learn_time_zone(db, found.id, named)
            found = replace(found, time_zone=named)
    request.state.visitor = found
    return found


Anybody = Annotated[Visitor | None, Depends(visitor)]


def signed_in(found: Anybody) -> Visitor:
    if found is None:
        raise SignInFirst
    return found


SignedIn = Annotated[Visitor, Depends(signed_in)]


def only_admins(found: SignedIn) -> Visitor:
    if not found.is_admin:
        raise NotAllowed("This page is for admins. `smartstudy admin create EMAIL` makes one.")
    return found


Admin = Annotated[Visitor, Depends(only_admins)]


def who_acts(request: Request, found: SignedIn) -> Actor:
    """Return the visitor, as the audit names them."""
    return Actor(found.email, found.id, request.scope.get("request_id"), address_of(request))


Acting = Annotated[Actor, Depends(who_acts)]


async def only_same_origin(request: Request) -> None:
    """Refuse a form that another site made a browser send (docs/decisions/0011).

    Browsers say where a request comes from: `Sec-Fetch-Site`, else `Origin`, else `Referer`. What sends none of them is
    no browser, and holds no cookie that it was not given on purpose.
    """
    if request.method in SAFE:
        return
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    came_from = origin if origin is not None else _origin_of(request.headers.get("referer"))
    if site is None and came_from is not None:
        ours = f"{request.scope['scheme']}://{request.headers.get('host')}"
        site = "same-origin" if came_from == ours else "cross-site"
    if site not in (None, "same-origin", "none"):
        raise NotAllowed("This was sent from another site, so it was not done.")
    _, options = parse_options_header(request.headers.get("content-type"))
    if options.get(b"charset", b"utf-8").lower() != b"utf-8":  # others can write what no UTF-8 can, and no table holds
        raise NotAccepted("A form has to be written in UTF-8.")


def _origin_of(address: str | None) -> str | None:
    """Return scheme and host of an address; empty, which is nobody's, where it can't be read."""
    try:
        return None if address is None else "{0.scheme}://{0.netloc}".format(urlsplit(address))
    except ValueError:
        return ""


def page_router(prefix: str = "") -> APIRouter:
    """Make a router for pages, which the API's description leaves out."""
    return APIRouter(prefix=prefix, include_in_schema=False, dependencies=[Depends(only_same_origin)])


FormText = Annotated[str, Form()]


def let_in(request: Request, db: Session, answer: Response, user_id: UUID) -> None:
    """Sign this browser in; whoever was signed in with it before is signed out."""
    if before := session_of(request):
        browser_sessions.end(db, before)
    seconds = settings().session_days * DAY
    keep(request, answer, guarded(request, SESSION), browser_sessions.start(db, user_id, seconds), int(seconds))
    browser = request.cookies.get(guarded(request, BROWSER)) or token_urlsafe(32)
    keep(request, answer, guarded(request, BROWSER), browser)
    known_places.remember(db, user_id, [browser_place(browser)])
    if named := browser_zone(request):
        accounts.learn_time_zone(db, user_id, named)


def let_out(request: Request, db: Session, answer: Response) -> None:
    if token := session_of(request):
        browser_sessions.end(db, token)
    forget(request, answer)


def forget(request: Request, answer: Response) -> None:
    """Have the browser drop its cookie; the session goes by itself where the account does."""
    drop(request, answer, guarded(request, SESSION))


def remember(request: Request, answer: Response, name: str, value: str) -> None:
    """Keep what somebody without an account chose."""
    keep(request, answer, name, value)


def translator_of(request: Request) -> Translator:
    """Return the translator for this visitor's language and time zone."""
    found = cast(Visitor | None, getattr(request.state, "visitor", None))
    preferred = (found.language if found else None) or request.cookies.get(LANGUAGE)
    zone = zone_of((found.time_zone if found else None) or browser_zone(request))
    return Translator(chosen(preferred, request.headers.get("accept-language", "")), zone)


def theme(request: Request) -> str:
    found = cast(Visitor | None, getattr(request.state, "visitor", None))
    wanted = (found.theme if found else None) or request.cookies.get(THEME, "")
    return wanted if wanted in THEMES else ""


def browser_zone(request: Request) -> str | None:
    """Return the time zone that the browser names, if there is one of that name."""
    named = request.cookies.get(ZONE)
    return named if named in zones() else None


def path_of(request: Request) -> str:
    """Return the path as routes know it, behind any proxy; `request.url` would stumble over a query's bytes."""
    path: str = request.scope["path"]
    return path.removeprefix(request.scope.get("root_path", ""))


def way_to_sign_in(request: Request) -> str:
    """Return where to sign in, and come back from."""
    back = path_of(request) if request.method in SAFE else ""
    return f"{request.scope.get('root_path', '')}/sign-in" + (f"?next={quote(back)}" if back not in ("", "/") else "")


def local_path(path: str | None, otherwise: str) -> str:
    """Return a path of ours to go to after signing in; never another host's."""
    if not path or not path.startswith("/") or path.startswith(("//", "/\\")) or not path.isprintable():
        return otherwise
    return path
