"""Many rows as columns, through PostgreSQL's binary COPY: no object per row."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from sqlalchemy.orm import Session

HEADER, TRAILER = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
SINCE_1970 = 946_684_800_000_000  # microseconds from 1970 to 2000, where PostgreSQL begins


def columns(db: Session, query: str, kinds: Mapping[str, DTypeLike], **values: object) -> dict[str, NDArray[Any]]:
    """The n rows of a query as arrays (n,), none of its cells NULL; `kinds` names each column's big-endian type.

    The query's values stand in it as %(name)s.
    """
    data = io.BytesIO()
    cursor = db.connection().connection.cursor()
    cursor.copy_expert(cursor.mogrify(f"COPY ({query}) TO STDOUT (FORMAT binary)", values), data)
    # Before each row the number of its cells, before each cell its length.
    cells = [part for name, kind in kinds.items() for part in ((f"length of {name}", ">i4"), (name, kind))]
    rows = np.frombuffer(data.getbuffer()[len(HEADER) : -len(TRAILER)], np.dtype([("n", ">i2"), *cells]))
    return {name: rows[name].astype(rows.dtype[name].newbyteorder("=")) for name in kinds}
