"""Finished tasks in bulk: COPY into the table; where some are there already, one INSERT that skips those."""

from collections.abc import Iterable, Iterator
from itertools import islice
from struct import Struct
from uuid import UUID

from psycopg2.errors import UniqueViolation
from sqlalchemy.orm import Session

from app.core.memory import collected_seldom
from app.crud import imported_totals, model_tracker, spellings
from app.crud.binary_copy import HEADER, NULL, SINCE_1970, TRAILER, cell, copy_in
from app.crud.imported_totals import ImportedTasks
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
AT_ONCE = 4_000_000  # rows in one COPY; their totals are added up in 80 bytes each

# A row of the binary COPY; before each cell its length in bytes.
ROW = Struct(">hi16siqi16si?i?idiq")


@collected_seldom()
def add(db: Session, interactions: Iterable[Interaction], school: UUID | None = None) -> int:
    """Store what is not stored yet and count it; the number of new rows.

    `school`: whose students these are, where its key sees no others.

    `interactions` must be able to begin anew: a file usually brings only new rows, and when it doesn't is read twice.
    Memory stays bounded, by what AT_ONCE rows take.
    """
    noted, are_new = ImportedTasks(), True
    take_turn(db, "importing")  # two with the same rows would wait for each other
    execute(db, "SET LOCAL work_mem = '64MB'")
    try:
        with db.begin_nested():
            added = _add_new(db, interactions, school, noted)
    except UniqueViolation:
        are_new = False
    if not are_new:
        noted = ImportedTasks()
        added = _add_missing(db, interactions, school, noted)
    if added:
        for kind, written, name in spellings.register_all(db, _names(noted)):  # it may have come meanwhile
            execute(db, RENAME[kind], written=written, name=name)
        model_tracker.count(db, added)
    return added


def _add_new(db: Session, interactions: Iterable[Interaction], school: UUID | None, noted: ImportedTasks) -> int:
    """Store rows none of which is there; raises UniqueViolation where one is, or comes meanwhile."""
    rows, added = iter(interactions), 0
    with imported_totals.counted_here(db):
        while some := copy_in(db, "practice_tasks", COLUMNS, _batches(islice(rows, AT_ONCE), school, noted)):
            added += some
            if some < AT_ONCE:
                break
            imported_totals.put_by(db, noted)
        imported_totals.add(db, noted, others=added >= AT_ONCE)
    return added


def _add_missing(db: Session, interactions: Iterable[Interaction], school: UUID | None, noted: ImportedTasks) -> int:
    """Store those that are not there; the trigger adds them to the totals."""
    execute(db, "DROP TABLE IF EXISTS imported")
    execute(db, f"CREATE TEMPORARY TABLE imported ON COMMIT DROP AS SELECT {COLUMNS} FROM practice_tasks LIMIT 0")
    copy_in(db, "imported", COLUMNS, _batches(interactions, school, noted, names_only=True))
    return execute(db, INSERT).rowcount


def _batches(
    interactions: Iterable[Interaction], school: UUID | None, noted: ImportedTasks, *, names_only: bool = False
) -> Iterator[bytes]:
    """The whole of a binary COPY, in large pieces."""
    yield HEADER
    last = NULL if school is None else b"\x00\x00\x00\x10" + school.bytes
    rows, size, packed = iter(interactions), FIRST, list[bytes]()
    while some := list(islice(rows, FIRST)):
        noted.take(some)
        if names_only:
            noted.forget()
        packed += [_row(each) + last for each in some]
        if len(packed) >= size:
            yield _together(packed)
            size, packed = min(2 * size, SORTED), []
    yield _together(packed) + TRAILER


def _together(rows: list[bytes]) -> bytes:
    """Put them in order, as bytes: by student, then time."""
    return b"".join(sorted(rows))


def _row(row: Interaction) -> bytes:
    """Columns in the order of COLUMNS, but the last."""
    started = round(row.started * 1e6) - SINCE_1970
    finished = started + max(round(row.seconds * 1e6), 1)
    fixed = ROW.pack(
        11, 16, row.student, 8, started, 16, row.id, 1, True, 1, row.correct, 8, row.seconds, 8, finished
    )  # fmt: skip
    return fixed + cell(row.topic) + cell(row.difficulty) + (NULL if row.item is None else cell(row.item))


def _names(noted: ImportedTasks) -> Iterator[tuple[Kind, str]]:
    yield from (("topic", name) for name in noted.topics)
    yield from (("item", name) for name in noted.items if name)
