"""Links by which a new password is set, once. The link holds 256 random bits; the table holds their hash."""

import secrets
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from app.crud import sessions
from app.crud.browser_sessions import hashed
from app.crud.rows import execute, first_as

HOURS = 24  # that one is good
MAKE = f"""
    INSERT INTO password_links (token_hash, user_id, expires_at)
    VALUES (:hash, :user_id, now() + interval '{HOURS} hours') RETURNING expires_at"""
WHOSE = """
    SELECT users.id, email, name FROM password_links JOIN users ON users.id = user_id
    WHERE token_hash = :hash AND expires_at > now() AND disabled_at IS NULL"""
# The account is locked first, as everybody does who changes one.
LOCK = f"{WHOSE} FOR NO KEY UPDATE OF users"
TAKE = "DELETE FROM password_links WHERE token_hash = :hash RETURNING user_id"


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose password a link sets."""

    id: UUID
    email: str
    name: str | None


def make(db: Session, user_id: UUID) -> tuple[str, datetime]:
    """What a new link of the account holds, and when it runs out; those that have run out are cleared away."""
    execute(db, "DELETE FROM password_links WHERE expires_at <= now()")
    token = secrets.token_urlsafe(32)
    return token, execute(db, MAKE, hash=hashed(token), user_id=user_id).scalar_one()


def whose(db: Session, token: str) -> Owner | None:
    """The account; none where the link was used, has run out or never was, or the account is disabled."""
    return first_as(Owner, db, WHOSE, hash=hashed(token))


def use(db: Session, token: str, password_hash: str) -> bool:
    """Store the new password; every link, browser and token of the account ends. False where the link is of no use."""
    owner = first_as(Owner, db, LOCK, hash=hashed(token))
    if owner is None or execute(db, TAKE, hash=hashed(token)).first() is None:
        return False
    execute(db, "UPDATE users SET password_hash = :new WHERE id = :id", new=password_hash, id=owner.id)
    end_all(db, owner.id)
    sessions.end_all(db, owner.id)
    return True


def end_all(db: Session, user_id: UUID) -> None:
    execute(db, "DELETE FROM password_links WHERE user_id = :user_id", user_id=user_id)
