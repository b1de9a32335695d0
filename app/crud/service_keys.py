"""Service keys over their life: made, listed, replaced, revoked. Every change stands in the audit."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from sqlalchemy.orm import Session

from app.crud import audit, rows
from app.crud.accounts import KEY_IN_USE, KEY_PREFIX, SHOWN_CHARACTERS, create_key, key_hash
from app.crud.rows import all_as, execute
from app.domain.actors import Actor
from app.domain.characters import UnfitCharacter, checked, folded, tidy

LONGEST_NAME = 200  # characters

State = Literal["in use", "ends", "revoked"]


@dataclass(frozen=True, slots=True)
class Key:
    """A service key, as far as it is known after it was made."""

    id: UUID
    name: str
    prefix: str
    created_at: datetime
    revoked_at: datetime | None  # in the future: it has been replaced and runs on until then
    state: State
    school_id: UUID  # one for all keys of a name
    own_students: bool  # it sees those only whom it brought


SELECT = f"""SELECT id, name, prefix, created_at, revoked_at,
    CASE WHEN revoked_at IS NULL THEN 'in use' WHEN {KEY_IN_USE} THEN 'ends' ELSE 'revoked' END AS state,
    school_id, own_students
    FROM service_keys"""
END = f"""
    UPDATE service_keys SET revoked_at = least(revoked_at, now() + make_interval(secs => :seconds))
    WHERE name = :name AND {KEY_IN_USE}"""


def create(db: Session, name: str, actor: Actor, *, own_students: bool = False) -> str:
    """A new key, in clear, this once. With `own_students` it sees those only whom keys of this name brought.

    Raises:
        ValueError: the name is none, or a key of that name is in use.
    """
    rows.take_turn(db, "keys")
    name = as_known(db, checked_name(name))
    key = create_key(db, name, own_students=own_students)
    audit.record(db, actor, "key created", name, prefix=key[:SHOWN_CHARACTERS], own_students=own_students)
    return key


def listed(db: Session) -> list[Key]:
    """Every key there ever was, the newest first."""
    return _found(db, "true")


def rotate(db: Session, name: str, keep_old_hours: float, actor: Actor) -> str:
    """A new key for the name, in clear, this once; the old ones go on for so many hours at the most.

    Raises:
        ValueError: no key of that name is in use.
    """
    rows.take_turn(db, "keys")
    old = _in_use(db, name)
    execute(db, END, name=old.name, seconds=keep_old_hours * 3600)
    key = create_key(db, old.name, own_students=old.own_students)
    audit.record(db, actor, "key rotated", old.name, prefix=key[:SHOWN_CHARACTERS], old_ends_in_hours=keep_old_hours)
    return key


def revoke(db: Session, which: str, actor: Actor) -> str:
    """Let nobody in with it from now on: the keys of a name, or the one that begins like this; what was done.

    Raises:
        ValueError: there is no such key, or several begin like this.
    """
    rows.take_turn(db, "keys")
    found = _meant(db, which)
    in_use = [key for key in found if key.state != "revoked"]
    if not in_use:
        return f"{_called(found)} was revoked before, at {found[0].revoked_at:%Y-%m-%d %H:%M} UTC."
    execute(db, "UPDATE service_keys SET revoked_at = now() WHERE id = ANY(:ids)", ids=[key.id for key in in_use])
    for key in in_use:
        audit.record(db, actor, "key revoked", key.name, prefix=key.prefix)
    return f"{_called(in_use)} is revoked: whoever sends it gets 401 from now on."


def school_of(db: Session, name: str) -> UUID | None:
    """Whose students a name's key brings: its own school's, or none where it sees all.

    Raises:
        ValueError: no key of that name is in use.
    """
    key = _in_use(db, name)
    return key.school_id if key.own_students else None


def checked_name(name: str) -> str:
    """The name as it is stored; raises ValueError with what is accepted."""
    name = name.strip()
    if not name:
        raise ValueError("A key needs a name, such as the school's.")
    if len(name) > LONGEST_NAME:
        raise ValueError(f"The name of a key has at most {LONGEST_NAME} characters; this one has {len(name)}.")
    try:
        name = tidy(checked(name))
    except UnfitCharacter as why:
        raise ValueError(f"The name of a key {why}.") from None
    if name.startswith(KEY_PREFIX):
        raise ValueError(f"The name of a key can't begin with {KEY_PREFIX}: that is how keys themselves begin.")
    return name


def as_known(db: Session, name: str) -> str:
    """The name as it was written first: keys are found however theirs is spaced and capitalised."""
    names = list(execute(db, "SELECT name FROM service_keys ORDER BY created_at, id").scalars())
    return name if name in names else next((each for each in names if folded(each) == folded(name)), name)


def _in_use(db: Session, name: str) -> Key:
    """The key of that name that is not replaced. Raises ValueError."""
    found = _found(db, "name = :name AND revoked_at IS NULL", name=as_known(db, name))
    if not found:
        raise ValueError(f"There is no key named {name!r} in use; `smartstudy key list` shows all.")
    return found[0]


def _meant(db: Session, which: str) -> list[Key]:
    """All keys of that name, else the one key that begins like this."""
    which = tidy(which)
    if not which.isprintable():
        raise ValueError("No key has control characters in its name.")
    if found := _found(db, "name = :which", which=as_known(db, which)):
        return found
    found = _beginning_with(db, which) if which.startswith(KEY_PREFIX) else []
    found = [key for key in found if key.state != "revoked"] or found
    if not found:
        raise ValueError(f"There is no key {_shown(which)!r}; `smartstudy key list` shows all.")
    if len(found) > 1:
        several = "\n".join(f"{key.prefix}  {key.name}  ({key.state})" for key in found)
        raise ValueError(f"Several keys begin with {which!r}; name one of them:\n{several}")
    return found


def _beginning_with(db: Session, which: str) -> list[Key]:
    if len(which) > SHOWN_CHARACTERS:  # a whole key, perhaps one that was found where it should not be
        return _found(db, "key_hash = :hash", hash=key_hash(which))
    return _found(db, "starts_with(prefix, :which)", which=which)


def _found(db: Session, where: str, **values: object) -> list[Key]:
    return all_as(Key, db, f"{SELECT} WHERE {where} ORDER BY created_at DESC, id", **values)


def _called(keys: Sequence[Key]) -> str:
    prefixes = ", ".join(key.prefix for key in keys)
    return f"The key of {keys[0].name!r} ({prefixes})"


def _shown(which: str) -> str:
    """Never a whole key."""
    return f"{which[:SHOWN_CHARACTERS]}..." if which.startswith(KEY_PREFIX) and len(which) > SHOWN_CHARACTERS else which
