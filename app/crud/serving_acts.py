"""Who serves, changed by a person: the change and its entry in the audit are one."""

from sqlalchemy.orm import Session

from app.crud import audit, model_versions
from app.domain.actors import Actor


def promote(db: Session, version_id: int, actor: Actor) -> str:
    """Let this version answer; what was done, in a sentence. Raises what `model_versions.promote` does."""
    said = model_versions.promote(db, version_id, actor.name)
    audit.record(db, actor, "promoted", f"version {version_id}", said=said)
    return said


def roll_back(db: Session, actor: Actor) -> str:
    """Undo the change that put the answering version there; what was done, in a sentence.

    Raises what `model_versions.roll_back` does.
    """
    said = model_versions.roll_back(db, actor.name)
    first = next(iter(model_versions.serving(db).values()))
    audit.record(db, actor, "rolled back", f"version {first.id}", said=said)
    return said
