"""The audit, as admins read it."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field

from app.schemas.base import ApiModel


class AuditEntryOut(ApiModel):
    """One act that only admins, or those at the command line, may do."""

    id: int
    at: datetime
    actor: str = Field(description='The address the admin signs in with, or "command line".')
    actor_id: UUID | None = Field(description="The account; null at the command line.")
    act: str = Field(examples=["promoted", "rolled back", "training asked", "key created"])
    subject: str | None = Field(description="What it was done to: a version, a run, a key, an account.")
    details: dict[str, Any]
    request_id: str | None = Field(description="As in the log; null at the command line.")
    address: str | None = Field(description="Where the request came from.")


class AuditPage(BaseModel):
    """Acts, newest first."""

    items: list[AuditEntryOut]
    next: int | None = Field(description="Pass it as `before` for the next page; null on the last.")
