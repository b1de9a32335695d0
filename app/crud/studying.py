"""What the pages show a student of their own past. Each query is bounded, however many tasks there are."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.crud.practice_tasks import COLUMNS
from app.domain.tasks import Task

MOST_TOPICS = 200
STREAK_DAYS = 366  # that are looked at

TOTALS = """
    SELECT key, n, n_correct, CAST(microseconds AS float8) / 1e6 AS seconds FROM student_totals
    WHERE user_id = :student AND scope = :scope AND n > 0 ORDER BY n DESC, key LIMIT :most"""
# From one day to the day before that has a task, by the index; as many steps as the streak has days.
STREAK = """
    WITH RECURSIVE day (last, day) AS (
        (SELECT completed_at, (completed_at AT TIME ZONE :zone)::date FROM practice_tasks
         WHERE user_id = :student AND completed ORDER BY completed_at DESC LIMIT 1)
        UNION ALL
        SELECT before.completed_at, (before.completed_at AT TIME ZONE :zone)::date FROM day, LATERAL (
            SELECT completed_at FROM practice_tasks
            WHERE user_id = :student AND completed AND completed_at < day.day::timestamp AT TIME ZONE :zone
            ORDER BY completed_at DESC LIMIT 1) AS before
        WHERE (before.completed_at AT TIME ZONE :zone)::date = day.day - 1)
    SELECT day FROM day LIMIT :most"""
NEWEST = f"""
    SELECT {COLUMNS} FROM practice_tasks WHERE user_id = :student AND completed
    ORDER BY completed_at DESC, id DESC LIMIT :most"""
OPEN = f"""
    SELECT {COLUMNS} FROM practice_tasks WHERE user_id = :student AND NOT completed
    ORDER BY created_at DESC, id DESC LIMIT 1"""


@dataclass(frozen=True, slots=True)
class Total:
    """Finished tasks of one topic, or of all."""

    key: str
    n: int
    n_correct: int
    seconds: float  # together

    @property
    def rate(self) -> float:
        return self.n_correct / self.n

    @property
    def mean_seconds(self) -> float:
        return self.seconds / self.n


def total(db: Session, student: UUID) -> Total | None:
    """Of all that they have finished; none before the first."""
    return next(iter(totals(db, student, "all", 1)), None)


def totals(db: Session, student: UUID, scope: str = "topic", most: int = MOST_TOPICS) -> list[Total]:
    """By topic, by difficulty or by item, the most practised first."""
    rows = db.execute(text(TOTALS), {"student": student, "scope": scope, "most": most})
    return [Total(*row) for row in rows]


def streak(db: Session, student: UUID, zone: str, today: date) -> int:
    """Days in a row with a finished task, up to today; a streak of up to yesterday goes on."""
    days: Sequence[date] = db.scalars(text(STREAK), {"student": student, "zone": zone, "most": STREAK_DAYS}).all()
    return len(days) if days and days[0] >= today - timedelta(days=1) else 0


def newest(db: Session, student: UUID, most: int) -> list[Task]:
    """The tasks finished last, the last first."""
    return _tasks(db, NEWEST, student=student, most=most)


def last_open(db: Session, student: UUID) -> Task | None:
    """The task asked for last that has no result yet."""
    return next(iter(_tasks(db, OPEN, student=student)), None)


def finished_since(db: Session, student: UUID, moment: datetime) -> int:
    found: int = db.scalar(
        text("""SELECT count(*) FROM practice_tasks
                WHERE user_id = :student AND completed AND completed_at >= :moment"""),
        {"student": student, "moment": moment},
    )
    return found


def _tasks(db: Session, sql: str, **values: Any) -> list[Task]:
    rows = db.execute(text(sql), values).mappings()
    return [Task(*(row[name] for name in Task.__slots__)) for row in rows]
