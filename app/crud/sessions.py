"""What an account is signed in with: browsers, and tokens of the API. One whose row is gone opens nothing."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from sqlalchemy.orm import Session

from app.crud.rows import all_as, execute

MOST_LISTED = 100  # the newest
MOST_KEPT = 1_000  # browsers, and as many tokens, of an account: the newest
START_TOKEN = """
    INSERT INTO api_tokens (user_id, expires_at)
    VALUES (:user_id, now() + make_interval(secs => :seconds)) RETURNING id"""
BOTH = """
    SELECT id, kind, created_at, expires_at FROM (
        SELECT id, 'browser' AS kind, created_at, expires_at, user_id FROM browser_sessions
        UNION ALL SELECT id, 'token', created_at, expires_at, user_id FROM api_tokens
    ) AS both_kinds
    WHERE user_id = :user_id AND expires_at > now() ORDER BY created_at DESC, id LIMIT :most"""
ONLY_NEWEST = """
    DELETE FROM {table} WHERE id IN (
        SELECT id FROM {table} WHERE user_id = :user_id ORDER BY created_at DESC, id OFFSET :most)"""
END = """
    WITH browser AS (DELETE FROM browser_sessions WHERE user_id = :user_id AND id = :id RETURNING id),
         token AS (DELETE FROM api_tokens WHERE user_id = :user_id AND id = :id RETURNING id)
    SELECT id FROM browser UNION ALL SELECT id FROM token"""


@dataclass(frozen=True, slots=True)
class SignedInWith:
    id: UUID
    kind: Literal["browser", "token"]
    created_at: datetime
    expires_at: datetime


def start_token(db: Session, user_id: UUID, seconds: float) -> UUID:
    """The id of a new token of the account; those that have expired, and the oldest of too many, are cleared away."""
    execute(db, "DELETE FROM api_tokens WHERE user_id = :user_id AND expires_at <= now()", user_id=user_id)
    made: UUID = execute(db, START_TOKEN, user_id=user_id, seconds=seconds).scalar_one()
    keep_newest(db, "api_tokens", user_id)
    return made


def keep_newest(db: Session, table: Literal["browser_sessions", "api_tokens"], user_id: UUID) -> None:
    """End the oldest where there are more than anybody needs, so that who knows a password can't fill the table."""
    execute(db, ONLY_NEWEST.format(table=table), user_id=user_id, most=MOST_KEPT)


def listed(db: Session, user_id: UUID) -> list[SignedInWith]:
    """The newest first."""
    return all_as(SignedInWith, db, BOTH, user_id=user_id, most=MOST_LISTED)


def end(db: Session, user_id: UUID, session_id: UUID) -> bool:
    """End one of the account's; False where it has no such."""
    return execute(db, END, user_id=user_id, id=session_id).first() is not None


def end_all(db: Session, user_id: UUID) -> None:
    for table in ("browser_sessions", "api_tokens"):
        execute(db, f"DELETE FROM {table} WHERE user_id = :user_id", user_id=user_id)
