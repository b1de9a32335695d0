"""Answers before the first training: LNIRT of the tasks that are finished, fitted as somebody asks for the next one."""

from functools import lru_cache
from typing import Any

import numpy as np

from app.core.statements import Conversation
from app.crud import finished_tasks
from app.crud.attempts import of_rows
from app.crud.student_totals import Past
from app.domain.tasks import Asked
from app.ml.answers import Answer
from app.ml.lnirt_service import ServedLnirt
from app.ml.lnirt_small import fit_small
from app.ml.time_limits import USUAL, Limits, time_limits

MOST = 64  # tasks: a first training comes long before
Row = tuple[Any, ...]
COLUMNS = (
    "user_id",
    "topic",
    "difficulty",
    "item_id",
    "created_at",
    "completed_at",
    "is_correct",
    "actual_time_seconds",
)


def answer(asked: Asked, past: Past) -> Conversation[tuple[Answer | None, Limits]]:
    """What LNIRT says of a task of this student, and between which seconds answers stay; none where nobody has finished
    anything."""
    rows = yield finished_tasks.NEWEST, {"through": past.at, "most": MOST}
    if not rows:
        return None, USUAL
    done = tuple(tuple(row[column] for column in COLUMNS) for row in reversed(rows))
    now = (str(asked.user_id), asked.topic, asked.difficulty, asked.item_id, past.at, past.at, False, 1.0)
    model, limits = _fitted(done)
    return model.answers(of_rows([*done, now]), np.array([len(done)]))[0], limits


@lru_cache(maxsize=1)
def _fitted(done: tuple[Row, ...]) -> tuple[ServedLnirt, Limits]:
    """A page of suggestions asks about many tasks at once."""
    attempts = of_rows(done)
    return ServedLnirt(fit_small(attempts)), time_limits(attempts.seconds)
