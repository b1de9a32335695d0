"""Finished tasks by hand, at any moment."""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

ADD = text("""
    INSERT INTO practice_tasks (user_id, topic, difficulty, item_id, created_at, completed, is_correct,
        actual_time_seconds, completed_at, correctness_prob, estimated_time_seconds, time_low_seconds,
        time_high_seconds, lnirt_model_version)
    VALUES (:student, :topic, :difficulty, :item, :created, :completed, :right, :seconds, :at, :chance, :expected,
        :low, :high, CASE WHEN CAST(:chance AS float8) IS NOT NULL THEN 'prior' END)""")


def finish(
    db: Session,
    student: UUID,
    at: datetime,
    *,
    right: bool = True,
    seconds: float = 30.0,
    topic: str = "Calculus",
    difficulty: str = "medium",
    item: str | None = None,
    chance: float | None = None,
    expected: float = 40.0,
    within: tuple[float, float] | None = None,
    done: bool = True,
) -> None:
    """One task, committed; predicted where a chance is given, open where it is not done."""
    low, high = within or (None, None)
    given = {"student": student, "topic": topic, "difficulty": difficulty, "item": item, "completed": done}
    given |= {"created": at - timedelta(seconds=1), "at": at if done else None, "right": right if done else None}
    given |= {"seconds": seconds if done else None, "chance": chance, "low": low, "high": high}
    db.execute(ADD, given | {"expected": None if chance is None else expected})
    db.commit()


def class_of(db: Session, n: int, at: datetime) -> None:
    """So many other students with a result each."""
    for number in range(n):
        finish(db, UUID(int=number + 1), at)


def account_of(db: Session, name: str = "ada") -> UUID:
    """Who registered under this name."""
    found: UUID = db.scalar(text("SELECT id FROM users WHERE email = :email"), {"email": f"{name}@example.com"})
    return found
