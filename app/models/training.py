from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, DateTime, Double, ForeignKey, Index, String, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base

UTC_NOW = text("timezone('utc', now())")


class ModelTracker(Base):
    """One row that tells ops how training stands; they may write it by hand."""

    __tablename__ = "embedding_model_tracker"

    id: Mapped[int] = mapped_column(primary_key=True)
    last_trained_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=False))  # UTC
    n_samples_last_training: Mapped[int | None] = mapped_column(server_default=text("0"))
    n_samples_since_training: Mapped[int | None] = mapped_column(server_default=text("0"))
    model_version: Mapped[str | None] = mapped_column(String(50))
    notes: Mapped[dict[str, Any] | None] = mapped_column("metadata", server_default=text("'{}'"))
    created_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=False), server_default=UTC_NOW)
    updated_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=False), server_default=UTC_NOW)

    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)


class TrainingRun(Base):
    """One training, from the moment it was asked for."""

    __tablename__ = "training_runs"

    id: Mapped[int] = mapped_column(primary_key=True)
    asked_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    outcome: Mapped[str] = mapped_column(server_default="asked")
    n_tasks: Mapped[int | None]  # finished tasks it learned from
    n_taken: Mapped[int | None]  # of the counter
    kinds: Mapped[list[str] | None]  # what was asked for; none: all of them
    progress: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    message: Mapped[str | None]  # how it ended, in a sentence
    from_scratch: Mapped[bool] = mapped_column(server_default=text("true"))  # or went on from the models there were
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())  # when its process last said that it lives
    backend: Mapped[int | None]  # PostgreSQL's process that holds the single writer's lock for it
    folders: Mapped[list[str] | None]  # below MODEL_DIR, that it may have begun to write

    __table_args__ = (
        CheckConstraint(
            "outcome IN ('asked', 'running', 'published', 'rejected', 'failed', 'interrupted', 'merged')",
            name="outcome",
        ),
        Index("ix_training_runs_open", "id", postgresql_where=text("finished_at IS NULL")),
        Index("ix_training_runs_from_scratch", "id", postgresql_where=text("from_scratch AND kinds IS NULL")),
    )


class ModelVersion(Base):
    """One trained model that was published, or was not and why."""

    __tablename__ = "model_versions"

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    folder: Mapped[str]  # below MODEL_DIR
    files: Mapped[dict[str, Any]]  # name -> SHA-256
    state: Mapped[str]
    reason: Mapped[str | None]
    n_tasks: Mapped[int]
    report: Mapped[dict[str, Any]]
    run_id: Mapped[int | None] = mapped_column(ForeignKey("training_runs.id"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    pruned_at: Mapped[datetime | None]
    place: Mapped[int] = mapped_column(server_default=text("0"))  # among the serving: the lowest answers
    by_hand: Mapped[bool] = mapped_column(
        server_default=text("false")
    )  # chosen by a person, who must be outdone clearly
    scores: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))  # on rows that it was not fitted on
    train_seconds: Mapped[float | None]
    data_from: Mapped[datetime | None]  # first and last completion that it was fitted on
    data_to: Mapped[datetime | None]
    erasures: Mapped[int] = mapped_column(server_default=text("0"))  # the last one that it was trained after
    chance_share: Mapped[float] = mapped_column(server_default=text("0"))  # of what is answered while it serves, 0-1
    time_share: Mapped[float] = mapped_column(server_default=text("0"))

    __table_args__ = (
        CheckConstraint("state IN ('candidate', 'serving', 'retired', 'rejected')", name="state"),
        Index("uq_model_versions_serving", "kind", unique=True, postgresql_where=text("state = 'serving'")),
    )


class ServingChange(Base):
    """A change of who serves, and why: what `rollback` goes back to."""

    __tablename__ = "serving_changes"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    what: Mapped[str]  # published, promoted, rolled back
    lineup: Mapped[list[int]]  # versions, best first
    back_to: Mapped[int | None]  # of a roll-back: the change whose state this restored
    made_by: Mapped[str]  # "run 12", an admin's address, "command line"
    reason: Mapped[str]

    __table_args__ = (CheckConstraint("what IN ('published', 'promoted', 'rolled back')", name="what"),)


class NetworkSettings(Base):
    """The settings that a tuning found for a kind of network: trainings from scratch take them up."""

    __tablename__ = "network_settings"

    kind: Mapped[str] = mapped_column(primary_key=True)
    settings: Mapped[dict[str, Any]]  # field of the network or of its schedule -> value
    study: Mapped[str]
    trial: Mapped[int]
    score: Mapped[float] = mapped_column(Double)  # loss on students who were in no trial
    default_score: Mapped[float] = mapped_column(Double)  # the same of the default settings
    made_at: Mapped[datetime] = mapped_column(server_default=func.now())
    made_by: Mapped[str]  # "command line"
