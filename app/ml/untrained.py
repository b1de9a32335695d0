"""Answers before the first training: LNIRT of the tasks that are finished, fitted as somebody asks for the next one."""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.statements import Conversation
from app.crud import finished_tasks
from app.crud.attempts import microseconds
from app.crud.student_totals import Past
from app.domain.attempts import DIFFICULTIES, Attempts
from app.domain.tasks import Asked
from app.ml.answers import Answer
from app.ml.lnirt_service import ServedLnirt
from app.ml.lnirt_small import fit_small

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


def answer(asked: Asked, past: Past) -> Conversation[Answer | None]:
    """What LNIRT says of a task of this student; none where nobody has finished anything."""
    rows = yield finished_tasks.NEWEST, {"through": past.at, "most": MOST}
    if not rows:
        return None
    done = tuple(tuple(row[column] for column in COLUMNS) for row in reversed(rows))
    now = (str(asked.user_id), asked.topic, asked.difficulty, asked.item_id, past.at, past.at, False, 1.0)
    return _fitted(done).answers(_attempts([*done, now]), np.array([len(done)]))[0]


@lru_cache(maxsize=1)
def _fitted(done: tuple[Row, ...]) -> ServedLnirt:
    """A page of suggestions asks about many tasks at once."""
    return ServedLnirt(fit_small(_attempts(done)))


def _attempts(rows: "tuple[Row, ...] | list[Row]") -> Attempts:
    """As columns, in their order."""
    students, topics, levels, items, started, finished, correct, seconds = zip(*rows, strict=True)
    (whose, student), (named, topic), (exercises, item) = map(_numbered, (students, topics, items))
    began = np.array([microseconds(each) for each in started])
    return Attempts(
        whose,
        named,
        exercises,
        student,
        topic,
        np.array([DIFFICULTIES.index(each) for each in levels], np.int32),
        item,
        began,
        np.maximum([microseconds(each) for each in finished], began + 1),
        np.array(correct, np.bool_),
        np.array(seconds, np.float64),
    )


def _numbered(column: tuple[str | None, ...]) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """All names, sorted, and the position of each of n; -1 for none."""
    names = tuple(sorted({each for each in column if each is not None}))
    return names, np.array([-1 if each is None else names.index(each) for each in column], np.int32)
