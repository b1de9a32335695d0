"""Topics, as admins see and change them."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from app.domain.fields import StoredText, Text200
from app.schemas.base import ApiModel, Body


class TopicOut(ApiModel):
    """A topic that somebody has written."""

    name: str
    students: int = Field(description="Who have finished a task of it.")
    without_account: int = Field(description="Of them: whose tasks came by a service key or an import.")
    finished: int = Field(description="Tasks.")
    open: int
    state: Literal["approved", "hidden"] | None = Field(description="What an admin decided.")


class TopicPage(BaseModel):
    """Topics, those with most students first."""

    items: list[TopicOut]
    next: int | None = Field(description="Pass it as `offset` for the next page; null on the last.")


class TopicNamed(Body):
    """Which topic."""

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
