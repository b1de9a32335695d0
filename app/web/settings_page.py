"""The settings: name, password, language and colours, browsers; data and keys have files of their own."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import Response
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.orm import Session

from app.core import security
from app.core.languages import Translator
from app.core.settings import settings
from app.crud import accounts, browser_sessions, service_keys
from app.crud.browser_sessions import Visitor
from app.domain.fields import Text200
from app.routers.dependencies import Db
from app.schemas.accounts import Password
from app.web.own_password import wrong_password
from app.web.pages import go_to, render
from app.web.sessions import COOKIE, SignedIn, let_in, only_own_forms, translator_of

router = APIRouter(prefix="/dashboard/settings", include_in_schema=False, dependencies=[Depends(only_own_forms)])
PAGE = "/dashboard/settings"
NAME: TypeAdapter[str] = TypeAdapter(Text200)
PASSWORD: TypeAdapter[str] = TypeAdapter(Password)
Text = Annotated[str, Form()]


@router.get("")
def show(request: Request, visitor: SignedIn, db: Db, done: str = "") -> Response:
    return settings_page(request, db, visitor, done=what_was_done(translator_of(request), done))


def settings_page(
    request: Request, db: Session, visitor: Visitor, status: int = 200, done: str | None = None, **wrong: str
) -> Response:
    """The page; `wrong` says by field what is not accepted."""
    return render(
        request,
        "settings.html",
        status,
        done=done,
        wrong=wrong,
        browsers=browser_sessions.count(db, visitor.id),
        token_seconds=settings().token_hours * 3600,
        keys=service_keys.listed(db) if visitor.is_admin else [],
    )


def what_was_done(translator: Translator, code: str) -> str | None:
    """The sentence for what a form came to; the address bar holds its code only."""
    said = {
        "name": translator("Your name is saved."),
        "look": translator("Language and colours are saved."),
        "password": translator("Your password is changed, and every other browser is signed out."),
        "browsers": translator("Every other browser is signed out."),
        "revoked": translator("The key is revoked: whoever sends it is refused from now on."),
    }
    return said.get(code)


@router.post("/name")
def rename(request: Request, visitor: SignedIn, db: Db, name: Text = "") -> Response:
    try:
        accounts.store_name(db, visitor.id, NAME.validate_python(name) if name.strip() else None)
    except ValidationError:
        wrong = translator_of(request)("A name has at most 200 characters.")
        return settings_page(request, db, visitor, 422, name=wrong)
    return go_to(request, PAGE, done="name")


@router.post("/password")
def change_password(request: Request, visitor: SignedIn, db: Db, old: Text = "", new: Text = "") -> Response:
    try:
        PASSWORD.validate_python(new)
    except ValidationError:
        wrong = translator_of(request)("A password has 8 to 200 characters.")
        return settings_page(request, db, visitor, 422, new=wrong)
    if refused := wrong_password(request, db, visitor, old):
        return refused.on(settings_page(request, db, visitor, refused.status, old=refused.text))
    accounts.store_password(db, visitor.id, security.hash_password(new))
    return _only_this_browser(request, db, visitor, "password")


@router.post("/browsers")
def sign_out_others(request: Request, visitor: SignedIn, db: Db) -> Response:
    return _only_this_browser(request, db, visitor, "browsers")


def _only_this_browser(request: Request, db: Session, visitor: Visitor, done: str) -> Response:
    """And with a new cookie: whoever holds a copy of this one is signed out too."""
    answer = go_to(request, PAGE, done=done)
    browser_sessions.end_others(db, visitor.id, request.cookies[COOKIE])
    let_in(request, db, answer, visitor.id)
    return answer
