import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.web.task_time import in_colons, seconds_of


@pytest.mark.parametrize(
    ("typed", "seconds"),
    [
        *(("90", 90), (" 90 ", 90), ("90.5", 90.5), ("90,5", 90.5), ("0,345", 0.345), ("007", 7)),
        *(("1:30", 90), ("0:05", 5), ("75:00", 4500), ("1:02:03", 3723), ("24:00:00", 86400), ("1:30,5", 90.5)),
        *(("90 s", 90), ("90s", 90), ("90 sec", 90), ("90 Sekunden", 90), ("1,5 min", 90), ("1.5 Min.", 90)),
        *(("2 min 5 s", 125), ("1 h", 3600), ("1 h 10 min", 4200), ("1h2m3s", 3723), ("1 Std. 2 Minuten", 3720)),
        *(("１：３０", 90), ("٩٠", 90)),
    ],
)
def test_a_time_is_read_as_people_write_it(typed: str, seconds: float) -> None:
    assert seconds_of(typed) == seconds


@pytest.mark.parametrize(
    "typed",
    [
        *("", " ", "x", "-5", "1e3", "nan", "inf", "0x10", "1_000", "½", "1" * 51, "90 90", "min"),
        *("1:5", "1:75", "1:60:00", ":30", "1:2:3:4", "1:30 min", "1,000", "1.000 s", "1.234,5"),
        *("5 s 1 min", "1 min 30", "1h10"),
    ],
)
def test_what_is_no_time_or_may_be_two_is_refused(typed: str) -> None:
    with pytest.raises(ValueError, match="is no time"):
        seconds_of(typed)


@given(st.integers(0, 86400))
def test_what_the_field_is_filled_with_is_read_as_the_same(seconds: int) -> None:
    assert seconds_of(in_colons(seconds)) == seconds
