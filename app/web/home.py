"""The front door: a page for browsers, a welcome for everything else. Signing in, registering, beginning."""

from ipaddress import ip_address
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Depends, Form, Header, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse, Response
from pydantic import ValidationError

from app.core.database import new_session
from app.core.settings import settings
from app.crud import accounts
from app.crud.browser_sessions import Visitor
from app.domain.errors import EmailTaken, NotAllowed, NotSignedIn, TooManyTries
from app.ml import sample
from app.routers.auth import made_account, who_signs_in
from app.routers.callers import Db, address_of
from app.routers.practice_tasks import TheTrainer
from app.schemas.accounts import Registration
from app.web.languages import NAMES
from app.web.pages import STATIC, go_to, prefers_html, render
from app.web.visitors import (
    LANGUAGE,
    THEME,
    THEMES,
    Anybody,
    let_in,
    let_out,
    only_own_forms,
    own_path,
    remember,
    visitor,
    words,
)

router = APIRouter(include_in_schema=False, dependencies=[Depends(only_own_forms)])
welcome = APIRouter()

WELCOME = {"message": "Welcome to StudySmart AI API", "version": "1.0.0", "docs": "/docs"}
DASHBOARD = "/dashboard"
Text = Annotated[str, Form()]
FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")


@welcome.get("/", summary="Welcome")
async def home(request: Request, accept: Annotated[str, Header()] = "*/*") -> Response:
    """Says what this is: in JSON, or as a page to those who prefer HTML."""
    if not prefers_html(accept):
        return JSONResponse(WELCOME, headers={"Vary": "Accept", "Cache-Control": "no-cache"})
    answer = await run_in_threadpool(_home, request)
    answer.headers["Vary"] = "Accept, Cookie"
    return answer


def _home(request: Request) -> Response:
    with new_session().begin() as db:
        found = visitor(request, db)
        empty = sample.is_empty(db)
    given = settings()
    return render(
        request,
        "home.html",
        is_empty=empty,
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
    """For pages that name none, such as JSON in a browser."""
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


@router.get("/sign-in")
def sign_in_page(request: Request, found: Anybody, next: str = "") -> Response:
    if found:
        return go_to(request, own_path(next, DASHBOARD))
    return render(request, "sign_in.html", next=next, email="", wrong=None)


@router.post("/sign-in")
def sign_in(request: Request, db: Db, email: Text = "", password: Text = "", next: Text = "") -> Response:
    try:
        user_id = who_signs_in(email, password, request, db)
    except NotSignedIn as error:
        return _sign_in_again(
            request, error, words(request)("The e-mail address or the password is wrong."), email, next
        )
    except TooManyTries as error:
        return _sign_in_again(request, error, how_long(request, error), email, next)
    answer = go_to(request, own_path(next, DASHBOARD))
    let_in(request, db, answer, user_id)
    return answer


def how_long(request: Request, error: TooManyTries) -> str:
    seconds = float(error.headers["Retry-After"])
    speaking = words(request)
    return speaking("This was tried too often. Try again in %(time)s.", time=speaking.seconds(seconds))


def _sign_in_again(request: Request, error: NotSignedIn | TooManyTries, wrong: str, email: str, next: str) -> Response:
    answer = render(request, "sign_in.html", error.status, next=next, email=email, wrong=wrong)
    if "Retry-After" in error.headers:
        answer.headers["Retry-After"] = error.headers["Retry-After"]
    return answer


@router.post("/sign-out")
def sign_out(request: Request, db: Db) -> Response:
    answer = go_to(request, "/")
    let_out(request, db, answer)
    return answer


@router.get("/register")
def register_page(request: Request, found: Anybody, loaded: str = "") -> Response:
    if found:
        return go_to(request, DASHBOARD)
    return render(request, "register.html", given={}, wrong={}, loaded=bool(loaded))


@router.post("/register")
def register(request: Request, db: Db, email: Text = "", password: Text = "", name: Text = "") -> Response:
    given = {"email": email, "name": name}
    try:
        new = Registration.model_validate({"email": email, "password": password, "name": name.strip() or None})
        account = made_account(new, request, db)
    except ValidationError as error:
        return _register_again(request, 422, given, wrong_fields(request, error))
    except EmailTaken as error:
        taken = words(request)("Somebody has registered with this address. Is it you? Then sign in.")
        return _register_again(request, error.status, given, {"email": taken})
    except TooManyTries as error:
        return _register_again(request, error.status, given, {"": how_long(request, error)})
    answer = go_to(request, DASHBOARD)
    let_in(request, db, answer, account.id)
    return answer


def _register_again(request: Request, status: int, given: dict[str, str], wrong: dict[str, str]) -> Response:
    return render(request, "register.html", status, given=given, wrong=wrong, loaded=False)


def wrong_fields(request: Request, error: ValidationError) -> dict[str, str]:
    """By field, what is wrong with it, in the visitor's language."""
    speaking = words(request)
    said = {
        "email": speaking("Please write an e-mail address, such as ada@example.com."),
        "password": speaking("A password has 8 to 200 characters."),
        "name": speaking("A name has at most 200 characters."),
    }
    fields = [str(each["loc"][0]) for each in error.errors()]
    return {field: said.get(field, str(error)) for field in fields}


@router.post("/preferences")
def prefer(
    request: Request, found: Anybody, db: Db, language: Text = "", theme: Text = "", next: Text = "/"
) -> Response:
    """Language and colours: kept with the account, and in this browser."""
    answer = go_to(request, own_path(next, "/"))
    language = language if language in NAMES else ""
    theme = theme if theme in THEMES else ""
    if found:
        accounts.store_preferences(db, found.id, language or None, theme or None)
    remember(request, answer, LANGUAGE, language)
    remember(request, answer, THEME, theme)
    return answer
