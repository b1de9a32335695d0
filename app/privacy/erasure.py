"""Erase a student: from the database at once, and the files of versions that may not wait for the next training."""

from pathlib import Path
from uuid import UUID

from sqlalchemy.orm import Session

from app.core.settings import settings
from app.crud import audit, erasures
from app.crud.erasures import Erased
from app.domain.actors import Actor
from app.ml.serving import artifacts


def erase(db: Session, student: UUID, actor: Actor | None = None) -> Erased:
    """Erase all that is stored about the student, and commit. The next training begins without them.

    Where it was not the student, the audit has who it was; not whom.
    """
    erased = erasures.erase(db, student, settings().min_training_tasks)
    if actor is not None:
        audit.record(db, actor, "student erased", tasks=erased.tasks, account=erased.account)
    db.commit()
    for folder in erased.folders:
        artifacts.remove(Path(settings().model_dir), folder)
    return erased
