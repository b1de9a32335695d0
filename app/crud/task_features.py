"""What a task's prediction was made from."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import PracticeTask


def of_task(db: Session, task_id: UUID) -> Sequence[float] | None:
    """As app/ml/features/inputs.py has it; none where it was not kept."""
    return db.scalar(select(PracticeTask.features).where(PracticeTask.id == task_id))
