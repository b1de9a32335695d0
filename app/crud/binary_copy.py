"""Many rows as columns, through PostgreSQL's binary COPY: no object per row, hardly more memory than the columns."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from sqlalchemy.orm import Session

HEADER, TRAILER = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
SINCE_1970 = 946_684_800_000_000  # microseconds from 1970 to 2000, where PostgreSQL begins
AT_ONCE = 1 << 23  # bytes that wait to become columns


def columns(db: Session, query: str, kinds: Mapping[str, DTypeLike], **values: object) -> dict[str, NDArray[Any]]:
    """The n rows of a query as arrays (n,), none of its cells NULL; `kinds` names each column's big-endian type.

    The query's values stand in it as %(name)s.
    """
    cursor, read = db.connection().connection.cursor(), _Columns(kinds)
    cursor.copy_expert(cursor.mogrify(f"COPY ({query}) TO STDOUT (FORMAT binary)", values), read)
    return read.whole()


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
