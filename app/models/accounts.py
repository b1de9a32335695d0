from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base


class User(Base):
    """A student with an account of their own; the id is the `user_id` of their tasks."""

    __tablename__ = "users"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=text("gen_random_uuid()"))
    email: Mapped[str] = mapped_column(unique=True)  # lower case
    name: Mapped[str | None]
    password_hash: Mapped[str]  # Argon2id
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    is_admin: Mapped[bool] = mapped_column(server_default=text("false"))
    language: Mapped[str | None]  # of the pages; none: as the browser asks
    theme: Mapped[str | None]  # light or dark; none: as the machine is set


class BrowserSession(Base):
    """A browser in which somebody is signed in; its cookie holds the token."""

    __tablename__ = "browser_sessions"

    token_hash: Mapped[bytes] = mapped_column(primary_key=True)  # SHA-256 of 256 random bits
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]

    __table_args__ = (Index("ix_browser_sessions_user_id", "user_id"),)


class ServiceKey(Base):
    """A school's back end: may name any student."""

    __tablename__ = "service_keys"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=text("gen_random_uuid()"))
    name: Mapped[str]
    prefix: Mapped[str]  # the first characters, to tell keys apart in a list
    key_hash: Mapped[bytes] = mapped_column(unique=True)  # SHA-256 of 256 random bits
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    revoked_at: Mapped[datetime | None]  # from this moment on; one that has been replaced may run on for a while

    __table_args__ = (
        Index("uq_service_keys_name_in_use", "name", unique=True, postgresql_where=text("revoked_at IS NULL")),
    )
