from datetime import datetime
from uuid import UUID

from sqlalchemy import Index, func, text
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
