"""The inputs beside the eleven say what a student had finished before a task, and nothing else."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from app.crud.student_totals import StudentHistory
from app.domain.attempts import Attempts
from app.ml.features.history import FEATURES
from app.ml.features.inputs import CONTEXT, INPUTS, ITEM, HistorySnapshot, inputs_of, inputs_of_past, known_before

SECOND = 1_000_000  # microseconds
MINUTE = 60 * SECOND
MONTH = 30 * 86_400 * SECOND

task = st.tuples(
    st.integers(0, 2),  # student
    st.integers(0, 2),  # topic
    st.integers(0, 2),  # difficulty
    st.integers(-1, 2),  # item
    st.integers(0, 30),  # started, quarters of an hour: few moments, so that many are the same
    st.integers(1, 4),  # until finished, quarters of an hour: so that tasks overlap and sessions end
    st.booleans(),
    st.floats(0.01, 600),
)
tasks = st.lists(task, min_size=1, max_size=40)
stretch = st.sampled_from([1, 200])  # of all moments: within a day, or over months


def attempts(rows: list[tuple[Any, ...]], stretched: int = 1) -> Attempts:
    rows = sorted(rows, key=lambda row: row[4] + row[5])
    student, topic, difficulty, item, started, lasted, correct, seconds = (
        np.array([row[column] for row in rows]) for column in range(8)
    )
    return Attempts(
        ("a", "b", "c"),
        ("x", "y", "z"),
        ("one", "two", "three"),
        student.astype(np.int32),
        topic.astype(np.int32),
        difficulty.astype(np.int32),
        item.astype(np.int32),
        started.astype(np.int64) * 15 * MINUTE * stretched,
        (started + lasted).astype(np.int64) * 15 * MINUTE * stretched,
        correct.astype(np.bool_),
        seconds.astype(np.float64),
    )


def told_one_by_one(a: Attempts, row: int) -> list[float]:
    """The table of inputs, read aloud for one task."""
    at = int(a.started[row])
    past = [k for k in range(len(a)) if a.finished[k] <= at and a.student[k] == a.student[row]]
    past.sort(key=lambda k: (a.finished[k], k))
    topic = [k for k in past if a.topic[k] == a.topic[row]]
    item = [k for k in past if a.item[k] == a.item[row] and a.item[row] >= 0]

    def mean(rows: list[int]) -> list[float]:
        return [float(np.mean(a.correct[rows])), float(np.mean(a.seconds[rows])) / 100] if rows else [0.5, 0.6]

    def since(rows: list[int]) -> float:
        return math.log(1 + min(at - int(a.finished[rows[-1]]), MONTH) / SECOND if rows else 1 + MONTH / SECOND)

    session = [k for k in past if at - a.finished[k] < 30 * MINUTE]
    return [
        *mean(past[-1:]),
        min(len(session), 50) / 20,
        *mean(topic[-1:]),
        *(since(past), since(topic)),
        *(*mean(item), len(item) / 5, *mean(item[-1:]), since(item)),
    ]


@given(tasks, stretch)
@settings(max_examples=150, deadline=None)
def test_all_rows_at_once_say_what_a_loop_says(rows: list[tuple[Any, ...]], stretched: int) -> None:
    all_of_them = attempts(rows, stretched)
    said = inputs_of(known_before(all_of_them))
    expected = np.array([told_one_by_one(all_of_them, row) for row in range(len(rows))])
    np.testing.assert_allclose(said[:, len(FEATURES) :], expected, rtol=1e-5, atol=1e-7)


@given(tasks, stretch, st.data())
@settings(max_examples=100, deadline=None)
def test_no_task_sees_itself_or_later_ones(rows: list[tuple[Any, ...]], stretched: int, data: st.DataObject) -> None:
    before = attempts(rows, stretched)
    changed = data.draw(st.integers(0, len(rows) - 1))
    correct, seconds, item = before.correct.copy(), before.seconds.copy(), before.item.copy()
    correct[changed] = ~correct[changed]
    seconds[changed] += 17.3
    after = replace(before, correct=correct, seconds=seconds, item=item)
    untouched = before.started < before.finished[changed]
    assert np.array_equal(inputs_of(known_before(before))[untouched], inputs_of(known_before(after))[untouched])
    alone = before.take(np.arange(len(rows)) != changed)
    assert (
        np.array_equal(
            inputs_of(known_before(alone)),
            inputs_of(known_before(before.take(slice(None))))[np.arange(len(rows)) != changed],
        )
        or (before.started >= before.finished[changed]).any()
    )


@given(tasks, stretch, st.data())
@settings(max_examples=60, deadline=None)
def test_the_database_and_the_table_tell_the_same(
    rows: list[tuple[Any, ...]], stretched: int, data: st.DataObject
) -> None:
    """One row of the past, as the history query gives it, describes the task as training will see it."""
    a = attempts(rows, stretched)
    row = data.draw(st.integers(0, len(rows) - 1))
    served = inputs_of_past(past_of(a, row))
    np.testing.assert_allclose(served[0], inputs_of(known_before(a))[row], rtol=1e-12, atol=1e-12)


def past_of(a: Attempts, row: int) -> StudentHistory:
    """What the history query says when this task is created."""
    at = int(a.started[row])
    past = [k for k in range(len(a)) if a.finished[k] <= at and a.student[k] == a.student[row]]
    topic = [k for k in past if a.topic[k] == a.topic[row]]
    difficulty = [k for k in past if a.difficulty[k] == a.difficulty[row]]
    item = [k for k in past if a.item[k] == a.item[row] and a.item[row] >= 0]

    def moment(micros: int) -> datetime:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)

    def sums(*spans: list[int]) -> Any:
        micros = np.rint(a.seconds * 1e6)
        return [(len(k), a.correct[k].sum(), micros[k].sum() / 1e6) for k in spans]

    def since(rows: list[int]) -> float:
        return float(at - a.finished[rows[-1]]) / 1e6 if rows else 0.0

    half_an_hour = sum(a.finished[k] > at - 30 * MINUTE for k in past)
    lasts = [(1, a.correct[k[-1]], a.seconds[k[-1]]) if k else (0, 0, 0) for k in (past, topic, item)]
    groups = np.array([*sums(past, topic, difficulty, past[-5:], item), *lasts], np.float64).T[:, None]
    finished = np.array([[since(past), since(topic), since(item)]])
    return StudentHistory(moment(at), (), groups, np.array([float(half_an_hour)]), finished)


def test_without_a_past() -> None:
    a = attempts([(0, 0, 0, -1, 0, 1, True, 5.0)])
    said = dict(zip(INPUTS, inputs_of(known_before(a))[0].tolist(), strict=True))
    assert (said["previous_result"], said["previous_time"], said["session_tasks"]) == (0.5, 0.6, 0)
    assert (said["item_success_rate"], said["item_avg_time"], said["item_task_count"]) == (0.5, 0.6, 0)
    assert {said[name] for name in INPUTS if name.startswith("log_since")} == {math.log(1 + 30 * 86_400)}


def test_two_tasks_without_an_item_are_no_past_of_one_another() -> None:
    a = attempts([(0, 0, 0, -1, 0, 1, True, 5.0), (0, 0, 0, -1, 5, 1, True, 5.0), (0, 0, 0, 2, 9, 1, True, 5.0)])
    counts = inputs_of(known_before(a))[:, INPUTS.index("item_task_count")]
    assert counts.tolist() == [0, 0, 0]


def test_a_session_counts_fifty_at_most() -> None:
    a = attempts([(0, 0, 0, 0, 0, 1, True, 5.0)] * 70 + [(0, 0, 0, 0, 2, 1, True, 5.0)])
    assert inputs_of(known_before(a))[-1, INPUTS.index("session_tasks")] == 50 / 20


def test_a_time_beyond_all_measure_counts_as_twelve_days() -> None:
    a = attempts([(0, 0, 0, 0, 0, 1, True, 1e12), (0, 0, 0, 0, 2, 1, True, 5.0)])
    said = inputs_of(known_before(a))
    assert said[1, INPUTS.index("previous_time")] == said[1, INPUTS.index("item_avg_time")] == 1e4
    assert np.isfinite(said).all()


def test_one_column_for_each_name() -> None:
    known: HistorySnapshot = known_before(attempts([(0, 0, 0, 0, 0, 1, True, 5.0)]))
    assert inputs_of(known).shape == (1, len(FEATURES) + len(CONTEXT) + len(ITEM))
