from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base


class AuditEntry(Base):
    """An act of an admin, or of somebody at the command line."""

    __tablename__ = "audit_log"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    actor: Mapped[str]  # the address to sign in with, or "command line"
    actor_id: Mapped[UUID | None]
    act: Mapped[str]
    subject: Mapped[str | None]  # what it was done to: a version, a key, an account
    details: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    request_id: Mapped[str | None]
    address: Mapped[str | None]  # where the request came from

    __table_args__ = (Index("ix_audit_log_at", "at"),)


class RateLimit(Base):
    """How often something was tried since a moment, by whom."""

    __tablename__ = "rate_limits"

    key: Mapped[str] = mapped_column(primary_key=True)
    since: Mapped[datetime] = mapped_column(server_default=func.now())
    n: Mapped[int]


class Erasure(Base):
    """That a student was erased; not who. A version trained before one knows somebody it must not."""

    __tablename__ = "erasures"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.now())


class TrainingControl(Base):
    """One row: whether trainings are paused, and which failures no longer count."""

    __tablename__ = "training_control"

    id: Mapped[int] = mapped_column(primary_key=True, server_default=text("1"))
    paused_at: Mapped[datetime | None]
    paused_by: Mapped[str | None]  # an address, "command line", or "the service"
    reason: Mapped[str | None]
    forgiven_through: Mapped[int] = mapped_column(server_default=text("0"))  # runs up to this one

    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)
