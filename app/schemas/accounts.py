from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from app.core import addresses
from app.core.security import LONGEST_PASSWORD
from app.domain.fields import Text200, TimeZone
from app.schemas.base import ApiModel, Body

Email = Annotated[
    str, StringConstraints(strip_whitespace=True, max_length=addresses.LONGEST), AfterValidator(addresses.checked)
]

Password = Annotated[str, Field(min_length=8, max_length=LONGEST_PASSWORD)]


class Registration(Body):
    """A new student."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"email": "ada@example.com", "password": "a long sentence", "name": "Ada"}]}
    )

    email: Email
    password: Password
    name: Text200 | None = None
    time_zone: TimeZone | None = Field(
        None,
        description="Where your days begin, such as Pacific/Auckland (IANA); a browser tells it too.",
    )


class AccountChange(Body):
    """What is to be different."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Ada", "language": "de"}]})

    name: Text200 | None = Field(None, description="Null: none.")
    language: Literal["en", "de"] | None = Field(None, description="Of the pages; null: as the browser asks.")
    theme: Literal["light", "dark"] | None = Field(None, description="Of the pages; null: as the machine is set.")
    time_zone: TimeZone | None = Field(
        None, description="Where your days begin (IANA name); null: as the next browser that you sign in with says."
    )


class PasswordChange(Body):
    """The password that is so far, and the one that is to be."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"old_password": "a long sentence", "new_password": "a longer sentence"}]}
    )

    old_password: str = Field(max_length=200)
    new_password: Password


class AccountOut(ApiModel):
    id: UUID
    email: str
    name: str | None


class Token(BaseModel):
    """Send it as `Authorization: Bearer <access_token>`."""

    access_token: str
    token_type: Literal["bearer"] = "bearer"
    expires_in: int = Field(description="Seconds.")
