"""Accounts, as admins see them; and how a lost password is set anew."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from app.core import addresses
from app.schemas.accounts import AccountOut, Password
from app.schemas.base import Body


class UserOut(AccountOut):
    """An account."""

    is_admin: bool
    created_at: datetime
    disabled_at: datetime | None = Field(description="By an admin; null: they may sign in.")
    seen_at: datetime | None = Field(description="When they signed in last; null where that is not known.")
    finished: int = Field(description="Tasks that they have finished.")


class UserPage(BaseModel):
    """Accounts, the newest first."""

    items: list[UserOut]
    next: int | None = Field(description="Pass it as `offset` for the next page; null on the last.")


class PasswordLinkOut(BaseModel):
    """A link by which a new password is set: to hand over to whose account it is, and to nobody else."""

    link: str = Field(
        description="Works once. Without PUBLIC_URL, where the service takes any name for its own, it is only a path: "
        "put the address before it by which the service is reached."
    )
    expires_at: datetime


class LostPassword(Body):
    """Whose password is lost."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"email": "ada@example.com"}]})

    email: str = Field(max_length=addresses.LONGEST, description="The address that they sign in with.")


class MailSent(BaseModel):
    """What happens, if there is such an account."""

    message: str


class NewPassword(Body):
    """A new password instead of a lost one."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"token": "r3Jx...", "password": "a long sentence"}]})

    token: str = Field(max_length=200, description="What follows `link=` in the link.")
    password: Password
