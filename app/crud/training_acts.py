"""Trainings held up and let on by a person: the change and its entry in the audit are one."""

from sqlalchemy.orm import Session

from app.crud import audit, training_control
from app.domain.actors import Actor


def pause(db: Session, actor: Actor, reason: str) -> bool:
    """Let no training begin by itself; False where it is so already, and the first reason stays."""
    done = training_control.pause(db, actor.name, reason)
    if done:
        audit.record(db, actor, "trainings paused", reason=reason)
    return done


def resume(db: Session, actor: Actor) -> bool:
    """Let trainings begin by themselves again; False where nothing held them up."""
    done = training_control.resume(db)
    if done:
        audit.record(db, actor, "trainings resumed")
    return done
