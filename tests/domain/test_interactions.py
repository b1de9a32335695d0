"""A CSV file says the same whoever wrote it, and one that can't be used says why."""

import csv
import gzip
import io
import itertools
import math
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unicodedata import normalize
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.crud import attempts, imports
from app.domain.attempts import DIFFICULTIES
from app.domain.characters import UnfitCharacter, checked, folded, tidy
from app.domain.interactions import (
    COLUMNS,
    EARLIEST,
    LONGEST_ROW,
    NO_CLOCK,
    NO_TOPIC,
    BadRow,
    Gaps,
    Interaction,
    Interactions,
    attempts_of,
    opened,
    student_uuid,
)
from app.domain.responses import read_responses
from tests.hostile import TEXTS

LATEST = 1_700_000_000  # seconds since 1970
ROW = ["s1", "i1", "a", "easy", "1", "12.5", "1700000000"]


# Legal cells: whatever can be stored, once its ends are trimmed.
def can_be_stored(cell: str) -> bool:
    try:
        return bool(cell.strip()) and cell.strip() == checked(cell.strip())
    except UnfitCharacter:
        return False


seen = st.characters(exclude_categories=["C", "Zl", "Zp"])
word = (
    st.text(seen, min_size=1, max_size=200).map(lambda cell: normalize("NFC", cell)[:200])
    | st.sampled_from([each for each in TEXTS if len(each) <= 200])
).filter(can_be_stored)
row = st.fixed_dictionaries(
    {
        "student_id": word | st.uuids().map(str),
        "item_id": word | st.just(""),
        "topic": word,
        "difficulty": st.sampled_from(DIFFICULTIES),
        "correct": st.booleans(),
        "time_seconds": st.floats(0, 86_400, exclude_min=True),
        "timestamp": st.floats(EARLIEST, LATEST) | st.integers(int(EARLIEST), LATEST).map(float),
    }
)
dialect = st.fixed_dictionaries(
    {
        "quoting": st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
        "lineterminator": st.sampled_from(["\n", "\r\n", "\r"]),
    }
) | st.just({"quoting": csv.QUOTE_MINIMAL, "lineterminator": "\r\n"})  # Python 3.11 quotes no other line breaks


def written(rows: list[dict[str, Any]], columns: list[str], **dialect: Any) -> str:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, columns, extrasaction="ignore", **dialect)
    writer.writeheader()
    writer.writerows({**each, "correct": int(each["correct"])} for each in rows)
    return out.getvalue()


def read(content: bytes | str, folder: Path, name: str = "tasks.csv", *, skip_bad: bool = False) -> list[Interaction]:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with opened(file) as (source, _):
        return list(Interactions(source, skip_bad))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(row, max_size=8),
    how=dialect,
    order=st.permutations(COLUMNS),
    mark=st.booleans(),
    zipped=st.booleans(),
)
def test_legal_rows_come_through_any_dialect(
    tmp_path: Path, rows: list[dict[str, Any]], how: dict[str, Any], order: list[str], mark: bool, zipped: bool
) -> None:
    content = written(rows, order, **how).encode("utf-8-sig" if mark else "utf-8")
    found = read(gzip.compress(content) if zipped else content, tmp_path, "tasks.csv.gz" if zipped else "tasks.csv")
    called: dict[str, dict[str, str]] = {"topic": {}, "item_id": {}}

    def first(column: str, text: str) -> str:
        return called[column].setdefault(folded(text), tidy(text))

    assert [each[1:] for each in found] == [
        (
            student_uuid(each["student_id"].strip()),
            first("item_id", each["item_id"]) or None,
            first("topic", each["topic"]),
            each["difficulty"],
            each["correct"],
            each["time_seconds"],
            each["timestamp"],
        )
        for each in rows
    ]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(row, max_size=6))
def test_what_was_legal_is_stored_as_it_was(db: Session, tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    db.rollback()  # what the example before did
    found = {each.id: each for each in read(written(rows, [*COLUMNS]), tmp_path)}
    assert imports.add(db, list(found.values())) == len(found)
    columns = "id, user_id, item_id, topic, difficulty, is_correct, actual_time_seconds, extract(epoch FROM created_at)"
    for stored in db.execute(text(f"SELECT {columns} FROM practice_tasks")):
        told = found[stored.id.bytes]
        assert (stored.user_id.bytes, *stored[2:7]) == told[1:7]
        assert abs(float(stored[7]) - told.started) < 1e-6
    assert len(attempts.read_all(db)) == len(found)
    assert imports.add(db, list(found.values())) == 0


MOMENTS = [
    *(
        "1700000000",
        "1.7e9",
        " 1700000000.0 ",
        "2023-11-14T22:13:20Z",
        "2023-11-14 22:13:20",
        "2023-11-14T22:13:20+00:00",
    ),
    *("2023-11-14T23:13:20+01:00", "20231114T221320Z", "2023-W46-2T22:13:20", "2023-11-14T22:13:20.000000"),
]
NO_MOMENTS = [
    *(
        "NaN",
        "inf",
        "-1",
        "1e308",
        "14.11.2023",
        "11/14/2023",
        "2023-13-45",
        "now",
        "0000-01-01",
        "9999-12-31T23:59:59+00:00",
    ),
    *(
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "294277-01-01",
        "1e12",
        "0x10",
        "²",
        "2023-11-14 25:00:00",
        "0",
        "45382.10416667",
        "20231345",
        "240331",
        "1700000000000",
        "1970-01-01",
    ),
]
NO_SECONDS = [
    "NaN",
    "inf",
    "-inf",
    "1e308",
    "-0",
    "0",
    "-3",
    "86400.1",
    "",
    "3 s",
    "1,5",
    "0x1p3",
    "1e999",
    "²",
    "12:30",
]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_moment_may_be_written_in_many_ways(tmp_path: Path, moment: str) -> None:
    found = read(",".join(COLUMNS) + "\n" + ",".join([*ROW[:6], moment]), tmp_path)
    assert found[0].started == 1_700_000_000


BAD = [
    *((6, each) for each in NO_MOMENTS),
    *((5, each) for each in NO_SECONDS),
    (4, "yes"),
    (3, "EASY"),
    (2, "a\x00b"),
    (2, "\u202ea"),
    (1, "a\u200b"),
]


def test_a_date_without_dashes_is_that_day(tmp_path: Path) -> None:
    rows = "".join(",".join([*ROW[:6], day]) + "\n" for day in ("20240331", "20240401"))
    found = read(",".join(COLUMNS) + "\n" + rows, tmp_path)
    assert [datetime.fromtimestamp(each.started, UTC) for each in found] == [
        datetime(2024, 3, 31, tzinfo=UTC),
        datetime(2024, 4, 1, tzinfo=UTC),
    ]


@pytest.mark.parametrize(
    ("timestamp", "why"),
    [
        ("45382.1", "seems to be a spreadsheet's day number"),
        ("1700000000000", "UTC epoch seconds, not milliseconds"),
        ("28333333", "would be 1970-11-24"),
    ],
)
def test_a_date_that_cannot_be_says_what_it_seems_to_be(tmp_path: Path, timestamp: str, why: str) -> None:
    with pytest.raises(BadRow, match=re.escape(f"line 2: timestamp is '{timestamp}'; ") + f".*{why}"):
        read(",".join(COLUMNS) + "\n" + ",".join([*ROW[:6], timestamp]), tmp_path)


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("value", ["1.23457E+11", "1.23457e+11", "1,23457E+11", "1E+12"])
def test_an_id_that_a_spreadsheet_shortened_is_refused(tmp_path: Path, place: int, value: str) -> None:
    row = [*ROW[:place], f'"{value}"', *ROW[place + 1 :]]
    with pytest.raises(BadRow, match=r"line 2: .* a long number that a spreadsheet has shortened"):
        read(",".join(COLUMNS) + "\n" + ",".join(row), tmp_path)


def test_blank_rows_of_a_spreadsheet_are_passed_over(tmp_path: Path) -> None:
    content = (
        ",".join(COLUMNS)
        + "\n"
        + ",".join(ROW)
        + "\n,,,,,,\n , ,\t,,,,\n\n"
        + ",".join(["s2", *ROW[1:]])
        + "\n,,,,,,\n"
    )
    assert len(read(content, tmp_path)) == 2
    found = read_responses(io.StringIO("person,item,correct,time_seconds\np,i,1,2\n,,,\n"))
    assert found.person == ["p"]


def test_a_column_that_is_named_twice_is_refused_and_one_that_is_not_read_is_not(tmp_path: Path) -> None:
    with pytest.raises(BadRow, match="line 1: the column topic is named twice"):
        read(",".join([*COLUMNS, " topic"]) + "\n" + ",".join([*ROW, "b"]), tmp_path)
    assert len(read(",".join([*COLUMNS, "note", "note"]) + "\n" + ",".join([*ROW, "", ""]), tmp_path)) == 1
    with pytest.raises(BadRow, match="line 1: the column item is named twice"):
        read_responses(io.StringIO("person,item,item,correct,time_seconds\n"))


class Endless(io.RawIOBase):
    """A file that begins as it should and goes on with one piece for ever."""

    def __init__(self, piece: bytes) -> None:
        self._bytes = itertools.chain(GOOD, itertools.cycle(piece))
        self.read_so_far = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        buffer[:] = bytes(itertools.islice(self._bytes, len(buffer)))
        self.read_so_far += len(buffer)
        return len(buffer)


@pytest.mark.parametrize("piece", [b"x", b"x,", b'"', b'"\n",'])
def test_a_row_without_an_end_is_refused_without_reading_it_whole(piece: bytes) -> None:
    raw = Endless(piece)
    source = io.TextIOWrapper(io.BufferedReader(raw), encoding="utf-8", newline="")
    with pytest.raises(BadRow, match=r"^line [0-9]+: it can't be read: "):
        list(Interactions(source))
    assert raw.read_so_far < 4 * LONGEST_ROW


def test_what_stands_behind_a_row_that_is_too_long_is_read(tmp_path: Path) -> None:
    long = "s1,i1,a,easy,1,12.5,1700000000" + ",x" * LONGEST_ROW
    content = (
        GOOD.decode() + long + "\n" + ",".join(["s2", *ROW[1:5], "soon", ROW[6]]) + "\n" + ",".join(["s3", *ROW[1:]])
    )
    file = tmp_path / "tasks.csv"
    file.write_text(content)
    with opened(file) as (source, _):
        rows = Interactions(source, skip_bad=True)
        assert [each.student for each in rows] == [student_uuid("s1"), student_uuid("s3")]
    assert rows.first_bad == "line 3: it can't be read: the row is longer than 262,144 characters"
    assert (rows.firsts["time_seconds"] or "").startswith("line 4: ")


def test_a_row_that_cannot_be_used_is_named_and_nothing_is_stored(db: Session, tmp_path: Path) -> None:
    for place, value in [*BAD, (0, ""), (2, " "), (2, "x" * 201), (1, "y" * 1_000_000), (2, "z" * 1_000_000)]:
        bad = [*ROW[:place], f'"{value}"', *ROW[place + 1 :]]
        content = "\n".join([",".join(COLUMNS), ",".join(ROW), ",".join(bad), ",".join([*ROW[:2], "b", *ROW[3:]])])
        file = tmp_path / "tasks.csv"
        file.write_text(content)
        with opened(file) as (source, _), pytest.raises(BadRow, match=r"^line 3: "):
            imports.add(db, Interactions(source))
        db.rollback()
        assert db.scalar(text("SELECT count(*) FROM practice_tasks")) == 0
        with opened(file) as (source, _):
            kept = Interactions(source, skip_bad=True)
            assert (len(list(kept)), kept.bad) == (2, 1), value
        assert (kept.first_bad or "").startswith("line 3: ")


GOOD = (",".join(COLUMNS) + "\n" + ",".join(ROW) + "\n").encode()
LONG = gzip.compress(GOOD + b"".join(b"s%d,i1,a,easy,1,12.5,1700000000\n" % n for n in range(20_000)))
DAMAGED = [
    ("tasks.csv.gz", LONG[:-200], "can't be unzipped to its end"),
    (
        "tasks.csv.gz",
        LONG[: len(LONG) // 2] + b"\xff" * 50 + LONG[len(LONG) // 2 + 50 :],
        "can't be unzipped to its end",
    ),
    ("tasks.csv.gz", LONG[:-8] + b"\0\0\0\0" + LONG[-4:], "can't be unzipped to its end: CRC check failed"),
    ("tasks.csv.gz", LONG + b"more", "can't be unzipped to its end"),
    ("tasks.csv.gz", GOOD, "can't be unzipped to its end: Not a gzipped file"),
    ("tasks.csv", LONG, "not UTF-8"),
    ("tasks.csv", GOOD.decode().encode("utf-16"), "not UTF-8"),
    ("tasks.csv", GOOD.replace(b",a,", ",Größe,".encode("latin-1")), "not UTF-8"),
    ("tasks.csv", b"", "line 1: no column student_id, topic, correct, time_seconds"),
    ("tasks.csv.gz", b"", "line 1: no column"),
    ("tasks.csv", GOOD.replace(b",", b";"), "separated by commas"),
    ("tasks.csv", GOOD.replace(b",", b"\t"), "separated by commas"),
    ("tasks.csv", b'"' + b"x" * 1_000_000, "line 1: it can't be read"),
]


@pytest.mark.parametrize(("name", "content", "complaint"), DAMAGED)
def test_a_file_that_cannot_be_read_says_why(
    db: Session, tmp_path: Path, name: str, content: bytes, complaint: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with opened(tmp_path / name) as (source, _), pytest.raises(ValueError, match=re.escape(complaint)):
        imports.add(db, Interactions(source, skip_bad=True))
    db.rollback()
    assert db.scalar(text("SELECT count(*) FROM practice_tasks")) == 0
    with (
        opened(tmp_path / name) as (source, _),
        pytest.raises(ValueError, match=r"UTF-8|unzipped|column|can't be read|cells"),
    ):
        read_responses(source)


def test_a_header_alone_brings_nothing(tmp_path: Path) -> None:
    assert read(",".join(COLUMNS), tmp_path) == []
    assert read('\ufeff"' + '","'.join(COLUMNS) + '"\r\n', tmp_path) == []


def test_a_uuid_is_one_student_however_it_is_spelt(tmp_path: Path) -> None:
    own = UUID("537b7b10-1111-4222-8333-444455556666")
    spelt = [str(own), str(own).upper(), own.hex, f"{{{own}}}", own.urn]
    found = read(",".join(COLUMNS) + "\n" + "".join(",".join([one, *ROW[1:]]) + "\n" for one in spelt), tmp_path)
    assert {each.student for each in found} == {own.bytes}


def with_gaps(content: str, folder: Path) -> tuple[list[Interaction], Interactions]:
    (folder / "tasks.csv").write_text(content)
    with opened(folder / "tasks.csv") as (source, _):
        rows = Interactions(source, gaps_allowed=True)
        return list(rows), rows


def test_research_does_without_times_topics_and_single_results(tmp_path: Path) -> None:
    content = "student_id,topic,correct,time_seconds\ns1,a,1,3\ns1,,0,\ns2,a,,5\ns2,NA,NA,NA\ns2,a,0,NaN\n"
    found, rows = with_gaps(content, tmp_path)
    assert [each.topic for each in found] == ["a", NO_TOPIC, "a"]
    assert [each.seconds for each in found] == pytest.approx([3, math.nan, math.nan], nan_ok=True)
    assert [each.started for each in found] == [NO_CLOCK, NO_CLOCK + 3, NO_CLOCK + 4]
    assert rows.gaps == Gaps(rows=3, no_result=2, no_time=2, no_topic=1)
    told = attempts_of(found)
    assert (told.finished[:-1] <= told.started[1:]).all()  # each is known when the next is created
    with pytest.raises(BadRow, match="line 3: "):
        read(content, tmp_path)


def test_research_reads_what_psychometricians_call_the_columns_and_keeps_the_names(tmp_path: Path) -> None:
    found, rows = with_gaps("person,item,correct\np1,i1,1\np2,i1,0\n", tmp_path)
    assert [(each.item, each.correct) for each in found] == [("i1", True), ("i1", False)]
    assert list(rows.names.values()) == ["p1", "p2"]
    assert {UUID(each).bytes for each in rows.names} == {each.student for each in found}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("pupil,correct\na,1\n", "line 1: no column student_id; "),
        ("student_id,item_id\na,1\n", "line 1: no column correct; "),
        ("student_id,correct,time_seconds\na,1,soon\n", "line 2: time_seconds is 'soon'"),
        ("student_id,correct,time_seconds\na,1,0\n", "line 2: time_seconds is '0'"),
        ("student_id,correct\na,2\n", "line 2: correct is '2'"),
        ("student_id,correct\n,1\n", "line 2: student_id has 0 characters"),
    ],
)
def test_what_is_wrong_is_wrong_in_research_too(tmp_path: Path, content: str, complaint: str) -> None:
    with pytest.raises(BadRow, match=re.escape(complaint)):
        with_gaps(content, tmp_path)
