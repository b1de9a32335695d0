"""Erase a student: from the database at once, and the files of versions that may not wait for the next training."""

from pathlib import Path
from uuid import UUID

from sqlalchemy.orm import Session

from app.core.settings import settings
from app.crud import erasures
from app.crud.erasures import Erased
from app.ml import artifacts


def erase(db: Session, student: UUID) -> Erased:
    """Erase all that is stored about the student, and commit. The next training begins without them."""
    erased = erasures.erase(db, student, settings().min_training_tasks)
    db.commit()
    for folder in erased.folders:
        artifacts.remove(Path(settings().model_dir), folder)
    return erased
