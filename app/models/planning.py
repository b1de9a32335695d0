from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base


class ExamPlan(Base):
    """An exam that a student prepares for; the days are planned anew each time they are looked at."""

    __tablename__ = "exam_plans"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=text("gen_random_uuid()"))
    user_id: Mapped[UUID]  # as on practice_tasks
    name: Mapped[str | None]
    exam_date: Mapped[date]
    topics: Mapped[list[str]]
    minutes_per_day: Mapped[int]
    target_success_rate: Mapped[float]
    chances_at_start: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))  # by topic, 0-1
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        CheckConstraint("cardinality(topics) BETWEEN 1 AND 20", name="topics"),
        CheckConstraint("minutes_per_day BETWEEN 5 AND 480", name="minutes_per_day"),
        CheckConstraint("target_success_rate BETWEEN 0.7 AND 0.85", name="target_success_rate"),
        Index("ix_exam_plans_of_student", "user_id", "exam_date"),
    )
