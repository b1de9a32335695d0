"""Accounts, for admins: listed, disabled and enabled, and given a link for a lost password."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request

from app.core.http.public_address import LINK, of_request
from app.crud import users
from app.domain.fields import StoredText
from app.routers.dependencies import Acting, Admin, Db, OnceForCaller
from app.schemas.problem import problems
from app.schemas.users import PasswordLinkOut, UserOut, UserPage

router = APIRouter(prefix="/users", tags=["Accounts"], route_class=OnceForCaller)
MOST = 2**31 - 1
CHANGES = problems(401, 403, 404, 409, 422)


@router.get("", responses=problems(401, 403, 422))
def list_users(
    _admin: Admin,
    db: Db,
    q: Annotated[StoredText | None, Query(description="What address or name holds, in any case; or an id.")] = None,
    offset: Annotated[int, Query(ge=0, le=MOST, description="The `next` of the page before.")] = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> UserPage:
    """Every account, the newest first. For admins."""
    found = users.listed(db, search=q or "", limit=limit + 1, offset=offset)
    items = [UserOut.model_validate(each) for each in found[:limit]]
    return UserPage(items=items, next=offset + limit if len(found) > limit else None)


@router.post("/{account_id}/reset-password", responses=CHANGES)
def make_password_link(account_id: UUID, _admin: Admin, actor: Acting, db: Db, request: Request) -> PasswordLinkOut:
    """Make a link by which its owner sets a new password: it works once, for 24 hours. For admins.

    Hand it over yourself; no mail is sent. The old password holds until then; with the new one every browser and token
    of the account ends. A disabled account is a 403: enable it first.
    """
    token, expires_at = users.password_link(db, account_id, actor)
    return PasswordLinkOut(link=f"{of_request(request)}{LINK}{token}", expires_at=expires_at)


@router.post("/{account_id}/disable", responses=CHANGES)
def disable_user(account_id: UUID, _admin: Admin, actor: Acting, db: Db) -> UserOut:
    """Let an account sign in no more; its browsers, tokens and links end at once, its data stays. For admins.

    One's own account, and that of the last admin, is a 409. Once more changes nothing.
    """
    return UserOut.model_validate(users.disable(db, account_id, actor))


@router.post("/{account_id}/enable", responses=CHANGES)
def enable_user(account_id: UUID, _admin: Admin, actor: Acting, db: Db) -> UserOut:
    """Let a disabled account sign in again, with the password it had. For admins."""
    return UserOut.model_validate(users.enable(db, account_id, actor))
