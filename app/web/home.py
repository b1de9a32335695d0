"""The front door: a page for browsers, a welcome for everything else; how to begin, language and colours."""

from ipaddress import ip_address
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Header, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse, Response

from app import __version__
from app.core.database import new_session
from app.core.languages import NAMES
from app.core.settings import settings
from app.crud import accounts, demonstration
from app.crud.browser_sessions import Visitor
from app.domain.errors import NotAllowed
from app.ml.evaluation import sample
from app.routers.dependencies import Db, TheTrainer, address_of
from app.web.pages import STATIC, go_to, prefers_html, render
from app.web.sessions import (
    LANGUAGE,
    THEME,
    THEMES,
    Anybody,
    FormText,
    local_path,
    page_router,
    remember,
    visitor,
)

router = page_router()
welcome = APIRouter()

WELCOME = {"message": "Welcome to StudySmart AI API", "version": __version__, "docs": "/docs"}
FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")


@welcome.get("/", tags=["Welcome"])
async def get_welcome(request: Request, accept: Annotated[str, Header()] = "*/*") -> Response:
    """Says what this is: in JSON, or as a page to those who prefer HTML."""
    if not prefers_html(accept):
        return JSONResponse(WELCOME, headers={"Vary": "Accept", "Cache-Control": "no-cache"})
    answer = await run_in_threadpool(_home, request)
    answer.headers["Vary"] = "Accept, Cookie"
    return answer


def _home(request: Request) -> Response:
    with new_session().begin() as db:
        found = visitor(request, db)
        empty, made_up = sample.is_empty(db), demonstration.is_there(db)
    given = settings()
    return render(
        request,
        "home.html",
        is_empty=empty,
        demonstration=made_up,
        may_begin=may_begin(request, found),
        every=given.retrain_every,
        least=given.min_training_tasks,
        erased=found is None and "erased" in request.query_params,
    )


def may_begin(request: Request, found: Visitor | None) -> bool:
    """Who may fill an empty installation from a page: an admin, or whoever sits at the machine itself."""
    return (found is not None and found.is_admin) or _is_at_the_machine(request)


def _is_at_the_machine(request: Request) -> bool:
    try:
        near = ip_address(address_of(request)).is_loopback
    except ValueError:
        return False
    return near and not any(name in request.headers for name in FORWARDED)


@router.get("/favicon.ico")
async def icon() -> Response:
    """Send the icon for pages that name none, such as JSON in a browser."""
    return FileResponse(STATIC / "icon.svg", media_type="image/svg+xml", headers={"Cache-Control": "max-age=86400"})


@router.post("/begin")
def begin(request: Request, found: Anybody, db: Db, trainer: TheTrainer, background: BackgroundTasks) -> Response:
    """Load the sample, and train on it in the background."""
    if not may_begin(request, found):
        raise NotAllowed("Only an admin, or somebody at the machine itself, may load the sample.")
    try:
        sample.load(db)
    except sample.NotEmpty:
        return go_to(request, "/")
    background.add_task(trainer.request)
    is_admin = found is not None and found.is_admin
    return go_to(request, "/admin", done="sample") if is_admin else go_to(request, "/register", loaded=1)


@router.post("/preferences")
def prefer(
    request: Request, found: Anybody, db: Db, language: FormText = "", theme: FormText = "", next: FormText = "/"
) -> Response:
    """Keep language and colours with the account, and in this browser."""
    answer = go_to(request, local_path(next, "/"))
    language = language if language in NAMES else ""
    theme = theme if theme in THEMES else ""
    if found:
        accounts.store_preferences(db, found.id, language or None, theme or None)
    remember(request, answer, LANGUAGE, language)
    remember(request, answer, THEME, theme)
    return answer
