import io
import math

import pytest

from app.domain.interactions import BadRow
from app.domain.responses import read_responses


def test_either_half_of_an_answer_may_be_missing() -> None:
    text = "item,person,correct,time_seconds,note\ni1,p1,1,12.5,x\ni1,p2,,3,\ni2,p1,0,NA,\ni2,p2,,,\n"
    found = read_responses(io.StringIO(text))
    assert (found.person, found.item) == (["p1", "p2", "p1"], ["i1", "i1", "i2"])
    assert [math.isnan(mark) for mark in found.correct] == [False, True, False]
    assert [math.isnan(seconds) for seconds in found.seconds] == [False, False, True]
    assert found.empty == 1


def test_times_at_the_limit_or_flagged_are_cut_off() -> None:
    text = "student_id,item_id,correct,time_seconds,censored\na,i,1,29.9,0\na,j,0,30,0\na,k,0,41,\na,l,0,5,1\n"
    found = read_responses(io.StringIO(text), limit_seconds=30)
    assert found.censored == [False, True, True, True]
    assert found.seconds == [29.9, 30, 30, 5]


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("p,i,2,5", "line 2: correct is '2'"),
        ("p,i,1,-5", "line 2: time_seconds is '-5'"),
        ("p,i,1,soon", "line 2: time_seconds is 'soon'"),
        (",i,1,5", "line 2: person is empty"),
        ("p,i,1", "line 2: 3 cells"),
        ("p,i,1,5\np,j,1,5,6", "line 3: 5 cells"),
        ('"a\nb",i,1,5\np,j,2,5', "line 4: correct is '2'"),
    ],
)
def test_a_bad_row_is_named_by_its_line(row: str, complaint: str) -> None:
    with pytest.raises(BadRow, match=complaint):
        read_responses(io.StringIO(f"person,item,correct,time_seconds\n{row}\n"))


def test_a_missing_column_is_named() -> None:
    with pytest.raises(BadRow, match="no column item, time_seconds"):
        read_responses(io.StringIO("person,correct\n"))
