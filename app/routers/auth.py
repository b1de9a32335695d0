"""Students register and sign in."""

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.security import OAuth2PasswordRequestForm

from app.core import security
from app.crud import accounts
from app.domain.errors import NotSignedIn
from app.routers.callers import Db
from app.schemas.accounts import AccountOut, Registration, Token
from app.schemas.problem import problems

router = APIRouter(prefix="/auth", tags=["Sign in"])


@router.post("/register", status_code=201, responses=problems(400, 409, 422))
def register(new: Registration, db: Db) -> AccountOut:
    """Make an account for a student. The e-mail address is the name to sign in with; no mail is sent."""
    account = accounts.register(db, new.email, new.name, security.hash_password(new.password))
    return AccountOut.model_validate(account)


@router.post("/token", responses=problems(400, 401, 422))
def sign_in(form: Annotated[OAuth2PasswordRequestForm, Depends()], db: Db) -> Token:
    """Sign in: `username` is the e-mail address. The answer's `access_token` goes into `Authorization: Bearer`."""
    if "\x00" in form.username:
        raise NotSignedIn("E-mail address or password is wrong.")
    found = accounts.sign_in_data(db, form.username.strip().lower())
    if not security.password_fits(form.password, found[1] if found else None) or found is None:
        raise NotSignedIn("E-mail address or password is wrong.")
    user_id, password_hash = found
    if security.HASHER.check_needs_rehash(password_hash):
        accounts.store_password(db, user_id, security.hash_password(form.password))
    token, seconds = security.issue_token(user_id)
    return Token(access_token=token, expires_in=seconds)
