"""Who trains: processes on any machine, each of which says every few seconds that it lives."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from app.crud.rows import all_as, execute

SEEN = """
    INSERT INTO trainers (name, seen_at) VALUES (:name, clock_timestamp())
    ON CONFLICT (name) DO UPDATE SET seen_at = excluded.seen_at"""
LONG_GONE = "DELETE FROM trainers WHERE seen_at < clock_timestamp() - interval '7 days'"
ALIVE = """
    SELECT name, seen_at FROM trainers
    WHERE seen_at BETWEEN clock_timestamp() - make_interval(secs => :silent)
        AND clock_timestamp() + make_interval(secs => :silent)  -- later ones are from before the clock was set back
    ORDER BY name"""
LAST_SEEN = "SELECT least(max(seen_at), clock_timestamp()) FROM trainers"


@dataclass(frozen=True, slots=True)
class Seen:
    """A process that trains, and when it last said that it lives."""

    name: str
    seen_at: datetime


def seen(db: Session, name: str) -> None:
    """This one lives; those that were not seen for a week are forgotten."""
    execute(db, SEEN, name=name)
    execute(db, LONG_GONE)


def leave(db: Session, name: str) -> None:
    """This one ends."""
    execute(db, "DELETE FROM trainers WHERE name = :name", name=name)


def alive(db: Session, silent_seconds: float) -> list[Seen]:
    """Those that were seen within so many seconds."""
    return all_as(Seen, db, ALIVE, silent=silent_seconds)


def last_seen(db: Session) -> datetime | None:
    """When any of them was seen; none where none was, or all have ended since."""
    at: datetime | None = execute(db, LAST_SEEN).scalar()
    return at
