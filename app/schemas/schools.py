from datetime import datetime
from uuid import UUID

from pydantic import ConfigDict, Field

from app.domain.fields import Text200
from app.schemas.base import ApiModel, Body


class SchoolNamed(Body):
    """A school that may record tasks in your account."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "North School"}]})

    name: Text200 = Field(description="As its service key is called: ask your school.")


class AllowedSchoolOut(ApiModel):
    """A school that may record tasks in your account."""

    id: UUID
    name: str
    allowed_at: datetime
