"""Browsers in which somebody is signed in. The cookie holds 256 random bits; the table holds their hash."""

import hashlib
import secrets
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from app.crud import demonstration, sessions
from app.crud.rows import execute, first_as, number

FIND = f"""
    SELECT users.id, email, name, is_admin, language, theme, time_zone, {demonstration.THERE} AS sees_demonstration
    FROM browser_sessions JOIN users ON users.id = user_id
    WHERE token_hash = :hash AND expires_at > now() AND disabled_at IS NULL"""
START = """
    INSERT INTO browser_sessions (token_hash, user_id, expires_at)
    VALUES (:hash, :user_id, now() + make_interval(secs => :seconds))"""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who looks at a page, signed in."""

    id: UUID
    email: str
    name: str | None
    is_admin: bool
    language: str | None  # chosen in the settings
    theme: str | None
    time_zone: str | None
    sees_demonstration: bool  # some of the students are made up

    @property
    def called(self) -> str:
        return self.name or self.email.partition("@")[0]


def start(db: Session, user_id: UUID, seconds: float) -> str:
    """Let a browser in; what its cookie is to hold. Sessions that have ended, and the oldest of too many, are cleared
    away."""
    execute(db, "DELETE FROM browser_sessions WHERE expires_at <= now()")
    token = secrets.token_urlsafe(32)
    execute(db, START, hash=hashed(token), user_id=user_id, seconds=seconds)
    sessions.keep_newest(db, "browser_sessions", user_id)
    return token


def find(db: Session, token: str) -> Visitor | None:
    """Whose browser this is; none where the session has ended or never was."""
    return first_as(Visitor, db, FIND, hash=hashed(token))


def end(db: Session, token: str) -> None:
    execute(db, "DELETE FROM browser_sessions WHERE token_hash = :hash", hash=hashed(token))


def end_others(db: Session, user_id: UUID, token: str) -> int:
    """Sign out every other browser of the account; how many there were."""
    sql = "DELETE FROM browser_sessions WHERE user_id = :user_id AND token_hash <> :hash"
    return execute(db, sql, user_id=user_id, hash=hashed(token)).rowcount


def count(db: Session, user_id: UUID) -> int:
    """In how many browsers they are signed in."""
    sql = "SELECT count(*) FROM browser_sessions WHERE user_id = :user_id AND expires_at > now()"
    return number(db, sql, user_id=user_id)


def hashed(token: str) -> bytes:
    """What a table holds of a secret of random bits: a cookie, a link."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
