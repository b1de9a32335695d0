"""A person's data, as it is handed out."""

from datetime import date, datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, Field

from app.schemas.accounts import AccountOut
from app.schemas.base import ApiModel
from app.schemas.practice_tasks import CorrectionOut, TaskOut
from app.schemas.schools import AllowedSchoolOut


class Me(AccountOut):
    """The account of whoever is signed in."""

    created_at: datetime
    is_admin: bool
    language: str | None = Field(description="Of the pages; null: as the browser asks.")
    theme: str | None = Field(description="light or dark; null: as the machine is set.")
    time_zone: str | None = Field(
        description="Where your days begin (IANA name); null: not known yet, the server's TIME_ZONE counts."
    )


class SessionOut(ApiModel):
    """A browser in which you are signed in, or a token of the API."""

    id: UUID
    kind: Literal["browser", "token"]
    created_at: datetime
    expires_at: datetime


class ShadowOut(BaseModel):
    """What another version would have said of a task; it was only recorded."""

    model_version_id: int
    kind: str
    correctness_prob: float
    estimated_time_seconds: float
    time_low_seconds: float | None
    time_high_seconds: float | None


class ExportedTask(TaskOut):
    """A task with all that is stored of it."""

    features: dict[str, float] | None = Field(
        description="What the prediction was made from: the eleven features and more, in the units that the models "
        "use (rates 0-1, seconds / 100, counts scaled); null where it was not kept."
    )
    shadow_predictions: list[ShadowOut]


class ExportedExam(BaseModel):
    """What the student prepares for."""

    id: UUID
    name: str | None
    exam_date: date
    topics: list[str]
    minutes_per_day: int
    target_success_rate: float
    chances_at_start: dict[str, float] = Field(description="By topic, when the plan was made.")
    time_zone: str | None = Field(description="Given with the plan; null: the account's.")
    created_at: datetime


class TotalOut(BaseModel):
    """Sums over finished tasks."""

    scope: str = Field(description="all, topic, difficulty or item.")
    key: str = Field(description="The topic, the difficulty, the item; empty for all.")
    tasks: int
    correct: int
    seconds: float


class Known(BaseModel):
    """A number and how well it is known, on the model's own scale: the average student is about 0."""

    mean: float
    sd: float


class StateOut(BaseModel):
    """What the student's answers say to a version of a model (a posterior, or the state of a network)."""

    kind: str
    model_version_id: int
    tasks: int = Field(description="Finished tasks in it.")
    through: datetime = Field(description="Finished at or before.")
    ability: Known | None = Field(description="LNIRT's, where that version serves.")
    speed: Known | None
    values: list[float] = Field(description="All its numbers, in the kind's own order.")


class EmbeddedIn(BaseModel):
    """A version whose files hold a vector of the student's."""

    id: int
    kind: str
    state: str


class Export(BaseModel):
    """Everything that is stored about the student who is signed in; the password's hash is not shown to anybody."""

    account: Me
    exported_at: datetime
    exams: list[ExportedExam]
    schools: list[AllowedSchoolOut] = Field(description="Whose programs may record tasks in the account.")
    totals: list[TotalOut]
    states: list[StateOut]
    embedded_in: list[EmbeddedIn] = Field(description="Versions whose files hold a vector of this student's.")
    corrections: list[CorrectionOut] = Field(description="What results were before they were changed or taken back.")
    tasks: list[ExportedTask] = Field(description="Oldest first.")
