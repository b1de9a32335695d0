"""Students register and sign in."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from fastapi.security import OAuth2PasswordRequestForm
from sqlalchemy.orm import Session

from app.core import security
from app.core.addresses import plainest
from app.core.settings import settings
from app.crud import accounts, known_places, sessions
from app.domain.errors import AccountDisabled, NotSignedIn
from app.routers import limits
from app.routers.dependencies import HASHES_PASSWORDS, Db
from app.routers.once import Once
from app.schemas.accounts import AccountOut, Registration, Token
from app.schemas.problem import problems

SIGN_IN = {"username": "grace@example.com", "password": "another long sentence"}
router = APIRouter(prefix="/auth", tags=["Sign in"], route_class=Once)


@router.post("/register", status_code=201, responses=problems(400, 409, 413, 422, 429), dependencies=[HASHES_PASSWORDS])
def register(new: Registration, request: Request, db: Db) -> AccountOut:
    """Make an account for a student. The e-mail address is the name to sign in with; no mail is sent."""
    return AccountOut.model_validate(made_account(new, request, db))


@router.post(
    "/token",
    responses=problems(400, 401, 403, 413, 422, 429),
    dependencies=[HASHES_PASSWORDS],
    openapi_extra={"requestBody": {"content": {"application/x-www-form-urlencoded": {"example": SIGN_IN}}}},
)
def sign_in(form: Annotated[OAuth2PasswordRequestForm, Depends()], request: Request, db: Db) -> Token:
    """Sign in: `username` is the e-mail address. The answer's `access_token` goes into `Authorization: Bearer`."""
    return new_token(db, who_signs_in(form.username, form.password, request, db))


def new_token(db: Session, user_id: UUID) -> Token:
    """Make a token of the account."""
    token_id = sessions.start_token(db, user_id, settings().token_hours * 3600)
    token, seconds = security.issue_token(user_id, token_id)
    return Token(access_token=token, expires_in=seconds)


def made_account(new: Registration, request: Request, db: Session) -> accounts.Account:
    """Make the account. Raises TooManyTries, WeakPassword, EmailTaken or LooksTaken."""
    limits.count_registration(request, db)
    security.check_strength(new.password, new.email, new.name)
    hashed = security.hash_password(new.password)
    account = accounts.register(db, new.email, new.name, hashed, time_zone=new.time_zone)
    known_places.remember(db, account.id, limits.places(request))
    return account


def who_signs_in(address: str, password: str, request: Request, db: Session) -> UUID:
    """Return whose address and password these are. Raises TooManyTries, NotSignedIn or AccountDisabled.

    No connection is held while the password is hashed; who was erased or got a new password meanwhile is not let in.
    """
    as_stored, email = address.strip().lower(), plainest(address)  # the first: accounts of before there was a rule
    known = can_be_stored(email)
    counted = limits.count_sign_in(request, db, email, as_stored if known else "")
    found = accounts.sign_in_data(db, as_stored, email) if known else None
    db.commit()
    user_id, password_hash = found or (None, None)
    fits = security.password_fits(password, password_hash)
    better = security.rehashed(password, password_hash) if fits and password_hash else None
    if not fits or user_id is None or not accounts.still_has(db, user_id, password_hash):
        if fits and user_id is not None and accounts.is_disabled(db, user_id):
            raise AccountDisabled
        raise NotSignedIn("E-mail address or password is wrong.")
    if better:
        accounts.store_hash(db, user_id, better, instead_of=password_hash)
    limits.signed_in(db, counted)
    known_places.remember(db, user_id, limits.places(request))
    return user_id


def set_password(db: Session, user_id: UUID, password: str) -> None:
    """Store a password that was found strong; every browser and every token of the account ends.

    Raises:
        NotSignedIn: another one was stored at the same moment, so the old one, with which this was asked, is none.
    """
    before = accounts.password_hash(db, user_id)
    db.commit()  # no connection is held while it is hashed
    if not accounts.store_hash(db, user_id, security.hash_password(password), instead_of=before):
        raise NotSignedIn("The password was changed at the same moment; sign in with the new one.")
    sessions.end_all(db, user_id)


def can_be_stored(text: str) -> bool:
    """Tell whether it has no NUL, and no lone surrogates, which a form in other letters than UTF-8 can hold."""
    return "\x00" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)
