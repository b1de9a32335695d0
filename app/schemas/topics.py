"""Topics, as admins see and change them."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from app.domain.fields import StoredText, Text200
from app.schemas.base import ApiModel, Body


class TopicOut(ApiModel):
    """A topic: one that the student may pick, or, as admins see it, one that somebody has written."""

    name: str
    own_tasks: int | None = Field(None, description="Finished by the student who may pick it; null for admins.")
    students: int | None = Field(None, description="For admins: who have finished a task of it.")
    without_account: int | None = Field(
        None, description="For admins: of them, whose tasks came by a service key or an import."
    )
    finished: int | None = Field(None, description="For admins: tasks of everybody.")
    open: int | None = Field(None, description="For admins: tasks of everybody.")
    state: Literal["approved", "hidden"] | None = Field(None, description="For admins: what one of them decided.")
    made_up: int | None = Field(
        None,
        description="For admins: students of the demonstration who have finished a task of it; none of the other"
        " numbers counts them.",
    )


class TopicPage(BaseModel):
    """Topics: the student's own first; for admins those with most students."""

    items: list[TopicOut]
    next: int | None = Field(description="Pass it as `offset` for the next page; null on the last.")


class TopicNamed(Body):
    """Which topic."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"topic": "Calculus"}]})

    topic: StoredText = Field(description="As it is listed.")


class Rename(TopicNamed):
    """What a topic is to be called."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"topic": "calculuss", "to": "Calculus"}]})

    to: Text200 = Field(description="1-200 characters, any language; no topic is called so yet.")


class Merge(TopicNamed):
    """Which topic another one becomes part of."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"topic": "calculus", "into": "Calculus"}]})

    into: StoredText = Field(description="As it is listed.")


class TopicChanged(ApiModel):
    """What was done."""

    topic: str = Field(description="As it is called now.")
    tasks: int = Field(description="That are of another topic now.")
    plans: int = Field(description="Exam plans likewise.")
    message: str
