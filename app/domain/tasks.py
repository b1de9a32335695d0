"""A practice task, from the question to the result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

Contributions = Mapping[str, Sequence[float]]  # by kind its shares of the chance and of the time, 0-1


@dataclass(frozen=True, slots=True)
class Prediction:
    """What was said before the task was done, and by whom."""

    correctness_prob: float  # 0-1
    estimated_time_seconds: float
    model_version: str  # the kind that answered: embedding_v2, v1.0 (LNIRT), ..., prior
    model_version_id: int | None  # row in model_versions; none for the prior
    correctness_prob_low: float | None = None  # 10-90 %, where the model says how sure it is
    correctness_prob_high: float | None = None
    time_low_seconds: float | None = None  # 10-90 %
    time_high_seconds: float | None = None
    fallback_reason: str | None = None  # why no better model answered
    fallback_cause: str = "none"  # the same in one word
    contributions: Contributions | None = None  # where a network had its part


@dataclass(frozen=True, slots=True)
class Task:
    """A practice task as it is stored."""

    id: UUID
    user_id: UUID
    topic: str
    difficulty: str
    item_id: str | None  # the exercise in the caller's own bank
    created_at: datetime  # UTC
    completed: bool
    is_correct: bool | None
    actual_time_seconds: float | None
    completed_at: datetime | None  # UTC
    correctness_prob: float | None  # none: imported, never predicted
    estimated_time_seconds: float | None
    model_version: str | None
    model_version_id: int | None
    correctness_prob_low: float | None
    correctness_prob_high: float | None
    time_low_seconds: float | None
    time_high_seconds: float | None
    fallback_reason: str | None
    contributions: Contributions | None = None

    @property
    def request(self) -> "TaskRequest":
        """What was asked for."""
        return TaskRequest(self.user_id, self.topic, self.difficulty, self.item_id)


@dataclass(frozen=True, slots=True)
class TaskRequest:
    """Whom a new task is for and what it is about."""

    user_id: UUID
    topic: str
    difficulty: str
    item_id: str | None = None
    school: UUID | None = None  # which brings it, where its key sees nobody else's students


@dataclass(frozen=True, slots=True)
class Result:
    """How a task went."""

    task_id: UUID
    is_correct: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class Claim:
    """Whom a request says it comes from, by a token of ours or a service key; the database says if they are let in."""

    student: UUID | None = None
    key_hash: bytes | None = None
    token: UUID | None = None  # the student's, by its id; none where a page or a console asks
    school: UUID | None = None  # the key's, where it sees its own students only


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends the request: a student (an admin is one too), or a school's back end with a service key."""

    student: UUID | None = None
    key: UUID | None = None
    email: str = ""  # the student's, to sign in with
    is_admin: bool = False  # may see and change who serves
    school: UUID | None = None  # the key's, where it sees its own students only

    @property
    def owner(self) -> UUID | None:
        """Whose tasks the caller may see; none for everybody's."""
        return self.student

    @property
    def sight(self) -> dict[str, UUID | None]:
        """Whose tasks and plans the caller sees: this student's, this school's, this key's; none: any."""
        return {"owner": self.student, "school": self.school, "key": self.key}
