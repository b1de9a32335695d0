"""Which schools' keys a student with an account lets record tasks for them."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from app.crud.accounts import KEY_IN_USE
from app.crud.rows import all_as, execute
from app.crud.service_keys import as_known
from app.domain.errors import SchoolNotFound

LISTED = """
    SELECT school_id AS id, allowed_at,
        (SELECT name FROM service_keys AS key WHERE key.school_id = allowed.school_id LIMIT 1) AS name
    FROM allowed_schools AS allowed WHERE user_id = :user_id ORDER BY allowed_at DESC, id"""
ALLOW = f"""
    INSERT INTO allowed_schools (user_id, school_id)
    SELECT :user_id, school_id FROM service_keys WHERE name = :name AND {KEY_IN_USE} LIMIT 1
    ON CONFLICT (user_id, school_id) DO UPDATE SET school_id = excluded.school_id RETURNING school_id"""
REVOKE = "DELETE FROM allowed_schools WHERE user_id = :user_id AND school_id = :id"


@dataclass(frozen=True, slots=True)
class AllowedSchool:
    id: UUID
    name: str  # of its keys
    allowed_at: datetime


def listed(db: Session, user_id: UUID) -> list[AllowedSchool]:
    """The newest first."""
    return all_as(AllowedSchool, db, LISTED, user_id=user_id)


def allow(db: Session, user_id: UUID, name: str) -> AllowedSchool:
    """Let the school whose keys have this name record for the student. Raises SchoolNotFound."""
    found = execute(db, ALLOW, user_id=user_id, name=as_known(db, name)).scalar()
    if found is None:
        raise SchoolNotFound
    return next(each for each in listed(db, user_id) if each.id == found)


def revoke(db: Session, user_id: UUID, school_id: UUID) -> None:
    """Let it record and see nothing more; what it recorded stays. Raises SchoolNotFound."""
    if not execute(db, REVOKE, user_id=user_id, id=school_id).rowcount:
        raise SchoolNotFound("This school is not among those that you allowed.")
