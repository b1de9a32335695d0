"""A student's account: name, language, colours and password."""

from fastapi import APIRouter, Request

from app.core.security import check_strength
from app.crud import accounts, person
from app.domain.errors import NotAccepted, NotSignedIn
from app.routers.auth import new_token, set_password, who_signs_in
from app.routers.dependencies import HASHES_PASSWORDS, Db
from app.routers.people import Student
from app.schemas.accounts import AccountChange, PasswordChange, Token
from app.schemas.person import Me
from app.schemas.problem import problems

router = APIRouter(prefix="/users/me", tags=["A person's data"])


@router.patch("", responses=problems(400, 401, 403, 413, 422))
def change_my_account(change: AccountChange, student: Student, db: Db) -> Me:
    """Change what you are called, and how the pages speak and look; what is left out stays."""
    if given := change.model_dump(include=change.model_fields_set):
        accounts.change(db, student, given)
    return Me.model_validate(person.account(db, student))


@router.post("/password", responses=problems(400, 401, 403, 413, 422), dependencies=[HASHES_PASSWORDS])
def change_my_password(change: PasswordChange, student: Student, request: Request, db: Db) -> Token:
    """Choose another password. Every browser and every token is signed out; the answer has a new token.

    A wrong `old_password` is a 422, and counts as a sign-in that failed: too many are a 429.
    """
    account = person.account(db, student)
    check_strength(change.new_password, account["email"], account["name"])
    try:
        who_signs_in(account["email"], change.old_password, request, db)
    except NotSignedIn:
        raise NotAccepted("old_password: This is not your password.") from None
    set_password(db, student, change.new_password)
    return new_token(db, student)
