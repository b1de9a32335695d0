"""Service keys from the settings, for admins: made, replaced, revoked. A key is shown once, in the answer itself."""

from math import isfinite
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import Response
from sqlalchemy.orm import Session

from app.crud import service_keys
from app.crud.service_keys import Key
from app.domain.errors import KeyNotFound
from app.routers.dependencies import Db
from app.web.pages import go_to, render
from app.web.sessions import Acting, Admin, only_own_forms, translator_of
from app.web.settings_page import PAGE, settings_page

router = APIRouter(prefix=f"{PAGE}/keys", include_in_schema=False, dependencies=[Depends(only_own_forms)])
Text = Annotated[str, Form()]
MOST_HOURS = 24 * 365


@router.post("")
def create(request: Request, admin: Admin, actor: Acting, db: Db, name: Text = "") -> Response:
    try:
        key = service_keys.create(db, name, actor)
    except ValueError as error:
        return settings_page(request, db, admin, 422, key=str(error))
    return render(request, "key_made.html", key=key, name=name.strip(), old_hours=None)


@router.get("/{key_id}")
def show(request: Request, key_id: str, _admin: Admin, db: Db) -> Response:
    """One key, and what can be done with it."""
    return _page(request, _found(db, key_id))


def _page(request: Request, key: Key, status: int = 200, wrong: str | None = None) -> Response:
    return render(request, "key.html", status, key=key, wrong=wrong)


@router.post("/{key_id}/rotate")
def rotate(request: Request, key_id: str, _admin: Admin, actor: Acting, db: Db, hours: Text = "") -> Response:
    """A new key of the same name; the old one goes on for so many hours."""
    old = _found(db, key_id)
    try:
        goes_on = _hours(hours)
    except ValueError:
        translator = translator_of(request)
        wrong = translator("Please give a number of hours from 0 to %(most)s.", most=translator.number(MOST_HOURS))
        return _page(request, old, 422, wrong)
    try:
        key = service_keys.rotate(db, old.name, goes_on, actor)
    except ValueError as error:
        return _page(request, old, 409, str(error))
    return render(request, "key_made.html", key=key, name=old.name, old_hours=goes_on)


@router.post("/{key_id}/revoke")
def revoke(request: Request, key_id: str, _admin: Admin, actor: Acting, db: Db) -> Response:
    key = _found(db, key_id)
    try:
        service_keys.revoke(db, key.prefix, actor)
    except ValueError as error:
        return _page(request, key, 409, str(error))
    return go_to(request, PAGE, done="revoked")


def _hours(given: str) -> float:
    hours = float(given.strip().replace(",", "."))
    if not (isfinite(hours) and 0 <= hours <= MOST_HOURS):
        raise ValueError(given)
    return hours


def _found(db: Session, key_id: str) -> Key:
    """Raises KeyNotFound."""
    try:
        wanted = UUID(key_id)
    except ValueError:
        raise KeyNotFound from None
    found = next((key for key in service_keys.listed(db) if key.id == wanted), None)
    if found is None:
        raise KeyNotFound
    return found
