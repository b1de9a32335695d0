"""Finished tasks in bulk: one COPY into the table; where some are there already, one INSERT that skips those."""

import io
import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from itertools import islice
from struct import Struct
from uuid import UUID

import psycopg2
from psycopg2.errors import UniqueViolation
from sqlalchemy.orm import Session

from app.crud import model_tracker, spellings
from app.crud.binary_copy import HEADER, SINCE_1970, TRAILER
from app.crud.rows import execute, take_turn
from app.domain.interactions import Interaction
from app.domain.spellings import Kind

COLUMNS = """user_id, created_at, id, completed, is_correct, actual_time_seconds, completed_at, topic, difficulty,
    item_id, school_id"""
INSERT = f"""
    INSERT INTO practice_tasks ({COLUMNS}) SELECT {COLUMNS} FROM imported
    ORDER BY user_id, created_at ON CONFLICT (id) DO NOTHING"""

RENAME: dict[Kind, str] = {
    "topic": "UPDATE practice_tasks SET topic = :name WHERE topic = :written",
    "item": "UPDATE practice_tasks SET item_id = :name WHERE item_id = :written",
}

SORTED = 160_000  # rows at most, by student and time: an index page is then touched once, not once a row
FIRST = 10_000  # of them, each batch twice the one before, so that the database soon has something to do
AHEAD = 1  # batch ready while the database is still at work

# A row of PostgreSQL's binary COPY; before each cell its length in bytes.
ROW = Struct(">hi16siqi16si?i?idiq")
EMPTY = b"\xff\xff\xff\xff"


def add(db: Session, interactions: Iterable[Interaction], school: UUID | None = None) -> int:
    """Store what is not stored yet and count it; the number of new rows. Memory stays bounded.

    `school`: whose students these are, where its key sees no others.

    `interactions` must be able to begin anew: a file usually brings only new rows, and when it doesn't is read twice.
    """
    noted = _Noted(interactions)
    take_turn(db, "importing")  # two with the same rows would wait for each other
    execute(db, "SET LOCAL work_mem = '64MB'")
    try:
        with db.begin_nested():
            added = _copy(db, "practice_tasks", noted, school)
    except UniqueViolation:
        added = _add_missing(db, noted, school)
    if added:
        for kind, written, name in spellings.register_all(db, noted.names()):  # it may have come meanwhile
            execute(db, RENAME[kind], written=written, name=name)
        model_tracker.count(db, added)
    return added


def _add_missing(db: Session, interactions: Iterable[Interaction], school: UUID | None) -> int:
    execute(db, "DROP TABLE IF EXISTS imported")
    execute(db, f"CREATE TEMPORARY TABLE imported ON COMMIT DROP AS SELECT {COLUMNS} FROM practice_tasks LIMIT 0")
    _copy(db, "imported", interactions, school)
    return execute(db, INSERT).rowcount


def _copy(db: Session, table: str, interactions: Iterable[Interaction], school: UUID | None) -> int:
    """COPY while another thread makes the rows; how many."""
    cursor = db.connection().connection.cursor()
    with _Ahead(_batches(interactions, EMPTY if school is None else b"\x00\x00\x00\x10" + school.bytes)) as rows:
        try:
            cursor.copy_expert(f"COPY {table} ({COLUMNS}) FROM STDIN (FORMAT binary)", rows, size=1 << 20)
        except psycopg2.Error:
            if rows.error is not None:  # psycopg2 hides what went wrong in making the rows
                raise rows.error from None
            raise
    copied: int = cursor.rowcount
    return copied


def _batches(interactions: Iterable[Interaction], school: bytes) -> Iterator[bytes]:
    """The whole of a binary COPY, in large pieces; `school` is the last cell of each row."""
    yield HEADER
    rows, size = (_row(each) + school for each in interactions), FIRST
    while batch := sorted(islice(rows, size)):  # as bytes: by student, then time
        yield b"".join(batch)
        size = min(2 * size, SORTED)
    yield TRAILER


def _row(row: Interaction) -> bytes:
    """Columns in the order of COLUMNS, but the last."""
    started = round(row.started * 1e6) - SINCE_1970
    finished = started + max(round(row.seconds * 1e6), 1)
    fixed = ROW.pack(
        11, 16, row.student, 8, started, 16, row.id, 1, True, 1, row.correct, 8, row.seconds, 8, finished
    )  # fmt: skip
    return fixed + _cell(row.topic) + _cell(row.difficulty) + (EMPTY if row.item is None else _cell(row.item))


@lru_cache(200_000)  # topics, levels and exercises
def _cell(value: str) -> bytes:
    encoded = value.encode()
    return len(encoded).to_bytes(4) + encoded


class _Noted:
    """Rows, and the topics and exercises that they name."""

    def __init__(self, rows: Iterable[Interaction]) -> None:
        self._rows = rows
        self._topics, self._items = dict[str, None](), dict[str, None]()  # in the order they are met

    def __iter__(self) -> Iterator[Interaction]:
        for row in self._rows:
            self._topics[row.topic] = None
            if row.item is not None:
                self._items[row.item] = None
            yield row

    def names(self) -> Iterator[tuple[Kind, str]]:
        yield from (("topic", name) for name in self._topics)
        yield from (("item", name) for name in self._items)


class _Ahead:
    """Pieces as a file that COPY can read, made by another thread while the database is at work on those before."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._made: queue.Queue[bytes] = queue.Queue(AHEAD)  # b"" ends it
        self._wanted = True
        self._rest = io.BytesIO()
        self._thread = threading.Thread(target=self._make, name="import")
        self.error: BaseException | None = None

    def __enter__(self) -> "_Ahead":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._wanted = False
        while self._thread.is_alive():  # it may be waiting for room
            with suppress(queue.Empty):
                self._made.get(timeout=0.01)
        self._thread.join()

    def _make(self) -> None:
        try:
            for piece in self._pieces:
                if not self._wanted:
                    return
                self._made.put(piece)
        except BaseException as error:  # told to whoever reads
            self.error = error
        finally:
            self._made.put(b"")

    def read(self, size: int = -1) -> bytes:
        if not (data := self._rest.read(size)):
            self._rest = io.BytesIO(self._made.get())
            data = self._rest.read(size)
            if self.error is not None and not data:
                raise self.error
        return data
