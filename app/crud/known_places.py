"""From where an account has signed in before: browsers and addresses, as hashes.

Wrong passwords from elsewhere do not count against these, so nobody can shut an account's owner out.
"""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.orm import Session

from app.crud.rows import execute

MOST = 100  # of an account; those not seen for longest are forgotten
FIND = """
    SELECT place FROM known_places JOIN users ON users.id = user_id
    WHERE email = ANY(:emails) AND place = ANY(:places)"""
REMEMBER = """
    INSERT INTO known_places (user_id, place)
    SELECT id, unnest(CAST(:places AS bytea[])) FROM users WHERE id = :user_id
    ON CONFLICT (user_id, place) DO UPDATE SET seen_at = now()"""
FORGET = """
    DELETE FROM known_places WHERE user_id = :user_id AND place IN (
        SELECT place FROM known_places WHERE user_id = :user_id ORDER BY seen_at DESC, place OFFSET :most)"""


def first_known(db: Session, emails: Sequence[str], places: Sequence[bytes]) -> bytes | None:
    """The first of these places from which that account has signed in before."""
    known = {bytes(row.place) for row in execute(db, FIND, emails=list(emails), places=list(places))}
    return next((place for place in places if place in known), None)


def remember(db: Session, user_id: UUID, places: Sequence[bytes]) -> None:
    execute(db, REMEMBER, user_id=user_id, places=list(places))
    execute(db, FORGET, user_id=user_id, most=MOST)
