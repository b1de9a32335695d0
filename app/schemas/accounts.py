from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from app.domain.fields import Text200
from app.schemas.base import ApiModel, Body


def _address(text: str) -> str:
    """A login name in the form of an address: nothing is ever sent there, so nothing more is asked of it."""
    name, at, host = text.rpartition("@")
    if not (name and at and host) or any(character.isspace() or character == "\x00" for character in text):
        raise ValueError("must be an e-mail address, such as ada@example.com")
    return text.lower()


Email = Annotated[str, StringConstraints(strip_whitespace=True, max_length=254), AfterValidator(_address)]

Password = Annotated[str, Field(min_length=8, max_length=200)]


class Registration(Body):
    """A new student."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"email": "ada@example.com", "password": "a long sentence", "name": "Ada"}]}
    )

    email: Email
    password: Password
    name: Text200 | None = None


class AccountOut(ApiModel):
    id: UUID
    email: str
    name: str | None


class Token(BaseModel):
    """Send it as `Authorization: Bearer <access_token>`."""

    access_token: str
    token_type: Literal["bearer"] = "bearer"
    expires_in: int = Field(description="Seconds.")
