"""The common CSV of finished tasks: read, checked, line by line."""

import csv
import gzip
import hashlib
import io
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, NamedTuple, TextIO, cast
from uuid import UUID

import numpy as np

from app.domain.attempts import DIFFICULTIES, Attempts

COLUMNS = ("student_id", "item_id", "topic", "difficulty", "correct", "time_seconds", "timestamp")
NAMESPACE = UUID("8f6f2c1e-9d0b-5c6e-a3b7-51a7d5708c11").bytes  # of SmartStudy's UUIDv5
NO_CLOCK = 946_684_800.0  # 2000-01-01: rows without timestamps follow one another from here
RESULTS = {"1": True, "0": False, "true": True, "false": False, "1.0": True, "0.0": False}
SECONDS_MAX = 86_400.0


class BadRow(ValueError):
    """A row that can't be used; `line` is its number in the file, the header being 1."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(f"line {line}: {why}")
        self.line = line


class Interaction(NamedTuple):
    """One finished task of the file."""

    id: UUID
    student: UUID
    item: str | None
    topic: str
    difficulty: str
    correct: bool
    seconds: float
    started: float  # UTC epoch seconds


@dataclass
class Interactions:
    """The rows of a CSV file, in its order.

    A column that is empty in the first row must be empty throughout: without `timestamp` the rows follow one another
    in the order of the file, without `difficulty` all are medium.
    """

    source: TextIO
    skip_bad: bool = False
    bad: int = 0  # rows skipped so far
    first_bad: str | None = None

    def __iter__(self) -> Iterator[Interaction]:
        rows = csv.reader(self.source)
        at = _positions(next(rows, []))
        parser = _Parser(at)
        for row in rows:
            if not row:
                continue
            try:
                yield parser.parse(row, rows.line_num)
            except BadRow as why:
                if not self.skip_bad:
                    raise
                self.bad += 1
                self.first_bad = self.first_bad or str(why)


def header_places(header: list[str]) -> dict[str, int]:
    """Where each column stands; spreadsheets put a byte order mark before the first."""
    return {name.strip().lstrip("\ufeff"): place for place, name in enumerate(header)}


def _positions(header: list[str]) -> dict[str, int]:
    at = header_places(header)
    missing = [name for name in ("student_id", "topic", "correct", "time_seconds") if name not in at]
    if missing:
        raise BadRow(1, f"no column {', '.join(missing)}; the columns are {','.join(COLUMNS)}, more are ignored")
    return at


class _Parser:
    """Cells to values; knows which columns the file fills."""

    def __init__(self, at: dict[str, int]) -> None:
        self._at = at
        self._filled: dict[str, bool] = {}
        self._clock = NO_CLOCK
        self._latest = time.time() + 60
        self._students: dict[str, UUID] = {}
        self._same_moment: dict[str, tuple[str, list[str]]] = {}  # of each student, the rows of the last timestamp

    def parse(self, row: list[str], line: int) -> Interaction:
        def cell(name: str) -> str:
            position = self._at.get(name)
            return row[position].strip() if position is not None and position < len(row) else ""

        if len(row) <= max(self._at[name] for name in ("student_id", "topic", "correct", "time_seconds")):
            raise BadRow(line, f"{len(row)} cells where the header has {len(self._at)}")
        seconds = _seconds(cell("time_seconds"), line)
        correct = RESULTS.get(cell("correct").lower())
        if correct is None:
            raise BadRow(line, f"correct is {cell('correct')!r}; it must be 0 or 1")
        item = cell("item_id")
        started, written = self._started(cell("timestamp"), seconds, line)
        text = _text(cell("student_id"), "student_id", line), _text(cell("topic"), "topic", line)
        difficulty = self._difficulty(cell("difficulty"), line)
        name = self._tell_apart(text[0], written, "\x1f".join((*text, item, difficulty, str(correct), repr(seconds))))
        student = self._student(text[0])
        return Interaction(
            uuid5(name), student, _text(item, "item_id", line) if item else None, text[1], difficulty, correct, seconds,
            started,
        )  # fmt: skip

    def _uses(self, column: str, value: str, line: int) -> bool:
        """Whether the file fills this column: as the first row, so all."""
        filled = self._filled.setdefault(column, bool(value))
        if filled != bool(value):
            raise BadRow(line, f"{column} is {'empty' if filled else 'given'}, unlike in the rows before")
        return filled

    def _started(self, value: str, seconds: float, line: int) -> tuple[float, str]:
        """When the task was created, and how that enters the row's identity."""
        if not self._uses("timestamp", value, line):
            started, self._clock = self._clock, self._clock + seconds
            return started, f"line {line}"
        started = _epoch(value, line)
        if started + seconds > self._latest:
            raise BadRow(line, f"timestamp {value} + {seconds:g} s lies in the future")
        return started, repr(started)

    def _difficulty(self, value: str, line: int) -> str:
        if not self._uses("difficulty", value, line):
            return "medium"
        if value not in DIFFICULTIES:
            raise BadRow(line, f"difficulty is {value!r}; it must be easy, medium or hard")
        return value

    def _tell_apart(self, student: str, written: str, name: str) -> str:
        """The row's identity: what it says, and how often the student has said just that at that moment."""
        moment, names = self._same_moment.get(student, ("", []))
        if moment != written:
            names = []
        repeats = names.count(name)
        self._same_moment[student] = (written, [*names, name])
        return f"{name}\x1f{written}\x1f{repeats}"

    def _student(self, name: str) -> UUID:
        found = self._students.get(name)
        if found is None:
            found = self._students[name] = student_uuid(name)
        return found


def student_uuid(name: str) -> UUID:
    """The id as it is where it is a UUID, else a stable UUIDv5 of it."""
    try:
        return UUID(name)
    except ValueError:
        return uuid5(f"student\x1f{name}")


def uuid5(name: str) -> UUID:
    """uuid.uuid5 in SmartStudy's namespace, at a third of its price."""
    return UUID(bytes=hashlib.sha1(NAMESPACE + name.encode(), usedforsecurity=False).digest()[:16], version=5)


def _text(value: str, name: str, line: int) -> str:
    if not 1 <= len(value) <= 200 or "\x00" in value:
        raise BadRow(line, f"{name} has {len(value)} characters; it must have 1 to 200, none of them NUL")
    return value


def _seconds(value: str, line: int) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= SECONDS_MAX:  # false for NaN
        raise BadRow(line, f"time_seconds is {value!r}; it must be a number above 0, at most {SECONDS_MAX:g}")
    return seconds


def _epoch(value: str, line: int) -> float:
    try:
        epoch = float(value)
    except ValueError:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            epoch = math.nan
        else:
            epoch = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if not 0 <= epoch < 2**40:
        raise BadRow(line, f"timestamp is {value!r}; it must be UTC epoch seconds, or ISO 8601")
    return epoch


@contextmanager
def opened(path: Path) -> Iterator[tuple[TextIO, IO[bytes]]]:
    """The file as text, unzipped where it ends in .gz, and the raw file, whose position tells how far it is read."""
    with path.open("rb") as raw:
        unzipped = cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if path.suffix == ".gz" else raw
        with io.TextIOWrapper(unzipped, encoding="utf-8", newline="") as text:
            yield text, raw


def attempts_of(interactions: "Interactions | list[Interaction]") -> Attempts:
    """Columns for the models, ordered by the moment of completion."""
    students: dict[str, int] = {}
    topics: dict[str, int] = {}
    items: dict[str, int] = {}
    rows = [
        (
            students.setdefault(str(row.student), len(students)),
            topics.setdefault(row.topic, len(topics)),
            DIFFICULTIES.index(row.difficulty),
            -1 if row.item is None else items.setdefault(row.item, len(items)),
            round(row.started * 1e6),
            max(round((row.started + row.seconds) * 1e6), round(row.started * 1e6) + 1),
            row.correct,
            row.seconds,
            row.id.bytes,
        )
        for row in interactions
    ]
    rows.sort(key=lambda row: (row[5], row[8]))
    columns = list(zip(*rows, strict=True)) or [()] * 9
    kinds = (np.int32, np.int32, np.int32, np.int32, np.int64, np.int64, np.bool_, np.float64)
    arrays: list[Any] = [np.array(column, dtype=kind) for column, kind in zip(columns[:8], kinds, strict=True)]
    return Attempts(tuple(students), tuple(topics), tuple(items), *arrays)
