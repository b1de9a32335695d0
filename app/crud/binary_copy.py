"""Many rows through PostgreSQL's binary COPY: out as columns, without an object per row; in while they are made."""

import io
import queue
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any

import numpy as np
import psycopg2
from numpy.typing import DTypeLike, NDArray
from sqlalchemy.orm import Session

HEADER, TRAILER = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
SINCE_1970 = 946_684_800_000_000  # microseconds from 1970 to 2000, where PostgreSQL begins
NULL = b"\xff\xff\xff\xff"
AHEAD = 1  # piece ready while the database is still at work
AT_ONCE = 1 << 23  # bytes that wait to become columns


def columns(db: Session, query: str, kinds: Mapping[str, DTypeLike], **values: object) -> dict[str, NDArray[Any]]:
    """The n rows of a query as arrays (n,), none of its cells NULL; `kinds` names each column's big-endian type.

    The query's values stand in it as %(name)s.
    """
    cursor, read = db.connection().connection.cursor(), _Columns(kinds)
    cursor.copy_expert(cursor.mogrify(f"COPY ({query}) TO STDOUT (FORMAT binary)", values), read)
    return read.whole()


@lru_cache(200_000)  # topics, levels and exercises
def cell(value: str) -> bytes:
    """A text as a row has it: behind its length in bytes."""
    encoded = value.encode()
    return len(encoded).to_bytes(4) + encoded


class _Columns:
    """A file to write a binary COPY into, which keeps its cells as columns."""

    def __init__(self, kinds: Mapping[str, DTypeLike]) -> None:
        # Before each row the number of its cells, before each cell its length.
        cells = [part for name, kind in kinds.items() for part in ((f"length of {name}", ">i4"), (name, kind))]
        self._row = np.dtype([("n", ">i2"), *cells])
        self._parts: dict[str, list[NDArray[Any]]] = {name: [] for name in kinds}
        self._waiting, self._begun = bytearray(), False

    def write(self, data: bytes) -> None:
        self._waiting += data
        if len(self._waiting) >= AT_ONCE:
            self._take()

    def _take(self) -> None:
        """The rows that are whole become parts of the columns."""
        first = 0 if self._begun else len(HEADER)
        rows = np.frombuffer(self._waiting, self._row, (len(self._waiting) - first) // self._row.itemsize, first)
        for name, parts in self._parts.items():
            parts.append(rows[name].astype(self._row[name].newbyteorder("=")))
        self._waiting, self._begun = self._waiting[first + rows.nbytes :], True

    def whole(self) -> dict[str, NDArray[Any]]:
        """The columns, each put together by itself; what is left behind the last row is the trailer."""
        self._take()
        return {name: np.concatenate(self._parts.pop(name)) for name in list(self._parts)}


def copy_in(db: Session, table: str, columns: str, pieces: Iterator[bytes]) -> int:
    """COPY while another thread makes the pieces; how many rows."""
    cursor = db.connection().connection.cursor()
    with _Ahead(pieces) as rows:
        try:
            cursor.copy_expert(f"COPY {table} ({columns}) FROM STDIN (FORMAT binary)", rows, size=1 << 20)
        except psycopg2.Error as why:  # it hides what went wrong in making the rows, and a Ctrl-C
            if rows.error is not None:
                raise rows.error from None
            if "error in .read() call" in str(why):
                raise KeyboardInterrupt from None
            raise
    copied: int = cursor.rowcount
    return copied


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
