"""Passwords (Argon2id) and signed tokens that expire (JWT, HS256)."""

import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from uuid import UUID

import jwt
from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from app.core.settings import settings

ALGORITHM = "HS256"
LEEWAY_SECONDS = 10  # between the clocks of two machines
LONGEST_TOKEN = 1024  # characters; ours have about 200, and what is longer is not worth reading
HASHER = PasswordHasher()
HASHED_AT_ONCE = 2  # passwords, in a process: each takes 64 MB and every core that it gets


def hash_password(password: str) -> str:
    return HASHER.hash(password)


@lru_cache
def _nobodys_hash() -> str:
    return HASHER.hash("nobody has this password")


def password_fits(password: str, password_hash: str | None) -> bool:
    """Check a password; an unknown account takes as long, so that the time does not tell which addresses are known."""
    try:
        return HASHER.verify(password_hash or _nobodys_hash(), password) and password_hash is not None
    except (Argon2Error, InvalidHashError, UnicodeEncodeError):  # the last: lone surrogates, which no password has
        return False


def rehashed(password: str, password_hash: str) -> str | None:
    """Hash a password that fits anew where its hash was made with other parameters than today's."""
    return hash_password(password) if HASHER.check_needs_rehash(password_hash) else None


@lru_cache
def _signing_key() -> str:
    return settings().signing_key()


def issue_token(user_id: UUID) -> tuple[str, int]:
    """Return a token for this student, and the seconds it lives."""
    lifetime = timedelta(hours=settings().token_hours)
    now = datetime.now(UTC)
    claims = {"sub": str(user_id), "iat": now, "exp": now + lifetime}
    return jwt.encode(claims, _signing_key(), ALGORITHM), int(lifetime.total_seconds())


def student_of(token: str) -> UUID | None:
    """Return who signed in with this token; none where it is forged, expired or not ours."""
    if len(token) > LONGEST_TOKEN:
        return None
    previous = settings().previous_secret_key
    for key in (_signing_key(), *([previous.get_secret_value()] if previous else [])):
        with suppress(jwt.InvalidTokenError, ValueError, RecursionError):  # the last: a header nested a thousand times
            student, expires = _read(token, key)
            return student if expires + LEEWAY_SECONDS > time.time() else None
    return None


@lru_cache(2048)
def _read(token: str, key: str) -> tuple[UUID, float]:
    """Return whose token it is and when it expires, seconds since 1970; only good tokens are remembered."""
    # Not when it was issued: a clock that is set back, or another replica's, must not sign everybody out.
    claims = jwt.decode(
        token, key, [ALGORITHM], options={"require": ["sub", "exp"], "verify_iat": False}, leeway=LEEWAY_SECONDS
    )
    return UUID(claims["sub"]), float(claims["exp"])
