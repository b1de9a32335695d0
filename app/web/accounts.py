"""For admins: who has an account, disabled and enabled by forms, and given a link for a lost password."""

from uuid import UUID

from fastapi import Request
from fastapi.responses import Response
from sqlalchemy.orm import Session

from app.core.http.public_address import LINK, of_request
from app.crud import users
from app.domain.errors import AccountDisabled, LastAdmin, OwnAccount
from app.routers.dependencies import Db, ReadDb
from app.web.admin import position
from app.web.pages import go_to, render
from app.web.sessions import Acting, Admin, page_router, translator_of

PAGE = "/admin/accounts"
router = page_router(PAGE)
ACCOUNTS_PER_PAGE = 50


@router.get("")
def listed(request: Request, _admin: Admin, db: ReadDb, search: str = "", after: str = "", done: str = "") -> Response:
    """Show the accounts, the newest first."""
    translator = translator_of(request)
    messages = {  # of what a form came to; the address bar holds its code only
        "disabled": translator("The account is disabled: it is signed out everywhere, and its data stays."),
        "enabled": translator("The account may sign in again."),
    }
    return _page(request, db, search=search, start=position(after) or 0, done=messages.get(done))


def _page(
    request: Request,
    db: Session,
    status: int = 200,
    search: str = "",
    start: int = 0,
    done: str | None = None,
    wrong: str | None = None,
) -> Response:
    sought = search.replace("\x00", "").strip()[:200]
    found = users.listed(db, search=sought, limit=ACCOUNTS_PER_PAGE + 1, offset=start)
    return render(
        request,
        "admin_accounts.html",
        status,
        entries=found[:ACCOUNTS_PER_PAGE],
        following=start + ACCOUNTS_PER_PAGE if len(found) > ACCOUNTS_PER_PAGE else None,
        search=sought,
        done=done,
        wrong=wrong,
    )


@router.post("/{account_id}/disable")
def disable(account_id: UUID, request: Request, _admin: Admin, actor: Acting, db: Db) -> Response:
    translator = translator_of(request)
    try:
        users.disable(db, account_id, actor)
    except OwnAccount as error:
        return _page(request, db, error.status, wrong=translator("Nobody can disable their own account."))
    except LastAdmin as error:
        return _page(request, db, error.status, wrong=translator("This is the last admin; make another one first."))
    return go_to(request, PAGE, done="disabled")


@router.post("/{account_id}/enable")
def enable(account_id: UUID, request: Request, _admin: Admin, actor: Acting, db: Db) -> Response:
    users.enable(db, account_id, actor)
    return go_to(request, PAGE, done="enabled")


@router.post("/{account_id}/link")
def make_link(account_id: UUID, request: Request, _admin: Admin, actor: Acting, db: Db) -> Response:
    """Make a link for a new password, shown once, in the answer itself."""
    try:
        token, expires_at = users.password_link(db, account_id, actor)
    except AccountDisabled as error:
        translator = translator_of(request)
        return _page(request, db, error.status, wrong=translator("The account is disabled: enable it first."))
    link = f"{of_request(request)}{LINK}{token}"
    return render(request, "account_link.html", link=link, expires_at=expires_at, account=users.get(db, account_id))
