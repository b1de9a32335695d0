"""A result that was changed or taken back."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Correction:
    """What a result was, what it has been since, and who said so."""

    at: datetime  # UTC
    task_id: UUID
    was_correct: bool
    was_seconds: float
    completed_at: datetime  # of what was corrected, UTC
    is_correct: bool | None  # none: taken back, so that the task was open again
    actual_time_seconds: float | None
    made_by: str  # student, "service key NAME", console
