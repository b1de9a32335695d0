from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base


class PracticeTask(Base):
    """One practice task: asked, predicted, perhaps completed."""

    __tablename__ = "practice_tasks"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=text("gen_random_uuid()"))
    user_id: Mapped[UUID]  # a users.id, or whatever UUID a service key's owner knows the student by
    topic: Mapped[str]
    difficulty: Mapped[str]
    item_id: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    completed: Mapped[bool] = mapped_column(server_default=text("false"))
    is_correct: Mapped[bool | None]
    actual_time_seconds: Mapped[float | None]
    completed_at: Mapped[datetime | None]
    correctness_prob: Mapped[float | None]
    estimated_time_seconds: Mapped[float | None]
    lnirt_model_version: Mapped[str | None]  # historic name: which kind of model answered
    model_version_id: Mapped[int | None] = mapped_column(ForeignKey("model_versions.id"))
    correctness_prob_low: Mapped[float | None]  # 10-90 %, where the model says how sure it is
    correctness_prob_high: Mapped[float | None]
    time_low_seconds: Mapped[float | None]
    time_high_seconds: Mapped[float | None]
    fallback_reason: Mapped[str | None]  # why no better model answered
    features: Mapped[list[float] | None]  # what was known at creation, as app/ml/features/inputs.py has it
    contributions: Mapped[dict[str, Any] | None]  # of chance and time by kind, where a network had its part

    __table_args__ = (
        CheckConstraint("difficulty IN ('easy', 'medium', 'hard')", name="difficulty"),
        CheckConstraint("length(topic) BETWEEN 1 AND 200", name="topic"),
        CheckConstraint(
            "NOT completed OR (is_correct IS NOT NULL AND completed_at IS NOT NULL AND actual_time_seconds IS NOT NULL"
            " AND actual_time_seconds > 0 AND actual_time_seconds < 'Infinity')",  # NaN is above Infinity
            name="completed_has_result",
        ),
        CheckConstraint(
            "correctness_prob IS NULL OR (lnirt_model_version IS NOT NULL AND correctness_prob > 0"
            " AND correctness_prob < 1 AND estimated_time_seconds > 0 AND estimated_time_seconds < 'Infinity')",
            name="prediction_names_model",
        ),
        Index("ix_practice_tasks_of_student", "user_id", text("created_at DESC"), text("id DESC")),
        Index(
            "ix_practice_tasks_open",
            *("user_id", text("created_at DESC"), text("id DESC")),
            postgresql_where=text("NOT completed"),
        ),
        Index("ix_practice_tasks_newest", text("created_at DESC"), text("id DESC")),
        Index(
            "ix_practice_tasks_last_completed",
            "user_id",
            text("completed_at DESC"),
            text("id DESC"),
            postgresql_where=text("completed"),
        ),
        Index(
            "ix_practice_tasks_last_on_topic",
            *("user_id", "topic", text("completed_at DESC"), text("id DESC")),
            postgresql_where=text("completed"),
        ),
        Index(
            "ix_practice_tasks_last_on_item",
            *("user_id", "item_id", text("completed_at DESC"), text("id DESC")),
            postgresql_where=text("completed AND item_id IS NOT NULL"),
        ),
        Index("ix_practice_tasks_finished", "completed_at", postgresql_where=text("completed")),
    )


class StudentTotal(Base):
    """Running totals of a student's completed tasks; triggers on practice_tasks keep them."""

    __tablename__ = "student_totals"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    scope: Mapped[str] = mapped_column(primary_key=True)  # all, topic, difficulty, item
    key: Mapped[str] = mapped_column(primary_key=True)  # '', the topic, the difficulty, the item
    n: Mapped[int]
    n_correct: Mapped[int]
    microseconds: Mapped[int] = mapped_column(BigInteger)  # of their times, each rounded

    __table_args__ = (
        CheckConstraint("scope IN ('all', 'topic', 'difficulty', 'item')", name="scope"),
        Index("ix_student_totals_all", "user_id", postgresql_where=text("scope = 'all'")),
    )


class StudentState(Base):
    """What a student's answers say to one version of a kind of model."""

    __tablename__ = "student_states"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    version_id: Mapped[int]
    n: Mapped[int]  # answers in it
    through: Mapped[datetime]  # completed at or before
    state: Mapped[bytes]  # plain numbers, in the kind's own order


class ShadowPrediction(Base):
    """What another version would have said of a task; only recorded."""

    __tablename__ = "shadow_predictions"

    task_id: Mapped[UUID] = mapped_column(primary_key=True)  # goes with the task, by triggers
    model_version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"), primary_key=True)
    correctness_prob: Mapped[float]
    estimated_time_seconds: Mapped[float]
    time_low_seconds: Mapped[float | None]
    time_high_seconds: Mapped[float | None]
