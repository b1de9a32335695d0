"""All finished tasks as columns, for training: read as PostgreSQL's binary COPY, no object per row."""

import io
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.domain.attempts import DIFFICULTIES, Attempts

FINISHED = "completed AND is_correct IS NOT NULL AND actual_time_seconds > 0"

# Codes are positions in the sorted distinct values, counted alike here and in `_distinct`, on one snapshot.
COPY = f"""COPY (
    SELECT student.code, topic.code, array_position(ARRAY{list(DIFFICULTIES)!r}, difficulty) - 1,
           coalesce(item.code, -1), created_at, completed_at, is_correct, actual_time_seconds
    FROM practice_tasks
    JOIN (SELECT user_id, CAST(row_number() OVER (ORDER BY user_id) - 1 AS integer) AS code
          FROM (SELECT DISTINCT user_id FROM practice_tasks WHERE {FINISHED}) AS s) AS student USING (user_id)
    JOIN (SELECT topic, CAST(row_number() OVER (ORDER BY topic COLLATE "C") - 1 AS integer) AS code
          FROM (SELECT DISTINCT topic FROM practice_tasks WHERE {FINISHED}) AS t) AS topic USING (topic)
    LEFT JOIN (SELECT item_id, CAST(row_number() OVER (ORDER BY item_id COLLATE "C") - 1 AS integer) AS code
          FROM (SELECT DISTINCT item_id FROM practice_tasks WHERE {FINISHED} AND item_id IS NOT NULL) AS i) AS item
          USING (item_id)
    WHERE {FINISHED}
    ORDER BY completed_at, id
) TO STDOUT (FORMAT binary)"""

COLUMNS = {
    "student": ">i4",
    "topic": ">i4",
    "difficulty": ">i4",
    "item": ">i4",
    "started": ">i8",  # microseconds since 2000
    "finished": ">i8",
    "correct": "?",
    "seconds": ">f8",
}
ROW = np.dtype(
    [("n", ">i2")] + [part for name, kind in COLUMNS.items() for part in ((f"_{name}", ">i4"), (name, kind))]
)
HEADER, TRAILER = 19, 2  # bytes
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SINCE_1970 = 946_684_800_000_000  # microseconds from 1970 to 2000


def read_all(db: Session) -> Attempts:
    """Every finished task, ordered by (completed_at, id). Call it in a snapshot (REPEATABLE READ)."""
    data = io.BytesIO()
    db.connection().connection.cursor().copy_expert(COPY, data)
    rows = np.frombuffer(data.getbuffer()[HEADER:-TRAILER], dtype=ROW)
    column = {name: rows[name].astype(rows.dtype[name].newbyteorder("=")) for name in COLUMNS}
    column["started"] += SINCE_1970
    column["finished"] = np.maximum(column["finished"] + SINCE_1970, column["started"] + 1)
    return Attempts(
        tuple(map(str, _distinct(db, "user_id", "user_id"))),
        tuple(_distinct(db, "topic", 'topic COLLATE "C"')),
        tuple(_distinct(db, "item_id", 'item_id COLLATE "C"')),
        **column,
    )


def _distinct(db: Session, column: str, order: str) -> list[str]:
    rows = db.execute(
        text(f"""SELECT {column} FROM (SELECT DISTINCT {column} FROM practice_tasks
                 WHERE {FINISHED} AND {column} IS NOT NULL) AS found ORDER BY {order}""")
    )
    return [row[0] for row in rows]


def count(db: Session) -> int:
    """How many tasks are finished; from the totals, so that it costs one row a student."""
    n: int = db.scalar(text("SELECT coalesce(sum(n), 0) FROM student_totals WHERE scope = 'all'"))
    return n


@dataclass(frozen=True, slots=True)
class Newest:
    """Who finished a task, and when."""

    student: str
    finished: datetime


def newest(db: Session, most: int) -> list[Newest]:
    """The tasks finished last, newest first; found by an index."""
    rows = db.execute(
        text(f"""SELECT user_id, completed_at FROM practice_tasks WHERE {FINISHED}
                 ORDER BY completed_at DESC LIMIT :most"""),
        {"most": most},
    )
    return [Newest(str(student), finished) for student, finished in rows]


def microseconds(moment: datetime) -> int:
    """UTC, since 1970."""
    return (moment - EPOCH) // timedelta(microseconds=1)
