"""The settings: name, password, browsers; data taken along and erased; service keys, for admins."""

from collections.abc import AsyncIterator, Mapping
from math import isfinite
from typing import Annotated, Literal
from uuid import UUID

from fastapi import BackgroundTasks, Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.orm import Session

from app.core import security
from app.crud import accounts, allowed_schools, browser_sessions, erasures, service_keys, sessions
from app.crud.browser_sessions import Visitor
from app.crud.service_keys import Key
from app.domain.days import zones
from app.domain.errors import KeyNotFound, NotSignedIn, SchoolNotFound, SessionNotFound, TooManyTries, WeakPassword
from app.domain.fields import Text200, TimeZone
from app.routers.auth import set_password, who_signs_in
from app.routers.dependencies import HASHES_PASSWORDS, Db, Serving, TheTrainer
from app.routers.people import download, erase_now
from app.schemas.accounts import Password
from app.web.names import unfit_text
from app.web.pages import go_to, render
from app.web.sessions import (
    Acting,
    Admin,
    FormText,
    SignedIn,
    browser_zone,
    forget,
    let_in,
    page_router,
    session_of,
    translator_of,
)
from app.web.signing_in import how_long, too_weak

PAGE = "/dashboard/settings"
router = page_router(PAGE)
NAME: TypeAdapter[str] = TypeAdapter(Text200)
ZONE: TypeAdapter[str] = TypeAdapter(TimeZone)
PASSWORD: TypeAdapter[str] = TypeAdapter(Password)
MOST_HOURS = 24 * 365  # that a replaced key goes on


@router.get("")
def show(request: Request, visitor: SignedIn, db: Db, done: str = "") -> Response:
    translator = translator_of(request)
    messages = {  # of what a form came to; the address bar holds its code only
        "name": translator("Your name is saved."),
        "zone": translator("Your time zone is saved."),
        "look": translator("Language and colours are saved."),
        "password": translator("Your password is changed; every other browser and every token is signed out."),
        "reset": translator("Your password is set; every other browser and every token is signed out."),
        "browsers": translator("Every other browser is signed out."),
        "ended": translator("It is signed out: whoever has it has to sign in again."),
        "allowed": translator("The school may record tasks for you now."),
        "school": translator("The school records nothing new for you any more; what it recorded stays."),
        "revoked": translator("The key is revoked: whoever sends it is refused from now on."),
    }
    return _page(request, db, visitor, done=messages.get(done))


def _page(
    request: Request, db: Session, visitor: Visitor, status: int = 200, done: str | None = None, **wrong: str
) -> Response:
    """Show the page; `wrong` says by field what is not accepted."""
    return render(
        request,
        "settings.html",
        status,
        done=done,
        wrong=wrong,
        zones=sorted(zones()),
        browser_zone=browser_zone(request),
        browsers=browser_sessions.count(db, visitor.id),
        signed_in_with=sessions.listed(db, visitor.id),
        keys=service_keys.listed(db) if visitor.is_admin else [],
        schools=allowed_schools.listed(db, visitor.id),
    )


@router.post("/name")
def rename(request: Request, visitor: SignedIn, db: Db, name: FormText = "") -> Response:
    try:
        accounts.store_name(db, visitor.id, NAME.validate_python(name) if name.strip() else None)
    except ValidationError as error:
        translator = translator_of(request)
        wrong = unfit_text(translator, error, translator("A name has at most 200 characters."))
        return _page(request, db, visitor, 422, name=wrong)
    return go_to(request, PAGE, done="name")


@router.post("/zone")
def move(request: Request, visitor: SignedIn, db: Db, zone: FormText = "") -> Response:
    """Keep where the days begin; left empty, the browser that shows the next page says it."""
    try:
        accounts.change(db, visitor.id, {"time_zone": ZONE.validate_python(zone) if zone else None})
    except ValidationError:
        translator = translator_of(request)
        return _page(request, db, visitor, 422, zone=translator("Please choose one of the time zones."))
    return go_to(request, PAGE, done="zone")


@router.post("/password", dependencies=[HASHES_PASSWORDS])
def change_password(request: Request, visitor: SignedIn, db: Db, old: FormText = "", new: FormText = "") -> Response:
    try:
        PASSWORD.validate_python(new)
    except ValidationError:
        wrong = translator_of(request)("A password has 8 to 200 characters.")
        return _page(request, db, visitor, 422, new=wrong)
    try:
        security.check_strength(new, visitor.email, visitor.name)
    except WeakPassword:
        return _page(request, db, visitor, 422, new=too_weak(request))
    if refused := _wrong_password(request, db, visitor, old):
        text, status, headers = refused
        answer = _page(request, db, visitor, status, old=text)
        answer.headers.update(headers)
        return answer
    try:
        set_password(db, visitor.id, new)
    except NotSignedIn:
        return _page(request, db, visitor, 422, old=translator_of(request)("This is not your password."))
    return _only_this_browser(request, db, visitor, "password")


def _wrong_password(
    request: Request, db: Session, visitor: Visitor, given: str
) -> tuple[str, int, Mapping[str, str]] | None:
    """Why it is not accepted, with the answer's status and headers; none where it is right.

    Asked for once more before what a stolen session must not do; counted and limited as a sign-in is, so that nobody
    can try here what is slow there.
    """
    try:
        who_signs_in(visitor.email, given, request, db)
    except NotSignedIn:
        return translator_of(request)("This is not your password."), 422, {}
    except TooManyTries as error:
        return how_long(request, error), error.status, error.headers
    return None


@router.post("/browsers")
def sign_out_others(request: Request, visitor: SignedIn, db: Db) -> Response:
    return _only_this_browser(request, db, visitor, "browsers")


def _only_this_browser(request: Request, db: Session, visitor: Visitor, done: str) -> Response:
    """Sign out all other browsers, and whoever holds a copy of this one's cookie: it gets a new one."""
    answer = go_to(request, PAGE, done=done)
    browser_sessions.end_others(db, visitor.id, session_of(request) or "")
    let_in(request, db, answer, visitor.id)
    return answer


async def only_export(visitor: SignedIn, request: Request) -> AsyncIterator[UUID]:
    """Return whose data are exported, one export at a time."""
    with request.app.state.exports.only_one(visitor.id):
        yield visitor.id


@router.post("/sessions/{session_id}/end")
def end_session(session_id: UUID, request: Request, visitor: SignedIn, db: Db) -> Response:
    """End one browser's session or one token; whoever ends their own is led to sign in."""
    if not sessions.end(db, visitor.id, session_id):
        raise SessionNotFound
    return go_to(request, PAGE, done="ended")


@router.post("/schools")
def allow_school(request: Request, visitor: SignedIn, db: Db, school: FormText = "") -> Response:
    """Let a school's program record tasks for this student."""
    try:
        allowed_schools.allow(db, visitor.id, NAME.validate_python(school))
    except (ValidationError, SchoolNotFound):
        translator = translator_of(request)
        wrong = translator("No school's key has this name here: ask your school how its key is called.")
        return _page(request, db, visitor, 422, school=wrong)
    return go_to(request, PAGE, done="allowed")


@router.post("/schools/{school_id}/revoke")
def revoke_school(school_id: UUID, request: Request, visitor: SignedIn, db: Db) -> Response:
    allowed_schools.revoke(db, visitor.id, school_id)
    return go_to(request, PAGE, done="school")


@router.get("/export")
async def export(
    student: Annotated[UUID, Depends(only_export)], request: Request, db: Db, format: Literal["json", "csv"] = "json"
) -> Response:
    """Send what `GET /users/me/export` gives for a token, for the browser's session."""
    await run_in_threadpool(db.commit)  # the session's connection goes back before the export waits for its turn
    return await download(request, student, format)


@router.get("/delete")
def ask_first(request: Request, visitor: SignedIn, db: Db) -> Response:
    """Say what goes, and that it is for good."""
    return render(request, "settings_delete.html", wrong=None, found=erasures.find(db, visitor.id))


@router.post("/delete", dependencies=[HASHES_PASSWORDS])
def delete(
    request: Request, visitor: SignedIn, db: Db, serving: Serving, trainer: TheTrainer, background: BackgroundTasks,
    password: FormText = "",
) -> Response:  # fmt: skip
    """Erase everything and the account, as `DELETE /users/me` does."""
    if refused := _wrong_password(request, db, visitor, password):
        text, status, headers = refused
        answer = render(request, "settings_delete.html", status, wrong=text, found=erasures.find(db, visitor.id))
        answer.headers.update(headers)
        return answer
    erase_now(visitor.id, db, serving, trainer, background)
    gone = go_to(request, "/", erased=1)
    forget(request, gone)
    return gone


@router.post("/keys")
def create_key(
    request: Request, admin: Admin, actor: Acting, db: Db, name: FormText = "", own_students: FormText = ""
) -> Response:
    """Make a service key, shown once, in the answer itself."""
    try:
        key = service_keys.create(db, name, actor, own_students=bool(own_students))
    except ValueError as error:
        return _page(request, db, admin, 422, key=str(error))
    return render(request, "key_made.html", key=key, name=name.strip(), old_hours=None)


@router.get("/keys/{key_id}")
def show_key(request: Request, key_id: str, _admin: Admin, db: Db) -> Response:
    """Show one key, and what can be done with it."""
    return render(request, "key.html", key=_key(db, key_id), wrong=None)


@router.post("/keys/{key_id}/rotate")
def rotate(request: Request, key_id: str, _admin: Admin, actor: Acting, db: Db, hours: FormText = "") -> Response:
    """Make a new key of the same name; the old one goes on for so many hours."""
    old = _key(db, key_id)
    try:
        goes_on = _hours(hours)
    except ValueError:
        translator = translator_of(request)
        most = translator.number(MOST_HOURS)
        wrong = translator("Please give a number of hours from 0 to %(most)s.", most=most)
        return render(request, "key.html", 422, key=old, wrong=wrong)
    try:
        key = service_keys.rotate(db, old.name, goes_on, actor)
    except ValueError as error:
        return render(request, "key.html", 409, key=old, wrong=str(error))
    return render(request, "key_made.html", key=key, name=old.name, old_hours=goes_on)


@router.post("/keys/{key_id}/revoke")
def revoke(request: Request, key_id: str, _admin: Admin, actor: Acting, db: Db) -> Response:
    key = _key(db, key_id)
    try:
        service_keys.revoke(db, key.prefix, actor)
    except ValueError as error:
        return render(request, "key.html", 409, key=key, wrong=str(error))
    return go_to(request, PAGE, done="revoked")


def _hours(given: str) -> float:
    hours = float(given.strip().replace(",", "."))
    if not (isfinite(hours) and 0 <= hours <= MOST_HOURS):
        raise ValueError(given)
    return hours


def _key(db: Session, key_id: str) -> Key:
    """Look a key up. Raises KeyNotFound."""
    found = next((key for key in service_keys.listed(db) if str(key.id) == key_id.lower()), None)
    if found is None:
        raise KeyNotFound
    return found
