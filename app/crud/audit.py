"""The audit: what was done that only admins may do, written in the transaction that does it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from app.domain.actors import Actor
from app.models import AuditEntry


@dataclass(frozen=True, slots=True)
class Entry:
    """One act."""

    id: int
    at: datetime
    actor: str
    actor_id: UUID | None
    act: str
    subject: str | None
    details: dict[str, Any]
    request_id: str | None
    address: str | None


COLUMNS = tuple(getattr(AuditEntry, name) for name in Entry.__slots__)


def record(db: Session, actor: Actor, act: str, subject: str | None = None, **details: Any) -> None:
    """Write down who did what to what. Details are for people to read; no password, token or key belongs there."""
    who = {"actor": actor.name, "actor_id": actor.id, "request_id": actor.request_id, "address": actor.address}
    db.execute(insert(AuditEntry).values(**who, act=act, subject=subject, details=details))


def newest(db: Session, limit: int, before: int | None = None) -> list[Entry]:
    """Newest first; `before` is the id that the page before ended with."""
    older = [] if before is None else [AuditEntry.id < before]
    rows = db.execute(select(*COLUMNS).where(*older).order_by(AuditEntry.id.desc()).limit(limit))
    return [Entry(*row) for row in rows]
