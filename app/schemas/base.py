"""What all bodies share: no unknown fields in, the field's own names out."""

from pydantic import BaseModel, ConfigDict


class Body(BaseModel):
    """A request body: what it does not know, it refuses."""

    model_config = ConfigDict(extra="forbid")


class ApiModel(BaseModel):
    model_config = ConfigDict(from_attributes=True)
