"""What all bodies share: no unknown fields in, the field's own names out."""

from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.domain.fields import StudentText

STUDENT = (
    "The student, by any text of yours, 1-200 characters: the same text is always the same student. For service keys."
)
USER_ID = "The student, by a UUID. Service keys name one by this or by `student`; students must not."


class Body(BaseModel):
    """A request body: what it does not know, it refuses."""

    model_config = ConfigDict(extra="forbid")


class OfStudent(Body):
    """What a service key does for a student."""

    user_id: UUID | None = Field(None, description=USER_ID)
    student: StudentText | None = Field(None, description=STUDENT)


class ApiModel(BaseModel):
    model_config = ConfigDict(from_attributes=True)
