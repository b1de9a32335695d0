"""Finished tasks as columns, for training: read as PostgreSQL's binary COPY, no object per row."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.domain.attempts import DIFFICULTIES, Attempts

FINISHED = "completed AND is_correct IS NOT NULL AND actual_time_seconds > 0"
THEIRS = f"{FINISHED} AND user_id = ANY(CAST(%(asked)s AS uuid[]))"

# Codes are positions in the sorted distinct values, counted alike here and in `_read`, on one snapshot.
CODES = """(SELECT {column}, CAST(row_number() OVER (ORDER BY {order}) - 1 AS integer) AS code
            FROM (SELECT DISTINCT {column} FROM practice_tasks WHERE {which} AND {column} IS NOT NULL) AS found)"""
ORDER = {"user_id": "user_id", "topic": 'topic COLLATE "C"', "item_id": 'item_id COLLATE "C"'}
COPY = f"""COPY (
    SELECT student.code, topic.code, array_position(ARRAY{list(DIFFICULTIES)!r}, difficulty) - 1,
           coalesce(item.code, -1), created_at, completed_at, is_correct, actual_time_seconds
    FROM practice_tasks
    JOIN {{user_id}} AS student USING (user_id)
    JOIN {{topic}} AS topic USING (topic)
    LEFT JOIN {{item_id}} AS item USING (item_id)
    WHERE {{which}}
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
    return _read(db, FINISHED, [])


def read_students(db: Session, students: Sequence[UUID | str]) -> Attempts:
    """The same of these students only, found by an index; whoever has finished nothing is left out."""
    return _read(db, THEIRS, [str(student) for student in students])


def _read(db: Session, which: str, asked: list[str]) -> Attempts:
    cursor = db.connection().connection.cursor()
    codes = {column: CODES.format(column=column, order=order, which=which) for column, order in ORDER.items()}
    data = io.BytesIO()
    cursor.copy_expert(cursor.mogrify(COPY.format(**codes, which=which), {"asked": asked}), data)

    def distinct(column: str) -> tuple[str, ...]:
        cursor.execute(f"SELECT CAST({column} AS text) FROM {codes[column]} AS found ORDER BY code", {"asked": asked})
        return tuple(row[0] for row in cursor.fetchall())

    return Attempts(distinct("user_id"), distinct("topic"), distinct("item_id"), **_columns(data))


def _columns(data: io.BytesIO) -> dict[str, Any]:
    rows = np.frombuffer(data.getbuffer()[HEADER:-TRAILER], dtype=ROW)
    column = {name: rows[name].astype(rows.dtype[name].newbyteorder("=")) for name in COLUMNS}
    column["started"] += SINCE_1970
    column["finished"] = np.maximum(column["finished"] + SINCE_1970, column["started"] + 1)
    return column


def of_rows(rows: Sequence[Sequence[Any]]) -> Attempts:
    """A few tasks as columns, in their order. A row: student, topic, difficulty, item id or none, created, completed,
    right or wrong, seconds."""
    students, topics, levels, items, created, completed, correct, seconds = zip(*rows, strict=True)
    (whose, student), (named, topic), (exercises, item) = map(_numbered, (students, topics, items))
    started = np.array([microseconds(each) for each in created])
    return Attempts(
        whose,
        named,
        exercises,
        student,
        topic,
        np.array([DIFFICULTIES.index(each) for each in levels], np.int32),
        item,
        started,
        np.maximum([microseconds(each) for each in completed], started + 1),
        np.array(correct, np.bool_),
        np.array(seconds, np.float64),
    )


def _numbered(column: Sequence[str | None]) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """All names, sorted, and the position of each of n; -1 for none."""
    names = tuple(sorted({each for each in column if each is not None}))
    return names, np.array([-1 if each is None else names.index(each) for each in column], np.int32)


def per_student(db: Session) -> tuple[list[str], NDArray[np.int64]]:
    """Every student, and how many tasks each has finished, (n,): one row of the totals a student."""
    rows = db.execute(text("SELECT CAST(user_id AS text), n FROM student_totals WHERE scope = 'all' ORDER BY user_id"))
    students, finished = [*zip(*rows, strict=True)] or ((), ())
    return list(students), np.array(finished, np.int64)


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
    """The tasks finished last, newest first by (completed_at, id); by an index, whatever their number."""
    rows = db.execute(
        text(f"""SELECT user_id, completed_at FROM practice_tasks WHERE {FINISHED}
                 ORDER BY completed_at DESC, id DESC LIMIT :most"""),
        {"most": most},
    )
    return [Newest(str(student), finished) for student, finished in rows]


def microseconds(moment: datetime) -> int:
    """UTC, since 1970."""
    return (moment - EPOCH) // timedelta(microseconds=1)
