"""What imported tasks add to their students' totals: added up here while the database stores the tasks.

For all others the trigger student_totals_on_write does it, whose sums these are. It is a third of an import's time.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, islice
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from psycopg2.errors import UniqueViolation
from sqlalchemy.orm import Session

from app.crud.binary_copy import HEADER, SINCE_1970, TRAILER, cell, copy_in
from app.crud.rows import execute
from app.domain.attempts import DIFFICULTIES
from app.domain.interactions import Interaction

COLUMNS = "user_id, scope, key, n, n_correct, microseconds, last_at, last_id, last_correct, last_seconds"
COUNTED_HERE = "SELECT set_config('smartstudy.totals_of_import', :on, true)"  # the trigger asks for it
KNOWN = "SELECT EXISTS (SELECT FROM student_totals WHERE user_id = ANY(CAST(:students AS uuid[])))"
ADDED = f"""
    CREATE TEMPORARY TABLE IF NOT EXISTS added ON COMMIT DROP AS SELECT {COLUMNS} FROM student_totals LIMIT 0"""
OF_ONE_PART = f"SELECT {COLUMNS} FROM added"
OF_ALL_PARTS = """
    SELECT user_id, scope, key, n, n_correct, micros, (last).completed_at, (last).id, (last).is_correct, (last).seconds
    FROM (
        SELECT user_id, scope, key, sum(n) AS n, sum(n_correct) AS n_correct, sum(microseconds) AS micros,
            (max(ARRAY[ROW(last_at, last_id, last_correct, last_seconds)::last_task]))[1] AS last
        FROM added GROUP BY user_id, scope, key
    ) AS sums"""
ADD = f"""
    INSERT INTO student_totals AS total ({COLUMNS}) {{added}} ORDER BY user_id, scope, key
    ON CONFLICT (user_id, scope, key) DO UPDATE SET
        n = total.n + excluded.n,
        n_correct = total.n_correct + excluded.n_correct,
        microseconds = total.microseconds + excluded.microseconds,
        (last_at, last_id, last_correct, last_seconds) = (
            SELECT (newer).completed_at, (newer).id, (newer).is_correct, (newer).seconds
            FROM (SELECT greatest(
                ROW(total.last_at, total.last_id, total.last_correct, total.last_seconds)::last_task,
                ROW(excluded.last_at, excluded.last_id, excluded.last_correct, excluded.last_seconds)::last_task
            ) AS newer) AS of_both)"""

ASKED = 10_000  # students in one question
TOGETHER = 50_000  # tasks whose totals are worked out at once, and the rest of the last one's student

TASK = np.dtype(
    [
        ("student", "i4"),
        ("topic", "i4"),
        ("item", "i4"),
        ("difficulty", "i1"),
        ("correct", "?"),
        ("seconds", "f8"),
        ("finished", "i8"),  # microseconds since 2000
        ("id", "V16"),
    ]
)
# A row of the binary COPY: before each cell its length in bytes. Scope and key stand between HEAD and TAIL.
HEAD = np.dtype([("cells", ">i2"), ("length", ">i4"), ("student", "V16")])
SUMS = {
    "n": ">i4",
    "n_correct": ">i4",
    "microseconds": ">i8",
    "finished": ">i8",
    "id": "V16",
    "correct": "?",
    "seconds": ">f8",
}
TAIL = np.dtype([part for name, kind in SUMS.items() for part in ((f"length of {name}", ">i4"), (name, kind))])


@contextmanager
def counted_here(db: Session) -> Iterator[None]:
    """Finished tasks that are inserted meanwhile add nothing to the totals but by `add`."""
    execute(db, COUNTED_HERE, on="on")
    yield
    execute(db, COUNTED_HERE, on="")  # a rollback ends it, too


def put_by(db: Session, tasks: "ImportedTasks") -> None:
    """Keep in the database what they add, until `add`; they are then forgotten. Nobody waits for it."""
    execute(db, ADDED)
    copy_in(db, "added", COLUMNS, tasks.totals())
    tasks.forget()


def add(db: Session, tasks: "ImportedTasks", *, others: bool) -> None:
    """Add them to the totals, and the `others` that are put by; they are then forgotten.

    All at once and in the order of the key, as everybody does: whoever finishes a task of these students waits from
    here to the end of the transaction.
    """
    if not others and not _known(db, tasks.students):
        with suppress(UniqueViolation), db.begin_nested():  # a student who had none gets some from elsewhere meanwhile
            copy_in(db, "student_totals", COLUMNS, tasks.totals())
            tasks.forget()
            return
    put_by(db, tasks)
    execute(db, ADD.format(added=OF_ALL_PARTS if others else OF_ONE_PART))
    execute(db, "DROP TABLE added")


def _known(db: Session, students: Iterable[bytes]) -> bool:
    """Tell whether any of them has totals."""
    rest = iter(students)
    while some := [str(UUID(bytes=student)) for student in islice(rest, ASKED)]:
        if execute(db, KNOWN, students=some).scalar():
            return True
    return False


class ImportedTasks:
    """Tasks as columns, 46 bytes each, and the names that they give."""

    def __init__(self) -> None:
        # Each with its number, in the order they are met; no exercise is "".
        self.students, self.topics, self.items = dict[bytes, int](), dict[str, int](), dict[str, int]()
        self._parts: list[NDArray[Any]] = []

    def take(self, tasks: Sequence[Interaction]) -> None:
        """Note some more, at least one."""
        ids, students, items, topics, levels, correct, seconds, started = zip(*tasks, strict=True)
        part = np.empty(len(tasks), TASK)
        part["student"], part["topic"] = _numbered(self.students, students), _numbered(self.topics, topics)
        part["item"] = _numbered(self.items, [item or "" for item in items])
        part["difficulty"] = [*map(DIFFICULTIES.index, levels)]
        part["correct"], part["seconds"] = correct, seconds
        lasted = np.maximum(np.rint(part["seconds"] * 1e6), 1).astype(np.int64)
        part["finished"] = np.rint(np.array(started) * 1e6).astype(np.int64) - SINCE_1970 + lasted
        part["id"] = np.frombuffer(b"".join(ids), "V16")
        self._parts.append(part)

    def forget(self) -> None:
        """Keep the names only."""
        self._parts = []

    def totals(self) -> Iterator[bytes]:
        """Yield what they add, by student, scope and key, as a binary COPY of COLUMNS in pieces."""
        tasks = self._put_together()
        students, place = _sorted(self.students)
        whose = place[tasks["student"]]
        order = np.argsort(whose, kind="stable")
        begins = np.flatnonzero(np.diff(whose[order], prepend=-1))  # each student's first
        sums, end = _Sums(students, self.topics, self.items), 0
        yield HEADER
        while (begin := end) < len(tasks):
            student = np.searchsorted(begins, begin + TOGETHER)
            end = int(begins[student]) if student < len(begins) else len(tasks)
            yield sums.rows(whose[order[begin:end]], tasks[order[begin:end]])
        yield TRAILER

    def _put_together(self) -> NDArray[Any]:
        """All of them, (n,), as one part; the others go as they are copied."""
        if len(self._parts) == 1:
            return self._parts[0]
        tasks, end = np.empty(sum(map(len, self._parts)), TASK), 0
        self._parts.reverse()
        while self._parts:
            part = self._parts.pop()
            begin, end = end, end + len(part)
            tasks[begin:end] = part
        self._parts.append(tasks)
        return tasks


class _Sums:
    """Adds up the tasks of some students."""

    def __init__(self, students: Sequence[bytes], topics: dict[str, int], items: dict[str, int]) -> None:
        self._students = np.frombuffer(b"".join(students), "V16")
        self._keys, self._scopes, self._ends = [""], ["all"], [1]  # keys by scope, then by name
        self._place = dict[str, NDArray[np.int32]]()  # of each number among the keys
        levels = {level: number for number, level in enumerate(DIFFICULTIES)}
        for scope, names in (("difficulty", levels), ("item", items), ("topic", topics)):
            ordered, place = _sorted(names)
            self._place[scope] = place + np.int32(len(self._keys))
            self._keys += ordered
            self._scopes.append(scope)
            self._ends.append(len(self._keys))
        self._no_item = items.get("", -1)

    def rows(self, whose: NDArray[np.int32], tasks: NDArray[Any]) -> bytes:
        """Return the rows of students all of whose tasks these are; `whose` each is, in order."""
        high, low = np.ascontiguousarray(tasks["id"]).view(">u8").reshape(-1, 2).T
        tasks = tasks[np.lexsort((low, high, tasks["finished"], whose))]
        del high, low
        parts = [self._of_scope(scope, whose, tasks) for scope in ("all", *self._place)]
        group, n, n_correct, micros, newest = map(np.concatenate, zip(*parts, strict=True))
        order = np.argsort(group)
        student, key = group[order] // len(self._keys), group[order] % len(self._keys)
        last = tasks[newest[order]]
        sums = {
            "n": n[order],
            "n_correct": n_correct[order],
            "microseconds": micros[order],
            **{name: last[name] for name in ("finished", "id", "correct", "seconds")},
        }
        head, tail = np.empty(len(group), HEAD), np.empty(len(group), TAIL)
        head["cells"], head["length"], head["student"] = len(COLUMNS.split(",")), 16, self._students[student]
        for name, column in sums.items():
            tail[f"length of {name}"], tail[name] = TAIL[name].itemsize, column
        scope = np.searchsorted(self._ends, key, side="right").tolist()
        cells = (
            head.view(f"V{HEAD.itemsize}").tolist(),
            [cell(self._scopes[k]) for k in scope],
            [cell(self._keys[k]) for k in key.tolist()],
            tail.view(f"V{TAIL.itemsize}").tolist(),
        )
        return b"".join(chain.from_iterable(zip(*cells, strict=True)))

    def _of_scope(self, scope: str, whose: NDArray[np.int32], tasks: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """Each group's number, tasks, correct ones, microseconds, and the place of its newest.

        A scope by itself: all four at once take four times the memory, where one student has done most of a file.
        """
        group = whose * np.int64(len(self._keys))
        if scope != "all":
            group += self._place[scope][tasks[scope]]
        order = np.argsort(group, kind="stable")  # the newest task stays the last of its group
        if scope == "item":
            order = order[tasks["item"][order] != self._no_item]
        group = group[order]
        first = np.flatnonzero(np.diff(group, prepend=-1))
        n = np.diff(first, append=len(group))
        n_correct = np.add.reduceat(tasks["correct"][order], first, dtype=np.int32)
        micros = np.rint(np.minimum(tasks["seconds"][order], 1e6) * 1e6).astype(np.int64)
        return group[first], n, n_correct, np.add.reduceat(micros, first), order[first + n - 1]


def _sorted(names: dict[Any, int]) -> tuple[list[Any], NDArray[np.int32]]:
    """Names in order, and where in it each number's is, (n,)."""
    ordered = sorted(names)
    place = np.empty(len(names), np.int32)
    place[[names[name] for name in ordered]] = np.arange(len(names), dtype=np.int32)
    return ordered, place


def _numbered(known: dict[Any, int], values: Sequence[Any]) -> NDArray[np.int32]:
    """Each value's number, (n,); new ones are added to those known."""
    for value in dict.fromkeys(values):
        known.setdefault(value, len(known))
    return np.fromiter(map(known.__getitem__, values), np.int32, len(values))
