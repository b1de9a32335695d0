"""What a network learns from, in shards of students, for workers to make its inputs of; and put together again."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.domain.attempts import COLUMNS, Attempts
from app.ml.engine.local import Arrays, by_student, current
from app.ml.features.inputs import inputs_of, known_before

SHARD_ROWS = 200_000


def shards(attempts: Attempts) -> Sequence[object]:
    """Pieces for workers, each with the rows of some students and what was known before them."""
    parts = (
        {"row": rows, **{name: getattr(attempts, name)[rows] for name in COLUMNS}}
        for rows in by_student(attempts.student, SHARD_ROWS)
    )
    return current().shards(partial(_with_past, len(attempts.topics), len(attempts.items)), parts)


def _with_past(topics: int, items: int, part: Arrays) -> Arrays:
    columns = (part[name] for name in COLUMNS)
    past = inputs_of(known_before(Attempts((), ("",) * topics, ("",) * items, *columns)))
    return {**part, "past": past.astype(np.float32)}


def joined(parts: Sequence[Arrays], names: Sequence[tuple[str, ...]]) -> tuple[Attempts, NDArray[np.float32]]:
    """All rows in their order, and their inputs of the past. `names`: students, topics, items."""
    order = np.argsort(np.concatenate([part["row"] for part in parts]))
    column: dict[str, Any] = {
        name: np.concatenate([part[name] for part in parts])[order] for name in (*COLUMNS, "past")
    }
    past = column.pop("past")
    students, topics, items = names
    return Attempts(students, topics, items, **column), past
