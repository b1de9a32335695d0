"""Suggestions on a page."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Query
from sqlalchemy.orm import Session

from app.domain.planning import TARGET, TARGET_LEAST, TARGET_MOST, Wishes
from app.ml.serving.model_order import ServingModels
from app.planning.reasons import sentence
from app.planning.recommender import recommend_now

SHOWN = 5
TARGETS = (0.70, 0.75, 0.80, 0.85)

Target = Annotated[str, Query()]  # as the form sends it; anything else counts as the usual one


def suggested(db: Session, serving: ServingModels, student: UUID, target: str = "") -> dict[str, Any]:
    """What suggestions.html shows."""
    wishes = Wishes(_target(target))
    return {
        "suggestions": recommend_now(serving, db, student, wishes, SHOWN),
        "targets": TARGETS,
        "sentence": sentence,
    }


def _target(given: str) -> float:
    try:
        wanted = float(given)
    except ValueError:
        return TARGET
    return wanted if TARGET_LEAST <= wanted <= TARGET_MOST else TARGET
