"""Who may call: students with an account, admins among them, and schools with a service key."""

import base64
import binascii
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from app.core import addresses
from app.core.db.statements import QueryFlow, Statement
from app.domain.errors import EmailTaken, LooksTaken, NotAllowedByStudent, NotOfThisSchool, NotSignedIn
from app.domain.tasks import Caller, Claim
from app.models import ServiceKey, User

STUDENT = Statement("""
    SELECT users.id, email, is_admin FROM api_tokens JOIN users ON users.id = user_id
    WHERE api_tokens.id = :token AND user_id = :id AND disabled_at IS NULL""")
KEY_IN_USE = "(revoked_at IS NULL OR revoked_at > now())"  # one that has been replaced may run on for a while
KEY = Statement(f"SELECT id FROM service_keys WHERE key_hash = :key_hash AND {KEY_IN_USE}")
TIME_ZONE = Statement("SELECT time_zone FROM users WHERE id = :id")
KEY_PREFIX = "ssk_"
SCHOOL = "."  # before the school's id, at the end of a key that sees its own students only
SHOWN_CHARACTERS = 8  # of a key, to tell it from others
# Part of a statement that does something else, so that it costs no round trip.
ADMITTED = f"""(EXISTS (SELECT FROM api_tokens WHERE id = :token AND user_id = :student)
    OR EXISTS (SELECT FROM users WHERE id = :student AND disabled_at IS NULL AND CAST(:token AS uuid) IS NULL)
    OR EXISTS (SELECT FROM service_keys WHERE key_hash = :key_hash AND {KEY_IN_USE}))"""
# Another one: why a key may not record for a student; null where it may. All that is stored of a student without an
# account is one school's, so one row tells whose.
BARRED = """CASE
    WHEN CAST(:key_hash AS bytea) IS NULL THEN NULL
    WHEN EXISTS (SELECT FROM users WHERE id = :user_id) THEN CASE WHEN NOT EXISTS (
        SELECT FROM allowed_schools JOIN service_keys USING (school_id)
        WHERE key_hash = :key_hash AND user_id = :user_id) THEN 'account' END
    WHEN CAST(:school AS uuid) IS NOT NULL AND (
        EXISTS (SELECT FROM (SELECT school_id FROM practice_tasks WHERE user_id = :user_id
                             ORDER BY created_at DESC, id DESC LIMIT 1) AS newest
                WHERE school_id IS DISTINCT FROM CAST(:school AS uuid))
        OR EXISTS (SELECT FROM exam_plans
                   WHERE user_id = :user_id AND school_id IS DISTINCT FROM CAST(:school AS uuid))) THEN 'another' END"""


def school_of_row(school: str = ":school", student: str = ":user_id") -> str:
    """Whose a row is that a key stores: its school's, where it sees its own students only or the student
    has an account. Columns are named with their table."""
    return f"""coalesce(CAST({school} AS uuid), (
        SELECT school_id FROM service_keys JOIN allowed_schools USING (school_id)
        WHERE key_hash = :key_hash AND allowed_schools.user_id = CAST({student} AS uuid)))"""


MAY_RECORD = Statement(f"SELECT {BARRED} AS barred, {school_of_row()} AS school")


@dataclass(frozen=True, slots=True)
class Account:
    id: UUID
    email: str
    name: str | None


def key_hash(key: str) -> bytes:
    """A key is 256 random bits, so a plain hash is as good as a slow one."""
    return hashlib.sha256(key.encode()).digest()


def claim_by_key(key: str) -> Claim:
    return Claim(key_hash=key_hash(key), school=school_in(key))


def school_in(key: str) -> UUID | None:
    """The school that a key names, where it sees its own students only; whether that is true, its hash tells."""
    try:
        return UUID(bytes=base64.urlsafe_b64decode(f"{key.partition(SCHOOL)[2]}=="))
    except (ValueError, binascii.Error):
        return None


def values_of(claim: Claim | None) -> dict[str, object]:
    """What ADMITTED asks for; a console makes no claim."""
    return {
        "student": claim and claim.student,
        "key_hash": claim and claim.key_hash,
        "token": claim and claim.token,
        "school": claim and claim.school,
    }


def refused(claim: Claim) -> NotSignedIn:
    """Why the database does not let them in."""
    if claim.key_hash is not None:
        return NotSignedIn("This service key is not known, or it was revoked.")
    return NotSignedIn(
        "This token was ended, by a new password or in the settings, or its account is gone or disabled."
    )


def caller(claim: Claim) -> QueryFlow[Caller]:
    """The caller, looked up at each request: a deleted account or a revoked key is out at once."""
    student, key = {"id": claim.student, "token": claim.token}, {"key_hash": claim.key_hash}
    found = yield (STUDENT, student) if claim.student else (KEY, key)
    if not found:
        raise refused(claim)
    if claim.student is None:
        return Caller(key=found[0]["id"], school=claim.school)
    return Caller(student=claim.student, email=found[0]["email"], is_admin=found[0]["is_admin"])


def seen_by_key(table: str) -> str:
    """In a query of this table: whether the key, if it is one, sees the row. Of students with an account it is what its
    school recorded, while they allow that."""
    return f"""(CAST(:key AS uuid) IS NULL OR NOT EXISTS (SELECT FROM users WHERE users.id = {table}.user_id)
        OR EXISTS (SELECT FROM service_keys JOIN allowed_schools USING (school_id)
                   WHERE service_keys.id = :key AND school_id = {table}.school_id
                       AND allowed_schools.user_id = {table}.user_id))"""


def may_record(claim: Claim, student: UUID) -> QueryFlow[UUID | None]:
    """The school as whose a key records for the student, if it is one's; raises NotAllowedByStudent or NotOfThisSchool
    where it may not."""
    if claim.key_hash is None:
        return None
    row = (yield MAY_RECORD, values_of(claim) | {"user_id": student})[0]
    check_barred(row)
    school: UUID | None = row["school"]
    return school


def check_barred(row: Mapping[str, Any]) -> None:
    """The same from a row that has BARRED."""
    if row["barred"] is not None:
        raise NotAllowedByStudent if row["barred"] == "account" else NotOfThisSchool


def register(
    db: Session,
    email: str,
    name: str | None,
    password_hash: str,
    *,
    is_admin: bool = False,
    time_zone: str | None = None,
) -> Account:
    """A new account. Raises EmailTaken, or LooksTaken where its address could be taken for another account's."""
    plain = addresses.in_latin(email)
    if plain != email and db.scalar(select(User.id).where(User.email == plain)):
        raise LooksTaken
    row = db.scalar(
        upsert(User)
        .values(email=email, name=name, password_hash=password_hash, is_admin=is_admin, time_zone=time_zone)
        .on_conflict_do_nothing(index_elements=[User.email])
        .returning(User.id)
    )
    if row is None:
        raise EmailTaken
    return Account(row, email, name)


def is_admin(db: Session, email: str) -> bool | None:
    """Whether the account with this address is an admin's; none where there is no such account."""
    return db.scalar(select(User.is_admin).where(User.email == email))


def make_admin(db: Session, email: str) -> None:
    """The account keeps its password and its tasks."""
    db.execute(update(User).where(User.email == email).values(is_admin=True))


def sign_in_data(db: Session, email: str, otherwise: str) -> tuple[UUID, str] | None:
    """Id and password hash of the account with this address, or else with the other spelling."""
    named = select(User.id, User.password_hash).where(User.email.in_([email, otherwise]))
    row = db.execute(named.order_by((User.email == email).desc())).first()
    return (row.id, row.password_hash) if row else None


def still_has(db: Session, user_id: UUID, password_hash: str | None) -> bool:
    """Whether the account may sign in and its password is still this one; nobody changes that before the commit."""
    wanted = select(User.id).where(User.id == user_id, User.password_hash == password_hash, User.disabled_at.is_(None))
    return db.scalar(wanted.with_for_update(key_share=True)) is not None


def is_disabled(db: Session, user_id: UUID) -> bool:
    return db.scalar(select(User.disabled_at).where(User.id == user_id)) is not None


def password_hash(db: Session, user_id: UUID) -> str | None:
    return db.scalar(select(User.password_hash).where(User.id == user_id))


def store_hash(db: Session, user_id: UUID, new: str, *, instead_of: str | None) -> bool:
    """Store a password's hash; False where the account has another one than it is to replace, or is disabled."""
    same = (User.id == user_id, User.password_hash == instead_of, User.disabled_at.is_(None))
    return db.scalar(update(User).where(*same).values(password_hash=new).returning(User.id)) is not None


def create_key(db: Session, name: str, *, own_students: bool = False) -> str:
    """A new service key, in clear; only its hash is stored. All keys of a name are one school's, whatever came of them.

    Raises:
        ValueError: there is a key of that name in use.
    """
    if db.scalar(select(ServiceKey.id).where(ServiceKey.name == name, ServiceKey.revoked_at.is_(None))):
        raise ValueError(f"There is a key named {name!r} in use; choose another name.")
    school = db.scalar(select(ServiceKey.school_id).where(ServiceKey.name == name).limit(1)) or uuid4()
    key = KEY_PREFIX + secrets.token_urlsafe(32)
    if own_students:
        key += SCHOOL + base64.urlsafe_b64encode(school.bytes).decode().rstrip("=")
    row = {"name": name, "prefix": key[:SHOWN_CHARACTERS], "key_hash": key_hash(key), "school_id": school}
    db.execute(insert(ServiceKey).values(**row, own_students=own_students))
    return key


def store_preferences(db: Session, user_id: UUID, language: str | None, theme: str | None) -> None:
    """How the pages speak to them and look; none: as the browser asks and the device is set."""
    db.execute(update(User).where(User.id == user_id).values(language=language, theme=theme))


def store_name(db: Session, user_id: UUID, name: str | None) -> None:
    change(db, user_id, {"name": name})


def change(db: Session, user_id: UUID, values: Mapping[str, object]) -> None:
    """Store some of what the account says of its student, by column."""
    db.execute(update(User).where(User.id == user_id).values(**values))


def learn_time_zone(db: Session, user_id: UUID, time_zone: str) -> None:
    """Take what a browser names, where none is known; one that is known stays."""
    db.execute(update(User).where(User.id == user_id, User.time_zone.is_(None)).values(time_zone=time_zone))


def time_zone_of(student: UUID) -> QueryFlow[str | None]:
    """The time zone of the student's account; none where they have none, or it has none."""
    rows = yield TIME_ZONE, {"id": student}
    return rows[0]["time_zone"] if rows else None
