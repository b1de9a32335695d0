"""The common CSV of finished tasks: read, checked, line by line."""

import csv
import gzip
import hashlib
import io
import math
import re
import time
import zlib
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import IO, Any, NamedTuple, TextIO, cast
from uuid import UUID

import numpy as np

from app.domain.attempts import DIFFICULTIES, Attempts
from app.domain.characters import UnfitCharacter, checked
from app.domain.spellings import Spelling, Spellings

NEEDED = ("student_id", "topic", "correct", "time_seconds")
COLUMNS = ("student_id", "item_id", "topic", "difficulty", "correct", "time_seconds", "timestamp")
NAMESPACE = UUID("8f6f2c1e-9d0b-5c6e-a3b7-51a7d5708c11").bytes  # of SmartStudy's UUIDv5
VERSION_BITS, VERSION_5 = 0xF000 << 64 | 0xC000 << 48, 0x5000 << 64 | 0x8000 << 48
UNTIMED_SECONDS = 1.0  # from a row without a time to the next, where there are no timestamps
NO_CLOCK = 946_684_800.0  # 2000-01-01: rows without timestamps follow one another from here
EARLIEST = NO_CLOCK  # of an import; what seems to be older is a date in another form, such as 20240331.5 or 45382.1
DAY_NUMBERS = (20_000.0, 80_000.0)  # of a spreadsheet, 1954 to 2119
BASIC_DATE = re.compile(r"(19|20)\d{6}")  # 20240331
DAMAGED_ID = re.compile(r"\d([.,]\d+)?[Ee]\+\d+")  # 123456789012 as a spreadsheet writes it
LONGEST_ROW = 1 << 18  # characters
RESULTS = {"1": True, "0": False, "true": True, "false": False, "1.0": True, "0.0": False}
SECONDS_MAX = 86_400.0
MISSING = ("", "NA", "nan", "NaN")
OTHER_NAMES = {"student_id": "person", "item_id": "item"}  # as psychometricians call the columns
NO_ITEM = Spelling("", "")
NO_TOPIC = "no topic"  # the one of all tasks that name none


class BadRow(ValueError):
    """A row that can't be used; `line` is its number in the file, the header being 1."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(f"line {line}: {why}")
        self.line = line
        self.about = why.partition(" ")[0]  # the column, where it is about one


class NoResult(ValueError):
    """A row that says of no task how it ended."""


@dataclass(slots=True)
class Gaps:
    """How many rows of a file lack what research can do without."""

    rows: int = 0  # in use
    no_result: int = 0  # left out
    no_time: int = 0
    no_topic: int = 0


class Interaction(NamedTuple):
    """One finished task of the file."""

    id: bytes  # of a UUIDv5, (16,)
    student: bytes  # of a UUID, (16,)
    item: str | None
    topic: str
    difficulty: str
    correct: bool
    seconds: float  # NaN where research does without
    started: float  # UTC epoch seconds

    @property
    def finished(self) -> float:
        """Return the moment in UTC epoch seconds; of a task whose time is missing, when it was created."""
        return self.started if math.isnan(self.seconds) else self.started + self.seconds


Parse = Callable[[list[str], int], Interaction]  # cells, number of the line


class Rows:
    """The rows of a CSV file that hold anything; one that is longer than it can be is never read whole."""

    def __init__(self, source: TextIO) -> None:
        self.line = 0  # number of the last one read
        self.blank = 0  # rows so far without anything in them, such as spreadsheets put at the end
        self._source = source
        self._cells = csv.reader(iter(self._line, ""))
        self._length = 0  # of the row so far, which may have several lines
        self._cut = False  # the rest of the line is still to be passed over

    def __iter__(self) -> Iterator[list[str]]:
        return self

    def __next__(self) -> list[str]:
        """Return the next row's cells. Raises csv.Error where it is none; the one behind it can be asked for then."""
        while True:
            self._length = 0
            row = next(self._cells)
            if any(map(str.strip, row)):
                return row
            self.blank += 1

    def _line(self) -> str:
        while self._cut:
            rest = self._source.readline(LONGEST_ROW)
            self._cut = rest != "" and rest[-1] not in "\r\n"
        line = self._source.readline(LONGEST_ROW)
        self.line += line != ""
        self._length += len(line)
        if self._length >= LONGEST_ROW:
            self._cut = line[-1:] not in ("\r", "\n")
            raise csv.Error(f"the row is longer than {LONGEST_ROW:,} characters")
        return line


@dataclass
class Interactions:
    """The rows of a CSV file, in its order; each iteration reads it from the start.

    A column that is empty in the first row must be empty throughout: without `timestamp` the rows follow one another
    in the order of the file, without `difficulty` all are medium. Where `gaps_allowed`, times and topics may be
    missing as columns or in single rows, NA is empty, a row without a result is left out, and `gaps` counts them.
    Topics and exercises are called as in `spellings`; those that it doesn't know, as the file writes them first.
    """

    source: TextIO
    skip_bad: bool = False
    gaps_allowed: bool = False
    spellings: Spellings = field(default_factory=Spellings)
    school: UUID | None = None  # whose students these are, where its key sees no others
    gaps: Gaps = field(default_factory=Gaps)
    names: dict[str, str] = field(default_factory=dict)  # students' names in the file by their ids, where gaps_allowed
    header: list[str] = field(default_factory=list)
    blank: int = 0  # rows so far without anything in them
    bad: int = 0  # rows skipped so far
    first_bad: str | None = None
    bad_about: Counter[str] = field(default_factory=Counter)  # the same by column
    firsts: dict[str, str] = field(default_factory=dict)  # the first of each column
    begun: bool = False

    def __iter__(self) -> Iterator[Interaction]:
        if self.begun:
            try:
                self.source.seek(0)
            except OSError:
                raise ValueError(
                    "Some of the rows are stored already, or stand in it twice, so it has to be read twice, which a "
                    "pipe can't be: store it as a file first."
                ) from None
        self.begun, self.bad, self.first_bad, self.gaps = True, 0, None, Gaps()
        self.bad_about, self.firsts = Counter(), {}
        rows = Rows(self.source)
        with errors_explained(rows):
            self.header = next(rows, [])
            parser, good = self._parser(self.header), True
            while good:
                good = yield from self._parsed(rows, parser.parse)
            self.names = parser.names() if self.gaps_allowed else {}

    def _parser(self, header: list[str]) -> "_Parser":
        if self.gaps_allowed:
            return _GapParser(positions(header, ("student_id", "correct"), OTHER_NAMES), self.spellings, self.gaps)
        return _Parser(positions(header, NEEDED, {}), self.spellings, namespace_of(self.school))

    def _parsed(self, rows: Rows, parse: Parse) -> Generator[Interaction, None, bool]:
        """Yield the rows up to one that is no CSV; True then says that reading may go on behind it."""
        try:
            for row in rows:
                try:
                    yield parse(row, rows.line)
                except NoResult:
                    self.gaps.no_result += 1
                except BadRow as why:
                    self._leave_out(why)
        except csv.Error as why:
            self._leave_out(BadRow(rows.line, f"it can't be read: {why}"))
            return True
        self.blank = rows.blank
        return False

    def _leave_out(self, why: BadRow) -> None:
        if not self.skip_bad:
            raise why from None
        self.bad += 1
        self.first_bad = self.first_bad or str(why)
        self.bad_about[why.about] += 1
        self.firsts.setdefault(why.about, str(why))


@contextmanager
def errors_explained(rows: Rows) -> Iterator[None]:
    """Raise what ends the reading of a file early again, in words that say what to do."""
    try:
        yield
    except csv.Error as why:
        raise BadRow(rows.line, f"it can't be read: {why}") from None
    except UnicodeDecodeError as why:
        raise ValueError(f"The file is not UTF-8 ({why.reason}, after line {rows.line}): save it as UTF-8.") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as why:
        raise ValueError(f"The file can't be unzipped to its end: {why}. Fetch or zip it again.") from None


def positions(
    header: list[str], needed: Sequence[str], others: Mapping[str, str], columns: Sequence[str] = COLUMNS
) -> dict[str, int]:
    """Find where each column stands; `others` are names that a column may have instead.

    Raises:
        BadRow: one that is needed isn't there, or one is named twice; it says which `columns` there may be.
    """
    at = {name: place for place, name in enumerate(names_of(header))}
    if twice := [name for name in named_twice(header) if name in (*columns, *others.values())]:
        raise BadRow(1, f"the column {', '.join(twice)} is named twice; take the name from the one that is not meant")
    for name, other in others.items():
        if name not in at and other in at:
            at[name] = at.pop(other)
    missing = [name for name in needed if name not in at]
    if missing:
        cells = ", separated by commas" if len(header) < 2 else ""
        raise BadRow(1, f"no column {', '.join(missing)}; the columns are {','.join(columns)}{cells}, more are ignored")
    return at


def names_of(header: list[str]) -> list[str]:
    """Take off what is around a column's name: spaces, and a mark in text once pasted."""
    return [name.strip().lstrip("\ufeff") for name in header]


def named_twice(header: list[str]) -> list[str]:
    return [name for name, times in Counter(names_of(header)).items() if times > 1 and name]


class _Parser:
    """Turns cells into values; knows which columns the file fills."""

    earliest = EARLIEST

    def __init__(self, at: dict[str, int], spellings: Spellings, namespace: bytes = NAMESPACE) -> None:
        self._at, self._spelling_of, self._namespace = at, spellings.of, namespace
        self._last_needed = max(at.get(name, -1) for name in NEEDED)
        self._cells = itemgetter(*(at.get(name, -1) for name in COLUMNS))  # of a row with empty cells at its end
        self._padding = [""] * (max(at.values()) + 1)
        self._filled: dict[str, bool] = {}
        self._clock = NO_CLOCK
        self._latest = time.time() + 60
        self._students: dict[str, tuple[bytes, str, *tuple[bytes, ...]]] = {}  # id, last moment, ids of its rows
        self._topics, self._items = dict[str, Spelling](), {"": NO_ITEM}  # by what the file says, once checked

    def names(self) -> dict[str, str]:
        """Map each student's id to the name in the file."""
        return {str(UUID(bytes=known[0])): name for name, known in self._students.items()}

    def parse(self, row: list[str], line: int) -> Interaction:
        """Return the row's values."""
        if len(row) <= self._last_needed:
            raise BadRow(line, f"{len(row)} cells where the header has {len(self._at)}")
        cells = map(str.strip, self._cells([*row, *self._padding]))
        student, item, topic, difficulty, marked, time_seconds, timestamp = cells
        correct = self._result(marked, line)
        seconds = self._seconds(time_seconds, line)
        started = self._started(timestamp, seconds, line)
        if student not in self._students:  # else it has been checked
            student = _text(student, "student_id", line)
        if (named := self._topics.get(topic)) is None:
            named = self._topics[topic] = self._spelling_of("topic", self._topic(topic, line))
        difficulty = self._difficulty(difficulty, line)
        if (done := self._items.get(item)) is None:
            done = self._items[item] = self._spelling_of("item", _text(item, "item_id", line))
        written = repr(started)
        if not self._filled["timestamp"]:
            written = f"line {line}"
            self._clock += UNTIMED_SECONDS if math.isnan(seconds) else seconds
        name = (
            f"{student}\x1f{named.first}\x1f{done.first}\x1f{difficulty}\x1f{correct}\x1f{seconds!r}\x1f{written}\x1f"
        )
        row_id, student_id = self._ids(student, written, name)
        return Interaction(row_id, student_id, done.name or None, named.name, difficulty, correct, seconds, started)

    def _ids(self, student: str, written: str, name: str) -> tuple[bytes, bytes]:
        """Identify a row by what it says, and how often the student has said just that at that moment."""
        before, row_id = self._students.get(student), uuid5(name + "0", self._namespace)
        if before is None or before[1] != written:
            before = (before[0] if before else student_uuid(student, self._namespace), written)
        self._students[student] = (*before, row_id)
        repeats = before[2:].count(row_id)
        return (uuid5(f"{name}{repeats}", self._namespace) if repeats else row_id), before[0]

    def _result(self, value: str, line: int) -> bool:
        correct = RESULTS.get(value.lower())
        if correct is None:
            raise BadRow(line, f"correct is {value!r}; it must be 0 or 1")
        return correct

    def _seconds(self, value: str, line: int) -> float:
        try:
            seconds = float(value)
        except ValueError:
            seconds = math.nan
        if not 0 < seconds <= SECONDS_MAX:  # false for NaN
            raise BadRow(line, f"time_seconds is {value!r}; it must be a number above 0, at most {SECONDS_MAX:g}")
        return seconds

    def _topic(self, value: str, line: int) -> str:
        return _text(value, "topic", line)

    def _uses(self, column: str, value: str, line: int) -> bool:
        """Tell whether the file fills this column; all rows do as the first."""
        filled = self._filled.setdefault(column, bool(value))
        if filled != bool(value):
            raise BadRow(line, f"{column} is {'empty' if filled else 'given'}, unlike in the rows before")
        return filled

    def _started(self, value: str, seconds: float, line: int) -> float:
        """Return when the task was created, UTC epoch seconds."""
        if not self._uses("timestamp", value, line):
            return self._clock
        started = _epoch(value, line)
        if started < self.earliest:
            raise BadRow(line, f"timestamp is {value!r}; {_too_early(started)}")
        if started + seconds > self._latest:
            raise BadRow(line, f"timestamp {value} + {seconds:g} s lies in the future")
        return started

    def _difficulty(self, value: str, line: int) -> str:
        if not self._uses("difficulty", value, line):
            return "medium"
        if value not in DIFFICULTIES:
            raise BadRow(line, f"difficulty is {value!r}; it must be easy, medium or hard")
        return value


class _GapParser(_Parser):
    """Lets cells be empty that research can do without, and counts them; a clock may begin anywhere."""

    earliest = 0.0

    def __init__(self, at: dict[str, int], spellings: Spellings, gaps: Gaps) -> None:
        super().__init__(at, spellings)
        self._gaps = gaps

    def parse(self, row: list[str], line: int) -> Interaction:
        """Return the row's values. Raises NoResult where it has no result."""
        parsed = super().parse(["" if cell.strip() in MISSING else cell for cell in row], line)
        self._gaps.rows += 1
        self._gaps.no_time += math.isnan(parsed.seconds)
        self._gaps.no_topic += parsed.topic == NO_TOPIC
        return parsed

    def _result(self, value: str, line: int) -> bool:
        if not value:
            raise NoResult
        return super()._result(value, line)

    def _seconds(self, value: str, line: int) -> float:
        return super()._seconds(value, line) if value else math.nan

    def _topic(self, value: str, line: int) -> str:
        return super()._topic(value, line) if value else NO_TOPIC


def student_uuid(name: str, namespace: bytes = NAMESPACE) -> bytes:
    """Return the id as it is where it is a UUID, else a stable UUIDv5 of it.

    The namespace is SmartStudy's, or the school's whose key sees its own students only.
    """
    try:
        return UUID(name).bytes
    except ValueError:
        return uuid5(f"student\x1f{name}", namespace)


def student_id(name: str, school: UUID | None = None) -> UUID:
    """Return the same as a UUID; of a key that sees its own students only, with its school's namespace."""
    return UUID(bytes=student_uuid(name, namespace_of(school)))


def namespace_of(school: UUID | None) -> bytes:
    return school.bytes if school else NAMESPACE


def uuid5(name: str, namespace: bytes = NAMESPACE) -> bytes:
    """Make a UUIDv5, as bytes, six times as fast as uuid.uuid5."""
    digest = hashlib.sha1(namespace + name.encode(), usedforsecurity=False).digest()
    return (int.from_bytes(digest[:16]) & ~VERSION_BITS | VERSION_5).to_bytes(16)


def _text(value: str, name: str, line: int) -> str:
    try:
        value = checked(value)
    except UnfitCharacter as why:
        raise BadRow(line, f"{name} {why}") from None
    if not 1 <= len(value) <= 200:
        raise BadRow(line, f"{name} has {len(value)} characters; it must have 1 to 200")
    if "+" in value and DAMAGED_ID.fullmatch(value):
        raise BadRow(line, f"{name} is {value!r}, a long number that a spreadsheet has shortened: export it as text")
    return value


def _epoch(value: str, line: int) -> float:
    try:
        epoch = math.nan if BASIC_DATE.fullmatch(value) else float(value)
    except ValueError:
        epoch = math.nan
    if math.isnan(epoch):
        with suppress(ValueError):
            moment = datetime.fromisoformat(value)
            epoch = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if not 0 <= epoch < 2**40:
        milliseconds = ", not milliseconds" if 2**40 <= epoch < 2**50 else ""
        raise BadRow(line, f"timestamp is {value!r}; it must be UTC epoch seconds{milliseconds}, or ISO 8601")
    return epoch


def _too_early(started: float) -> str:
    if DAY_NUMBERS[0] <= started < DAY_NUMBERS[1]:
        return "it seems to be a spreadsheet's day number: format the column as 2024-03-31 08:30:00 and export it again"
    return f"that would be {datetime.fromtimestamp(started, UTC):%Y-%m-%d}, but imports begin with 2000-01-01"


@contextmanager
def opened(path: Path) -> Iterator[tuple[TextIO, IO[bytes]]]:
    """Open the file as text, unzipped where it ends in .gz; the raw file beside it tells how far it is read.

    Spreadsheets put a byte order mark before the text, which is none of it.
    """
    with path.open("rb") as raw:
        unzipped = cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if path.suffix == ".gz" else raw
        with io.TextIOWrapper(unzipped, encoding="utf-8-sig", newline="") as text:
            yield text, raw


def attempts_of(interactions: "Interactions | list[Interaction]") -> Attempts:
    """Make columns for the models, ordered by the moment of completion."""
    students: dict[bytes, int] = {}
    topics: dict[str, int] = {}
    items: dict[str, int] = {}
    rows = [
        (
            students.setdefault(row.student, len(students)),
            topics.setdefault(row.topic, len(topics)),
            DIFFICULTIES.index(row.difficulty),
            -1 if row.item is None else items.setdefault(row.item, len(items)),
            round(row.started * 1e6),
            max(round(row.finished * 1e6), round(row.started * 1e6) + 1),
            row.correct,
            row.seconds,
            row.id,
        )
        for row in interactions
    ]
    rows.sort(key=lambda row: (row[5], row[8]))
    columns = list(zip(*rows, strict=True)) or [()] * 9
    kinds = (np.int32, np.int32, np.int32, np.int32, np.int64, np.int64, np.bool_, np.float64)
    arrays: list[Any] = [np.array(column, dtype=kind) for column, kind in zip(columns[:8], kinds, strict=True)]
    return Attempts(tuple(str(UUID(bytes=student)) for student in students), tuple(topics), tuple(items), *arrays)
