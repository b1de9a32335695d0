"""Erase a student, or all who were made up: from the database at once.

The files of versions that may not wait for the next training go too.
"""

from uuid import UUID

from sqlalchemy.orm import Session

from app.core.settings import settings
from app.crud import audit, demonstration, erasures, service_keys
from app.crud.demonstration import Demonstration
from app.crud.erasures import Erased
from app.domain.actors import Actor
from app.ml.serving.version_store import version_store


def erase(db: Session, student: UUID, actor: Actor | None = None) -> Erased:
    """Erase all that is stored about the student, and commit. The next training begins without them.

    Where it was not the student, the audit has who it was; not whom.
    """
    erased = erasures.erase(db, student, settings().min_training_tasks)
    if actor is not None:
        audit.record(db, actor, "student erased", tasks=erased.tasks, account=erased.account)
    return _done(db, erased)


def remove_demonstration(db: Session, actor: Actor) -> Demonstration | None:
    """Erase all students who were made up, end the guided run's key, and commit; what there was of them.

    What real students did meanwhile stays; the next training begins without the others.
    """
    found = demonstration.found(db)
    if found is None:
        return None
    if any(key.name == demonstration.GUIDED_RUN and key.state == "in use" for key in service_keys.listed(db)):
        service_keys.revoke(db, demonstration.GUIDED_RUN, actor)
        db.commit()  # first, so that a run which is at work stores nothing more
    erased = erasures.erase_all(db, demonstration.students(db), settings().min_training_tasks)
    audit.record(db, actor, "demonstration removed", students=found.students, tasks=erased.tasks)
    _done(db, erased)
    return found


def _done(db: Session, erased: Erased) -> Erased:
    """Commit, and remove the files of versions that were withdrawn."""
    db.commit()
    for folder in erased.folders:
        version_store().remove(folder)  # where the store is away, the next run does
    return erased
