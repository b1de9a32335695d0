"""The eleven features say what a student had finished before a task, and nothing else."""

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.attempts import Attempts
from app.ml.features.history import FEATURES, History, averages, history_features, pairs
from app.ml.features.inputs import inputs_of, known_before

SECOND = 1_000_000  # microseconds

task = st.tuples(
    st.integers(0, 2),  # student
    st.integers(0, 2),  # topic
    st.integers(0, 2),  # difficulty
    st.integers(0, 30),  # started, s: few moments, so that many are the same
    st.integers(1, 20),  # until finished, s: so that tasks overlap
    st.booleans(),
    st.floats(0.01, 600),
)


def attempts(tasks: list[tuple[Any, ...]]) -> Attempts:
    rows = sorted(tasks, key=lambda row: row[3] + row[4])
    student, topic, difficulty, started, lasted, correct, seconds = (
        np.array([row[column] for row in rows]) for column in range(7)
    )
    return Attempts(
        ("a", "b", "c"),
        ("x", "y", "z"),
        (),
        student.astype(np.int32),
        topic.astype(np.int32),
        difficulty.astype(np.int32),
        np.full(len(rows), -1, np.int32),
        started.astype(np.int64) * SECOND,
        (started + lasted).astype(np.int64) * SECOND,
        correct.astype(np.bool_),
        seconds.astype(np.float64),
    )


def eleven(rows: Attempts) -> Any:
    """Of every attempt, (n, 11)."""
    return inputs_of(known_before(rows))[:, : len(FEATURES)]


def told_one_by_one(all_of_them: Attempts, row: int) -> list[float]:
    """The design's table, read aloud for one task."""
    a = all_of_them
    past = [k for k in range(len(a)) if a.finished[k] <= a.started[row] and a.student[k] == a.student[row]]
    past.sort(key=lambda k: (a.finished[k], k))
    topic = [k for k in past if a.topic[k] == a.topic[row]]
    difficulty = [k for k in past if a.difficulty[k] == a.difficulty[row]]

    def mean(rows: list[int]) -> list[float]:
        if not rows:
            return [0.5, 0.6]
        return [float(np.mean(a.correct[rows])), float(np.mean(a.seconds[rows])) / 100]

    return [
        *(*mean(past), len(past) / 100),
        *(*mean(topic), len(topic) / 20),
        *(*mean(difficulty), len(difficulty) / 20),
        *mean(past[-5:]),
    ]


@given(st.lists(task, min_size=1, max_size=40))
@settings(max_examples=150, deadline=None)
def test_all_rows_at_once_say_what_a_loop_says(tasks: list[tuple[Any, ...]]) -> None:
    rows = attempts(tasks)
    expected = np.array([told_one_by_one(rows, row) for row in range(len(rows))])
    np.testing.assert_allclose(eleven(rows), expected, rtol=1e-5, atol=1e-7)


@given(st.lists(task, min_size=2, max_size=40), st.data())
@settings(max_examples=100, deadline=None)
def test_no_task_sees_itself_or_later_ones(tasks: list[tuple[Any, ...]], data: st.DataObject) -> None:
    rows = attempts(tasks)
    changed = data.draw(st.integers(0, len(rows) - 1))
    correct, seconds = rows.correct.copy(), rows.seconds.copy()
    correct[changed] = ~correct[changed]
    seconds[changed] += 17.3
    untouched = rows.started < rows.finished[changed]
    before = eleven(rows)[untouched]
    after = eleven(replace(rows, correct=correct, seconds=seconds))[untouched]
    assert np.array_equal(before, after)


def from_groups(groups: list[list[float]]) -> dict[str, float]:
    """The eleven of one task: tasks, right ones and seconds, each overall, on the topic, at the difficulty, recent."""
    of_one, features = np.array(groups)[:, None], np.empty((1, len(FEATURES)))
    rates, times = averages(of_one)
    history_features(rates, times, of_one[0], features)
    return dict(zip(FEATURES, features[0].tolist(), strict=True))


def test_without_a_past() -> None:
    features = from_groups([[0.0] * 4] * 3)
    assert list(features.values()) == [0.5, 0.6, 0, 0.5, 0.6, 0, 0.5, 0.6, 0, 0.5, 0.6]


def test_with_the_past_of_the_documents() -> None:
    said = from_groups([[68, 5, 3, 5.0], [34, 5, 0, 4.0], [4080, 250, 90, 100.0]])
    assert said["overall_task_count"] == 0.68
    assert said["topic_task_count"] == 0.25
    assert said["difficulty_task_count"] == 0.15
    assert said["overall_success_rate"] == 0.5
    assert said["overall_avg_time"] == 0.6
    assert said["recent_success_rate"] == 0.8
    assert said["recent_avg_time"] == 0.2


def test_a_question_about_a_task_to_come() -> None:
    past = attempts([(0, 0, 0, 0, 5, True, 5.0), (0, 1, 0, 10, 5, False, 7.0), (1, 0, 0, 0, 9, True, 9.0)])
    history, groups = History(past.finished), pairs(past.student, past.topic, len(past.topics))

    def asked(student: int, topic: int, second: int) -> tuple[list[float], list[float]]:
        group = pairs(np.array([student], np.int32), np.array([topic], np.int32), len(past.topics))
        spans = history.groups(groups, group, history.before(np.array([second * SECOND])))
        return spans.counts().tolist(), spans.sums(past.seconds).tolist()

    assert asked(0, 0, 4) == ([0], [0])
    assert asked(0, 0, 15) == ([1], [5])
    assert asked(0, 1, 15) == ([1], [7])
    assert asked(0, -1, 15) == asked(-1, 0, 15) == ([0], [0])


@given(st.lists(task, max_size=40))
@settings(max_examples=100, deadline=None)
def test_a_task_of_the_past_is_asked_about_like_any_other(tasks: list[tuple[Any, ...]]) -> None:
    rows = attempts(tasks) if tasks else attempts([(0, 0, 0, 0, 1, True, 1.0)]).take(slice(0))
    history, groups = History(rows.finished), pairs(rows.student, rows.topic, len(rows.topics))
    known = history.before(np.minimum(rows.started, rows.finished - 1))
    own, asked = history.own(groups, known), history.groups(groups, groups, known)
    assert np.array_equal(own.start, asked.start)
    assert np.array_equal(own.end, asked.end)
