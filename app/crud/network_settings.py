"""The settings that tunings found, one row a kind of network; a change and its entry in the audit are one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.crud import audit
from app.domain.actors import Actor
from app.models import NetworkSettings


@dataclass(frozen=True, slots=True)
class Tuned:
    """What a trial of a study found; scores are losses, on students who were in no trial."""

    kind: str
    settings: Mapping[str, Any]
    study: str
    trial: int
    score: float
    default_score: float


COLUMNS = tuple(getattr(NetworkSettings, name) for name in Tuned.__slots__)


def read(db: Session, kind: str) -> Tuned | None:
    """The settings of this kind; none where its defaults hold."""
    row = db.execute(select(*COLUMNS).where(NetworkSettings.kind == kind)).one_or_none()
    return Tuned(*row) if row else None


def put(db: Session, tuned: Tuned, actor: Actor) -> None:
    """Store them in the place of those that were there."""
    values = {name: getattr(tuned, name) for name in Tuned.__slots__}
    statement = insert(NetworkSettings).values(**values, made_by=actor.name)
    new = {name: statement.excluded[name] for name in (*values, "made_by")} | {"made_at": func.now()}
    db.execute(statement.on_conflict_do_update(index_elements=["kind"], set_=new))
    audit.record(db, actor, "settings tuned", **values)


def forget(db: Session, kind: str, actor: Actor) -> bool:
    """Let the defaults hold again; False where they did."""
    gone = db.execute(delete(NetworkSettings).where(NetworkSettings.kind == kind).returning(NetworkSettings.kind))
    found = gone.first() is not None
    if found:
        audit.record(db, actor, "tuned settings forgotten", kind)
    return found
