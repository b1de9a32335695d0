"""A dry run tells what an import would store, and what is suspicious, before anything is stored."""

import io

import pytest

from app.domain.file_check import FileCheck
from app.domain.interactions import Interactions

HEADER = "student_id,item_id,topic,difficulty,correct,time_seconds,timestamp"


def checked(rows: list[str], header: str = HEADER) -> FileCheck:
    source = Interactions(io.StringIO("\n".join([header, *rows, ""])), skip_bad=True)
    found = FileCheck(source)
    for row in source:
        found.add(row)
    return found


def row(k: int, *, seconds: float = 20.0, correct: int | None = None) -> str:
    return f"s{k % 3},i{k},{'ab'[k % 2]},easy,{k % 2 if correct is None else correct},{seconds},{1711843200 + 60 * k}"


def test_rows_students_topics_and_dates_are_told() -> None:
    found = checked([row(k) for k in range(10)])
    assert found.told() == [
        "10 rows can be imported: 3 students, 2 topics (a, b).",
        "They begin at 2024-03-31 00:00 and end at 2024-03-31 00:09 UTC.",
        "50.0% are right; they took 20 to 20 seconds.",
    ]
    assert found.remarks() == []
    assert found.refused() == []


@pytest.mark.parametrize(
    ("rows", "remark"),
    [
        ([row(k, seconds=20_000) for k in range(10)], "Most times are above 1,000: are they milliseconds?"),
        (
            [row(k, seconds=20_000 if k % 5 == 0 else 20) for k in range(10)],
            "20% of the times are above 1,000: are they milliseconds?",
        ),
        ([row(k, seconds=0.3) for k in range(10)], "Most times are below 2: are they minutes?"),
        ([row(k, correct=1) for k in range(10)], "Every answer is right"),
        ([row(k, correct=0) for k in range(10)], "Every answer is wrong"),
        ([row(k) for k in (1, 2, 3, 2, 3, 3)], "3 rows repeat another one"),
        ([row(1), ",,,,,,", "", row(2)], "2 blank rows are skipped."),
        ([row(k).rpartition(",")[0] + "," for k in range(3)], "No row has a timestamp"),
    ],
)
def test_what_is_suspicious_is_told(rows: list[str], remark: str) -> None:
    assert any(each.startswith(remark) for each in checked(rows).remarks())


def test_columns_that_are_named_twice_and_not_read_are_told() -> None:
    assert checked([row(k) + ",x,y" for k in range(4)], HEADER + ",note,note").remarks() == [
        "Named twice, and not read: note."
    ]


def test_what_would_be_refused_is_told_by_column() -> None:
    bad = [
        row(3).replace("s0", "1.23457E+11"),
        row(4).replace("s1", "1.23457E+11"),
        row(5).replace("1711843500", "45382.1"),
    ]
    student, timestamp = checked([row(1), *bad, row(6)]).refused()
    assert student.startswith("2 rows can't be used, the first: line 3: student_id is '1.23457E+11'")
    assert timestamp.startswith("1 rows can't be used, the first: line 5: timestamp is '45382.1'")


def test_a_file_without_rows_is_told_too() -> None:
    assert checked([]).told() == ["0 rows can be imported: 0 students, 0 topics."]
    assert checked([]).remarks() == []
