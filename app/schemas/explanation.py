"""Why a prediction is what it is."""

from typing import Literal
from uuid import UUID

from pydantic import BaseModel, Field


class Foreseen(BaseModel):
    correctness_prob: float
    estimated_time_seconds: float


class FeatureEffect(BaseModel):
    """What one feature of the student's past did to the prediction."""

    feature: str = Field(examples=["topic_success_rate"])
    value: float = Field(description="The student's, when the task was created: a share (0-1), seconds or tasks.")
    average: float = Field(description="The average student's, in the same unit.")
    correctness_effect: float = Field(description="How far it moved the probability; 0.07 is 7 points up.")
    time_effect_seconds: float = Field(description="How far it moved the expected time, seconds.")
    text: str = Field(
        examples=["You got 82 % of your tasks on Calculus right, the average student 60 %: 7 points up, 3 s less."]
    )


class PartEffect(BaseModel):
    """What one part of the task did to LNIRT's prediction, beside the same task with that part unknown."""

    part: Literal["student", "topic", "difficulty", "exercise"] = Field(
        description="`exercise` where the task names one. The student's ability moves the chance, their speed the time."
    )
    correctness_effect: float = Field(description="How far it moved the probability; 0.07 is 7 points up.")
    time_effect_seconds: float = Field(description="How far it moved the expected time, seconds.")
    text: str = Field(examples=["The topic Calculus: 5 points down, 2 s more."])


class KindAnswer(BaseModel):
    """What one kind of model says of the task, before the service's limits."""

    kind: str = Field(examples=["embedding_v2"])
    version_id: int
    answered: bool = Field(description="The task names this kind.")
    chance_share: float = Field(0.0, description="What it had to say of the task's chance, 0-1.")
    time_share: float = Field(0.0, description="What it had to say of the task's time, 0-1.")
    correctness_prob: float
    estimated_time_seconds: float


class Explanation(BaseModel):
    """The prediction, set against that for an average student; the effects add up to the difference."""

    task_id: UUID
    model_version: str = Field(description="The kind of model that predicted.")
    model_version_id: int | None = Field(
        description="Its version; null for the prior, and for LNIRT before the first training."
    )
    explained_by_version_id: int | None = Field(
        description="The version that was asked for this explanation: the same, while its files are kept, else the one "
        "of its kind that serves now. Null where there was nothing to ask."
    )
    prediction: Foreseen = Field(
        description="What is said of the task, from what was known then: that version, and with their shares the other "
        "kinds that had a part."
    )
    average_student: Foreseen | None = Field(
        description="What a network would say with the past of an average student, and LNIRT of a student and a task "
        "of which nothing is known. Null where there is nothing to set beside the prediction."
    )
    features: list[FeatureEffect] = Field(
        description="The eleven, the greatest effect on the probability first; empty for models that don't use them."
    )
    parts: list[PartEffect] = Field(
        description="Of LNIRT, the greatest effect on the probability first; empty for others, and where what the "
        "prediction was made from is no longer kept."
    )
    kinds: list[KindAnswer] = Field(
        description="What each kind in service says of the task from what was known when it was created, the one that "
        "answers first in front; the numbers are those of its Keras files, to 1e-6 and 1e-5 relative. Left out are "
        "networks where the task's inputs were not kept."
    )
    text: str = Field(description="All of it in a few sentences.")
