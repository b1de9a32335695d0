"""Accounts, as admins see them: listed, disabled, enabled, and given a link for a lost password."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from app.core import addresses
from app.crud import audit, password_links, sessions
from app.crud.rows import all_as, execute, first_as, number, take_turn
from app.domain.actors import Actor
from app.domain.errors import AccountDisabled, AccountNotFound, LastAdmin, OwnAccount

LIST = """
    SELECT account.*, (SELECT max(seen_at) FROM known_places WHERE user_id = account.id) AS seen_at,
        coalesce((SELECT n FROM student_totals WHERE user_id = account.id AND scope = 'all'), 0) AS finished
    FROM (SELECT id, email, name, is_admin, created_at, disabled_at FROM users
          WHERE {which} ORDER BY created_at DESC, id LIMIT :limit OFFSET :offset) AS account
    ORDER BY created_at DESC, id"""
HOLDS = "strpos(lower(email || ' ' || coalesce(name, '')), lower(:search)) > 0 OR id::text = lower(:search)"
OTHER_ADMINS = "SELECT count(*) FROM users WHERE is_admin AND disabled_at IS NULL AND id <> :id"


@dataclass(frozen=True, slots=True)
class User:
    """An account."""

    id: UUID
    email: str
    name: str | None
    is_admin: bool
    created_at: datetime
    disabled_at: datetime | None
    seen_at: datetime | None  # signed in last
    finished: int  # tasks


def listed(db: Session, *, search: str = "", limit: int = 50, offset: int = 0) -> list[User]:
    """Those whose address or name holds this, or whose id it is; the newest first."""
    return all_as(User, db, LIST.format(which=HOLDS), search=search, limit=limit, offset=offset)


def get(db: Session, user_id: UUID) -> User:
    """Raises AccountNotFound."""
    found = first_as(User, db, LIST.format(which="id = :id"), id=user_id, limit=1, offset=0)
    if found is None:
        raise AccountNotFound
    return found


def named(db: Session, which: str) -> UUID:
    """The account with this address or id. Raises AccountNotFound."""
    as_stored, plain = which.strip().lower(), addresses.plainest(which)  # the first: of before there was a rule
    sql = "SELECT id FROM users WHERE email IN (:stored, :plain) OR id::text = :stored ORDER BY email = :stored DESC"
    found: UUID | None = execute(db, sql, stored=as_stored.replace("\x00", ""), plain=plain).scalar()
    if found is None:
        raise AccountNotFound
    return found


def disable(db: Session, user_id: UUID, actor: Actor) -> User:
    """Let them sign in no more: browsers, tokens and links end at once, what they did stays.

    Raises:
        AccountNotFound: there is no such account.
        OwnAccount: it is the admin's own.
        LastAdmin: there would be no admin left.
    """
    take_turn(db, "accounts")
    found = get(db, user_id)
    if actor.id == user_id:
        raise OwnAccount
    if found.is_admin and not number(db, OTHER_ADMINS, id=user_id):
        raise LastAdmin
    if found.disabled_at is None:
        execute(db, "UPDATE users SET disabled_at = now() WHERE id = :id", id=user_id)
        sessions.end_all(db, user_id)
        password_links.end_all(db, user_id)
        audit.record(db, actor, "account disabled", str(user_id))
    return get(db, user_id)


def enable(db: Session, user_id: UUID, actor: Actor) -> User:
    """Let them sign in again, with the password that they have. Raises AccountNotFound."""
    take_turn(db, "accounts")
    if get(db, user_id).disabled_at is not None:
        execute(db, "UPDATE users SET disabled_at = NULL WHERE id = :id", id=user_id)
        audit.record(db, actor, "account enabled", str(user_id))
    return get(db, user_id)


def password_link(db: Session, user_id: UUID, actor: Actor) -> tuple[str, datetime]:
    """What a link holds by which they set a new password, and when it runs out; those before it end, which may have
    come into wrong hands. Raises AccountNotFound or AccountDisabled."""
    if get(db, user_id).disabled_at is not None:
        raise AccountDisabled("This account is disabled: enable it first.")
    audit.record(db, actor, "password link made", str(user_id))
    password_links.end_all(db, user_id)
    return password_links.make(db, user_id)
