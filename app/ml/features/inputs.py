"""Everything that a network is told of a task to come: the eleven features, the context, the past on the very item.

One definition for training (all rows at once) and serving (one row of `student_totals.PAST`). Time of day and day of
week were tried and made answers worse: docs/models.md has the table.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from app.crud.student_totals import StudentHistory
from app.domain.attempts import Attempts
from app.ml.features.history import (
    FEATURES,
    MOST_SECONDS,
    UNKNOWN_RATE,
    UNKNOWN_SECONDS,
    Floats,
    History,
    Ints,
    Spans,
    Totals,
    averages,
    created,
    history_features,
    micros_of,
    own_past,
    totals_of,
)

CONTEXT: tuple[str, ...] = (
    "previous_result",  # of the task finished last: 1, 0; 0.5 without one
    "previous_time",  # its seconds / 100; 0.6 without one
    "session_tasks",  # finished in the half hour before, at most 50; / 20
    "topic_last_result",  # of the task finished last on this topic; 0.5
    "topic_last_time",  # / 100; 0.6
    "log_since_last",  # log(1 + seconds) since the last finish, at most that of 30 days, which none counts as
    "log_since_topic",  # the same since the last finish on this topic
)
ITEM: tuple[str, ...] = (
    "item_success_rate",  # the student's own on this very item; 0.5 without a past or an item
    "item_avg_time",  # / 100; 0.6
    "item_task_count",  # / 5
    "item_last_result",  # 1, 0; 0.5
    "item_last_time",  # / 100; 0.6
    "log_since_item",  # as log_since_topic
)
BASE: tuple[str, ...] = (
    "base_log_odds",  # of a right answer, as LNIRT has it before it is calibrated
    "base_log_time",  # log seconds, the same
)
GROUPS: dict[str, tuple[str, ...]] = {"eleven": FEATURES, "context": CONTEXT, "item": ITEM, "base": BASE}
INPUTS: tuple[str, ...] = FEATURES + CONTEXT + ITEM  # of the past
NETWORK_INPUTS: tuple[str, ...] = INPUTS + BASE  # what a network is told, and what is kept with a task

SECOND = 1_000_000  # microseconds
DAY = 86_400 * SECOND
SESSION = 30 * 60 * SECOND
MOST_IN_SESSION = 50  # tasks
LONG_AGO = 30 * DAY
SESSION_UNIT = 20.0  # tasks
ITEM_UNIT = 5.0  # tasks
LONGEST_SECONDS = LONG_AGO / SECOND
NEVER = np.iinfo(np.int64).min
AT_ONCE = 16_384  # rows: what is worked on stays in the processor's cache

# Where `_described` writes what it comes to, beside the eleven.
RESULTS, TIMES, AGO = (
    [INPUTS.index(name) for name in names]
    for names in (
        ("item_success_rate", "previous_result", "topic_last_result", "item_last_result"),
        ("item_avg_time", "previous_time", "topic_last_time", "item_last_time"),
        ("log_since_last", "log_since_topic", "log_since_item"),
    )
)
TASKS, IN_SESSION = INPUTS.index("item_task_count"), INPUTS.index("session_tasks")


@dataclass(frozen=True, slots=True)
class LastAttempt:
    """The last finished task of a kind before each of n tasks; each (n,)."""

    finished: Ints  # microseconds; NEVER without one
    correct: Floats  # 1, 0
    seconds: Floats


@dataclass(frozen=True, slots=True)
class HistorySnapshot:
    """What is known of n tasks at the moment they are created."""

    at: Ints  # (n,) that moment, microseconds UTC since 1970
    totals: Totals  # overall, topic, difficulty, last five
    session_tasks: Floats  # (n,) finished in the half hour before, at most 50
    last: LastAttempt
    topic_last: LastAttempt
    item: Totals  # (n, 1) on the very item; all 0 where none is named
    item_last: LastAttempt


def inputs_of(known: HistorySnapshot) -> Floats:
    """One row per task, columns as in INPUTS: (n, 24), all finite."""
    inputs = np.empty((len(known.at), len(INPUTS)))
    for start in range(0, len(inputs), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        inputs[part] = _described(_groups(known, part), known.session_tasks[part], _since(known, part))
    return inputs


def only(known: HistorySnapshot, rows: slice) -> HistorySnapshot:
    """Of these tasks alone."""
    columns = {name: getattr(known, name) for name in HistorySnapshot.__slots__}
    return HistorySnapshot(**{name: _rows_of(column, rows) for name, column in columns.items()})


def _rows_of(column: Any, rows: slice) -> Any:
    if isinstance(column, np.ndarray):
        return column[rows]
    return type(column)(*(getattr(column, name)[rows] for name in column.__slots__))


@lru_cache(64)  # a past is asked for by every model that answers, and once more to be stored
def inputs_of_past(past: StudentHistory) -> Floats:
    """The same of the one task that is being created, as the database tells it: (1, 24)."""
    return _described(past.groups, past.session_tasks, past.since)


def _described(groups: Floats, session_tasks: Floats, since: Floats) -> Floats:
    """The inputs (n, 24); from tasks, right ones and seconds of eight groups, (3, n, 8), as `student_totals.GROUPS`
    has them, tasks of the session, (n,), and seconds since the last finishes, (n, 3)."""
    tasks, (rates, times) = groups[0], averages(groups)
    described = np.empty((len(tasks), len(INPUTS)))
    history_features(rates[:, :4], times[:, :4], tasks, described[:, : len(FEATURES)])
    described[:, RESULTS], described[:, TIMES] = rates[:, 4:], times[:, 4:]
    described[:, TASKS] = tasks[:, 4] / ITEM_UNIT
    described[:, IN_SESSION] = session_tasks / SESSION_UNIT
    ago = np.maximum(since, 0) + LONGEST_SECONDS * (tasks[:, 5:] == 0)
    described[:, AGO] = np.log1p(np.minimum(ago, LONGEST_SECONDS))
    return described


def _groups(known: HistorySnapshot, part: slice) -> Floats:
    """Tasks, right ones and seconds of the eight groups, (3, n, 8); what was finished last is a group of one."""
    lasts = (known.last, known.topic_last, known.item_last)
    there = [(last.finished[part] != NEVER).astype(np.float64) for last in lasts]
    groups = [np.column_stack([known.totals.counts[part], known.item.counts[part], *there])]
    for sums in ("correct", "seconds"):
        of_lasts = [getattr(last, sums)[part] * one for last, one in zip(lasts, there, strict=True)]
        groups.append(np.column_stack([getattr(known.totals, sums)[part], getattr(known.item, sums)[part], *of_lasts]))
    return np.stack(groups)


def _since(known: HistorySnapshot, part: slice) -> Floats:
    """Seconds since the last finish, on the topic, on the item, (n, 3); anything where there was none."""
    lasts = (known.last, known.topic_last, known.item_last)
    finished = np.stack([last.finished[part] for last in lasts], axis=1)
    then = np.where(finished == NEVER, 0, finished)
    since: Floats = (known.at[part, None] - then) / SECOND
    return since


def known_before(attempts: Attempts) -> HistorySnapshot:
    """What was known of every attempt when it was created; never the attempt itself or a later one."""
    a, at = attempts, created(attempts)
    history = History(a.finished)
    known = history.before(at)
    students, topics, difficulties = own_past(a, history, known)
    session = history.own(a.student, history.before(at - SESSION))
    item = np.where(a.item >= 0, a.student.astype(np.int64) * len(a.items) + a.item, -1)
    items = history.own(item, np.where(a.item >= 0, known, 0))
    return HistorySnapshot(
        at=at,
        totals=totals_of(a, (students, topics, difficulties)),
        session_tasks=np.minimum(students.end - session.end, MOST_IN_SESSION).astype(np.float64),
        last=_last(students, a),
        topic_last=_last(topics, a),
        item=_sums(items, a),
        item_last=_last(items, a),
    )


def _sums(spans: Spans, attempts: Attempts) -> Totals:
    return Totals(
        spans.counts()[:, None],
        spans.sums(attempts.correct.astype(np.int64))[:, None],
        spans.sums(micros_of(attempts))[:, None] / 1e6,
    )


def _last(spans: Spans, attempts: Attempts) -> LastAttempt:
    there = spans.end > spans.start
    row = spans.order[np.maximum(spans.end - 1, 0)]
    return LastAttempt(
        np.where(there, attempts.finished[row], NEVER),
        np.where(there, attempts.correct[row], UNKNOWN_RATE).astype(np.float64),
        np.where(there, np.minimum(attempts.seconds[row], MOST_SECONDS), UNKNOWN_SECONDS),
    )
