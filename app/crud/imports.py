"""Finished tasks in bulk: COPY into a temporary table, then one INSERT that skips what is there already."""

import io
from collections.abc import Iterable, Iterator

import psycopg2
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.crud import model_tracker
from app.domain.interactions import Interaction

# to_timestamp(double precision) loses microseconds; whole ones added to the epoch don't.
INSERT = text("""
    INSERT INTO practice_tasks (id, user_id, topic, difficulty, item_id, created_at, completed, is_correct,
                                actual_time_seconds, completed_at)
    SELECT id, user_id, topic, difficulty, item_id,
           timestamptz 'epoch' + started * interval '1 microsecond', true, correct, seconds,
           timestamptz 'epoch' + greatest(started + round(seconds * 1e6), started + 1) * interval '1 microsecond'
    FROM imported
    ON CONFLICT (id) DO NOTHING""")

ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def add(db: Session, interactions: Iterable[Interaction]) -> int:
    """Store what is not stored yet and count it; the number of new rows. Memory stays bounded."""
    db.execute(
        text("""CREATE TEMPORARY TABLE IF NOT EXISTS imported (id uuid, user_id uuid, topic text, difficulty text,
                item_id text, started bigint, correct boolean, seconds double precision) ON COMMIT DROP""")
    )
    db.execute(text("TRUNCATE imported"))
    _copy(db, _Lines(map(_line, interactions)))
    added: int = db.execute(INSERT).rowcount  # type: ignore[attr-defined]
    if added:
        count(db, added)
    return added


def _copy(db: Session, lines: "_Lines") -> None:
    try:
        db.connection().connection.cursor().copy_expert("COPY imported FROM STDIN", lines)
    except psycopg2.Error:
        if lines.error is not None:  # psycopg2 hides what went wrong in making the lines
            raise lines.error from None
        raise


def count(db: Session, finished: int) -> int:
    """Add to the counter; where it stands now."""
    row = model_tracker.COUNT.first_now(db, finished=finished)
    return int(row["n_samples_since_training"]) if row else 0


def _line(row: Interaction) -> str:
    item = "\\N" if row.item is None else row.item.translate(ESCAPES)
    return (
        f"{row.id}\t{row.student}\t{row.topic.translate(ESCAPES)}\t{row.difficulty}\t{item}\t"
        f"{round(row.started * 1e6)}\t{'t' if row.correct else 'f'}\t{row.seconds!r}\n"
    )


class _Lines(io.RawIOBase):
    """Lines as a file that COPY can read, made as it reads."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._rest = b""
        self.error: Exception | None = None

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        try:
            return self._next(size)
        except Exception as error:
            self.error = error
            raise

    def _next(self, size: int) -> bytes:
        wanted = size if size > 0 else 1 << 16
        parts, length = [self._rest], len(self._rest)
        for line in self._lines:
            parts.append(line.encode())
            length += len(parts[-1])
            if length >= wanted:
                break
        data = b"".join(parts)
        self._rest = data[wanted:]
        return data[:wanted]
