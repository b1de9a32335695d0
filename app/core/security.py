"""Passwords (Argon2id) and signed tokens that expire (JWT, HS256)."""

import hmac
import re
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from unicodedata import normalize
from uuid import UUID

import jwt
from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from app.core.settings import settings
from app.domain.errors import WeakPassword
from app.domain.tasks import Claim

ALGORITHM = "HS256"
LEEWAY_SECONDS = 10  # between the clocks of two machines
LONGEST_TOKEN = 1024  # characters; ours have about 200, and what is longer is not worth reading
HASHER = PasswordHasher()
LONGEST_PASSWORD = 200  # characters
LOOKED_AT = 72  # characters of a new password that its strength is measured by: zxcvbn takes the longer the more
# It tries all that these can stand for, as $ for s: many different ones in a long password took ten seconds.
STAND_FOR_LETTERS = frozenset("!$%(+0123456789<@[{|")
LOOKED_AT_THEN, FEW_DIFFERENT = 20, 5
SERVICE_NAME = "smartstudy"
LEAST_SCORE = 2  # of 0-4: about a million guesses
HASHED_AT_ONCE = 2  # passwords, in a process: each takes 64 MB and every core that it gets


def hash_password(password: str) -> str:
    return HASHER.hash(_normalised(password))


def check_strength(password: str, *known: str | None) -> None:
    """Refuse a password that is among the first to be guessed, also by who knows the account's address and name.

    Raises:
        WeakPassword: zxcvbn takes it for guessed within a million tries.
    """
    from zxcvbn import zxcvbn

    told = [part for each in known if each for part in (each, each.partition("@")[0], *re.split(r"\W+", each)) if part]
    looked_at = _normalised(password)[:LOOKED_AT]
    if len(STAND_FOR_LETTERS & set(looked_at)) > FEW_DIFFERENT:
        looked_at = looked_at[:LOOKED_AT_THEN]
    if zxcvbn(looked_at, [SERVICE_NAME, *told])["score"] < LEAST_SCORE:
        raise WeakPassword


@lru_cache
def _nobodys_hash() -> str:
    return HASHER.hash("nobody has this password")


def password_fits(password: str, password_hash: str | None) -> bool:
    """Check a password; an unknown account takes as long, so that the time does not tell which addresses are known."""
    if len(password) > LONGEST_PASSWORD:  # nobody's, and to normalise it may take seconds
        password, password_hash = "", None
    spellings = {_normalised(password): None, password: None}  # the second: hashed before there was one spelling
    return any(_verifies(each, password_hash or _nobodys_hash()) for each in spellings) and password_hash is not None


def _verifies(password: str, password_hash: str) -> bool:
    try:
        return HASHER.verify(password_hash, password)
    except (Argon2Error, InvalidHashError, UnicodeEncodeError):  # the last: lone surrogates, which no password has
        return False


def _normalised(password: str) -> str:
    """One spelling, whichever way a keyboard writes an accent."""
    return normalize("NFKC", password)


def rehashed(password: str, password_hash: str) -> str | None:
    """Hash a password that fits anew where its hash was made with other parameters than today's."""
    return hash_password(password) if HASHER.check_needs_rehash(password_hash) else None


@lru_cache
def _signing_key() -> str:
    return settings().signing_key()


def keyed_hash(*parts: bytes) -> bytes:
    """Return a hash of these that is of no use without our key: what was hashed can't be guessed from it."""
    lengths = b"".join(len(part).to_bytes(8) for part in parts)
    return hmac.digest(_signing_key().encode(), b"".join((lengths, *parts)), "sha256")


def issue_token(user_id: UUID, token_id: UUID) -> tuple[str, int]:
    """Return a token for this student, and the seconds it lives; `app/crud/sessions.py` knows the id."""
    lifetime = timedelta(hours=settings().token_hours)
    now = datetime.now(UTC)
    claims = {"sub": str(user_id), "jti": str(token_id), "iat": now, "exp": now + lifetime}
    return jwt.encode(claims, _signing_key(), ALGORITHM), int(lifetime.total_seconds())


def claim_by_token(token: str) -> Claim | None:
    """Return who signed in with this token, and its id; none where it is forged, expired or not ours."""
    if len(token) > LONGEST_TOKEN:
        return None
    previous = settings().previous_secret_key
    for key in (_signing_key(), *([previous.get_secret_value()] if previous else [])):
        with suppress(jwt.InvalidTokenError, ValueError, RecursionError):  # the last: a header nested a thousand times
            claim, expires = _read(token, key)
            return claim if expires + LEEWAY_SECONDS > time.time() else None
    return None


@lru_cache(2048)
def _read(token: str, key: str) -> tuple[Claim, float]:
    """Return whose token it is and when it expires, seconds since 1970; only good tokens are remembered."""
    # Not when it was issued: a clock that is set back, or another replica's, must not sign everybody out.
    claims = jwt.decode(
        token, key, [ALGORITHM], options={"require": ["sub", "exp"], "verify_iat": False}, leeway=LEEWAY_SECONDS
    )
    # Tokens of before 0011 have no id: all of an account have that of the account.
    claim = Claim(student=UUID(claims["sub"]), token=UUID(claims.get("jti") or claims["sub"]))
    return claim, float(claims["exp"])
