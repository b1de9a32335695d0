"""How often one may try to sign in and to register, by where the request comes from and by account."""

from collections.abc import Sequence
from hashlib import sha256
from itertools import count

from fastapi import Request
from sqlalchemy.orm import Session

from app.core.http.cookies import BROWSER, guarded
from app.core.http.neighbourhood import neighbourhood
from app.core.settings import settings
from app.crud import known_places, rate_limits
from app.crud.rate_limits import Limit, key_of
from app.domain.errors import TooManyTries
from app.routers.dependencies import address_of

MINUTE = 60
LINKS_PER_ACCOUNT, LINKS_PER_ADDRESS = 3, 60  # for lost passwords, by mail: in an hour, in ten minutes
CLEANED_EVERY = 100  # counted tries of this process
tries = count()


def count_sign_in(request: Request, db: Session, email: str, as_stored: str) -> list[Limit]:
    """Count a sign-in as failed, before it is tried.

    From where the account has signed in before, what others try counts neither against it nor against the place.

    Raises:
        TooManyTries: whether or not there is such an account.
    """
    given, address = settings(), neighbourhood(address_of(request))
    known = known_places.first_known(db, [as_stored, email], places(request)) if as_stored else None
    limits = [
        Limit(key_of("sign in from", email, known.hex() if known else address), given.failed_sign_ins, 5 * MINUTE)
    ]
    if not known:
        limits += [
            Limit(key_of("sign in anywhere from", address), given.failed_sign_ins_per_address, 5 * MINUTE),
            Limit(key_of("sign in", email), given.failed_sign_ins_per_account, 60 * MINUTE),
        ]
    _count(db, limits, "Too many attempts to sign in have failed")
    return limits


def signed_in(db: Session, limits: Sequence[Limit]) -> None:
    """Take a sign-in back that did not fail."""
    first, *others = limits
    rate_limits.forget(db, first)
    for limit in others:
        rate_limits.give_back(db, limit)


def forget_failures(request: Request, db: Session, email: str) -> None:
    """Let whoever has just set a new password sign in with it, whatever was tried from here before."""
    known = known_places.first_known(db, [email], places(request))
    whence = known.hex() if known else neighbourhood(address_of(request))
    rate_limits.forget(db, Limit(key_of("sign in from", email, whence), 0, 0))


def count_forgotten(request: Request, db: Session, email: str) -> None:
    """Count that a link was asked for by mail. Raises TooManyTries, whether or not there is such an account."""
    address = neighbourhood(address_of(request))
    limits = [
        Limit(key_of("forgot", email), LINKS_PER_ACCOUNT, 60 * MINUTE),
        Limit(key_of("forgot from", address), LINKS_PER_ADDRESS, 10 * MINUTE),
    ]
    _count(db, limits, "Too many links were asked for")


def count_registration(request: Request, db: Session) -> None:
    """Count a registration. Raises TooManyTries."""
    address = neighbourhood(address_of(request))
    most = settings().registrations_per_address
    _count(db, [Limit(key_of("register", address), most, 10 * MINUTE)], "Too many accounts were asked for from here")


def places(request: Request) -> list[bytes]:
    """Return what tells where a request comes from: its browser, if that has signed in before, and its address."""
    browser = request.cookies.get(guarded(request, BROWSER))
    at = sha256(f"address {neighbourhood(address_of(request))}".encode()).digest()
    return [browser_place(browser), at] if browser else [at]


def browser_place(cookie: str) -> bytes:
    return sha256(f"browser {cookie}".encode("utf-8", "surrogatepass")).digest()


def _count(db: Session, limits: Sequence[Limit], what: str) -> None:
    """Count and commit, so that it stays counted however the request ends."""
    wait = rate_limits.count(db, limits)
    db.commit()
    if next(tries) % CLEANED_EVERY == 0:
        rate_limits.clean(db)
        db.commit()
    if wait:
        raise TooManyTries(f"{what}; try again in {wait} seconds.", wait)
