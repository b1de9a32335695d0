"""Finished tasks as columns, for training and for what stands in before one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from app.core.db.statements import QueryFlow, Rows, Statement
from app.crud.binary_copy import SINCE_1970, columns
from app.crud.rows import all_as, execute, number
from app.domain.attempts import DIFFICULTIES, Attempts

FINISHED = "completed AND is_correct IS NOT NULL AND actual_time_seconds > 0"
THEIRS = f"{FINISHED} AND user_id = ANY(CAST(%(asked)s AS uuid[]))"

# Codes are positions in the sorted distinct values, counted alike here and in `_read`, on one snapshot.
CODES = """(SELECT {column}, CAST(row_number() OVER (ORDER BY {order}) - 1 AS integer) AS code
            FROM (SELECT DISTINCT {column} FROM practice_tasks WHERE {which} AND {column} IS NOT NULL) AS found)"""
ORDER = {"user_id": "user_id", "topic": 'topic COLLATE "C"', "item_id": 'item_id COLLATE "C"'}
ATTEMPTS = f"""
    SELECT student.code, topic.code, array_position(ARRAY{list(DIFFICULTIES)!r}, difficulty) - 1,
           coalesce(item.code, -1), created_at, completed_at, is_correct, actual_time_seconds
    FROM practice_tasks
    JOIN {{user_id}} AS student USING (user_id)
    JOIN {{topic}} AS topic USING (topic)
    LEFT JOIN {{item_id}} AS item USING (item_id)
    WHERE {{which}}
    ORDER BY completed_at, id"""

NEWEST = f"""
    SELECT CAST(user_id AS text) AS student, completed_at AS finished FROM practice_tasks WHERE {FINISHED}
    ORDER BY completed_at DESC, id DESC LIMIT :most"""

# The tasks of anybody that were finished last, as `of_rows` takes them.
LATEST = Statement("""
    SELECT CAST(user_id AS text) AS user_id, topic, difficulty, item_id, created_at, completed_at, is_correct,
           actual_time_seconds
    FROM practice_tasks WHERE completed AND completed_at <= :through AND actual_time_seconds > 0
    ORDER BY completed_at DESC LIMIT :most""")

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
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_all(db: Session) -> Attempts:
    """Every finished task, ordered by (completed_at, id). Call it in a snapshot (REPEATABLE READ)."""
    return _read(db, FINISHED, [])


def read_students(db: Session, students: Sequence[UUID | str]) -> Attempts:
    """The same of these students only, found by an index; whoever has finished nothing is left out."""
    return _read(db, THEIRS, [str(student) for student in students])


def _read(db: Session, which: str, asked: list[str]) -> Attempts:
    codes = {column: CODES.format(column=column, order=order, which=which) for column, order in ORDER.items()}
    column = columns(db, ATTEMPTS.format(**codes, which=which), COLUMNS, asked=asked)
    for moment in ("started", "finished"):
        column[moment] += SINCE_1970
    np.maximum(column["finished"], column["started"] + 1, out=column["finished"])
    cursor = db.connection().connection.cursor()

    def distinct(name: str) -> tuple[str, ...]:
        cursor.execute(f"SELECT CAST({name} AS text) FROM {codes[name]} AS found ORDER BY code", {"asked": asked})
        return tuple(row[0] for row in cursor.fetchall())

    return Attempts(distinct("user_id"), distinct("topic"), distinct("item_id"), **column)


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


def latest(at: datetime, most: int) -> QueryFlow[Rows]:
    """Find the tasks of anybody that were finished last by then, the newest first, as `of_rows` takes them."""
    rows: Rows = yield LATEST, {"through": at, "most": most}
    return rows


def per_student(db: Session) -> tuple[list[str], NDArray[np.int64]]:
    """Every student, and how many tasks each has finished, (n,): one row of the totals a student."""
    rows = execute(db, "SELECT CAST(user_id AS text), n FROM student_totals WHERE scope = 'all' ORDER BY user_id")
    students, finished = [*zip(*rows, strict=True)] or ((), ())
    return list(students), np.array(finished, np.int64)


def count(db: Session) -> int:
    """How many tasks are finished; from the totals, so that it costs one row a student."""
    return number(db, "SELECT coalesce(sum(n), 0) FROM student_totals WHERE scope = 'all'")


@dataclass(frozen=True, slots=True)
class Newest:
    """Who finished a task, and when."""

    student: str
    finished: datetime


def newest(db: Session, most: int) -> list[Newest]:
    """The tasks finished last, newest first by (completed_at, id); by an index, whatever their number."""
    return all_as(Newest, db, NEWEST, most=most)


def microseconds(moment: datetime) -> int:
    """UTC, since 1970."""
    return (moment - EPOCH) // timedelta(microseconds=1)
