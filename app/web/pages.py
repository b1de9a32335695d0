"""How a page is made: a template, the visitor's language and theme, and the same guards on each."""

from collections.abc import Mapping
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from app.analytics.ability import percentile
from app.core.http.content_negotiation import weight
from app.core.languages import NAMES, Translator, sentences
from app.planning.reasons import sentence
from app.web import charts, names
from app.web.sessions import SignInFirst, path_of, theme, translator_of, way_to_sign_in

HERE = Path(__file__).parent
STATIC = HERE / "static"
# Forms say whence they come only where this lets them: without it a browser writes `Origin: null`.
HEADERS = {"Referrer-Policy": "same-origin"}
KEPT_SECONDS = 365 * 86_400  # what is named by its contents never changes
ASSETS = "/static"
PLACES = (
    "/dashboard",
    "/admin",
    "/sign-in",
    "/sign-out",
    "/register",
    "/forgot-password",
    "/new-password",
    "/preferences",
    "/begin",
)


@lru_cache
def environment(language: str) -> Environment:
    """Return the templates in one language. What they are given is escaped; what they are not given is an error."""
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["capitalize_first"] = lambda text: text[:1].upper() + text[1:]
    made.globals.update(sentences(language), asset=asset, languages=NAMES, chart=charts, percentile=percentile)
    return made


def warm() -> None:
    """Compile every template, so that nobody's first page waits for it: 0.6 s for all of them."""
    for language in NAMES:
        made = environment(language)
        for name in made.list_templates(extensions=["html"]):
            made.get_template(name)


def render(request: Request, template: str, status: int = 200, **values: object) -> HTMLResponse:
    """Make a page: the template, with what every page needs."""
    translator = translator_of(request)
    given = {
        "visitor": getattr(request.state, "visitor", None),
        "translator": translator,
        "theme": theme(request),
        "root": root(request),
        "path": path_of(request),
        **{function.__name__: partial(function, translator) for function in (sentence, *names.FOR_TEMPLATES)},
        **values,
    }
    text = environment(translator.language).get_template(template).render(given)
    return HTMLResponse(text, status, HEADERS)


def root(request: Request) -> str:
    """Return what stands before our paths, where a proxy puts the service below one of its own."""
    found: str = request.scope.get("root_path", "")
    return found


def go_to(request: Request, path: str, **query: object) -> RedirectResponse:
    """Answer a form: the browser fetches the page, and a reload sends nothing twice."""
    given = {name: value for name, value in query.items() if value is not None}
    return RedirectResponse(f"{root(request)}{path}" + (f"?{urlencode(given)}" if given else ""), 303, HEADERS)


@lru_cache
def asset(name: str) -> str:
    """Return the path of a file that the pages use, named by its contents, so that browsers may keep it."""
    return f"{ASSETS}/{name}?v={sha256((STATIC / name).read_bytes()).hexdigest()[:12]}"


class Assets(StaticFiles):
    """A name with its version may be kept for ever, one without it has to be asked for again."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        answer = super().file_response(*args, **kwargs)
        scope = kwargs.get("scope") or args[2]
        versioned = b"v=" in scope.get("query_string", b"")
        answer.headers["Cache-Control"] = f"public, max-age={KEPT_SECONDS}, immutable" if versioned else "no-cache"
        return answer


def prefers_html(accept: str) -> bool:
    """Say whether text/html is asked for by name, and not less than JSON (RFC 9110, section 12.5.1)."""
    html = max(weight(accept, "text/html"), weight(accept, "application/xhtml+xml"))
    return html > 0 and html >= weight(accept, "application/json")


def error_page(request: Request, problem: Mapping[str, Any], headers: Mapping[str, str]) -> Response | None:
    """Make an error's page, for who looks at pages; none for callers of the API."""
    path = path_of(request)
    leads_nowhere = request.scope.get("route") is None and problem["status"] == 404
    is_page = path == "/" or path.startswith(PLACES)
    if not prefers_html(request.headers.get("accept", "")) or not (is_page or leads_nowhere):
        return None
    said = _said(translator_of(request), problem["status"], headers)
    answer = render(request, "error.html", problem["status"], problem=problem, said=said)
    answer.headers.update({name: value for name, value in headers.items() if name.lower() != "www-authenticate"})
    return answer


def _said(translator: Translator, status: int, headers: Mapping[str, str]) -> str:
    """Say in the visitor's language what the problem's detail says in English, below it."""
    if status == 429:
        wait = translator.seconds(float(headers.get("Retry-After", 1)))
        return translator("Too many requests at once. Please try again in %(time)s.", time=wait)
    if status == 503:
        return translator("The service can't answer right now. If your entry was stored all the same, it counts once.")
    if status >= 500:
        return translator("The log has the details, under the number below.")
    return {
        403: translator("You have no access to this."),
        404: translator("It is gone, was never there, or is somebody else's."),
        413: translator("What was sent is too long."),
    }.get(status) or translator("What was sent can't be accepted as it is.")


def install(app: FastAPI) -> None:
    """Add the files for the pages, errors as pages, and the way to the sign-in."""
    app.mount(ASSETS, Assets(directory=STATIC), name="static")
    app.state.error_page = error_page

    @app.exception_handler(SignInFirst)
    async def sign_in_first(request: Request, _: SignInFirst) -> Response:
        return RedirectResponse(way_to_sign_in(request), 303, HEADERS)
