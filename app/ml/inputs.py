"""Everything that a network is told of a task to come: the eleven features, the context, the past on the very item.

One definition for training (all rows at once) and serving (one row of `student_totals.PAST`). Time of day and day of
week were tried and made answers worse: docs/models.md has the table.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from app.crud.student_totals import Finished, Past
from app.domain.attempts import Attempts
from app.ml.features import (
    FEATURES,
    MOST_SECONDS,
    SECONDS_UNIT,
    UNKNOWN_RATE,
    UNKNOWN_SECONDS,
    Floats,
    History,
    Ints,
    Spans,
    Totals,
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
GROUPS: dict[str, tuple[str, ...]] = {"eleven": FEATURES, "context": CONTEXT, "item": ITEM}
INPUTS: tuple[str, ...] = FEATURES + CONTEXT + ITEM

SECOND = 1_000_000  # microseconds
DAY = 86_400 * SECOND
SESSION = 30 * 60 * SECOND
MOST_IN_SESSION = 50  # tasks
LONG_AGO = 30 * DAY
SESSION_UNIT = 20.0  # tasks
ITEM_UNIT = 5.0  # tasks
NEVER = np.iinfo(np.int64).min
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Last:
    """The last finished task of a kind before each of n tasks; each (n,)."""

    finished: Ints  # microseconds; NEVER without one
    correct: Floats  # 1, 0
    seconds: Floats


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of n tasks at the moment they are created."""

    at: Ints  # (n,) that moment, microseconds UTC since 1970
    totals: Totals  # overall, topic, difficulty, last five
    session_tasks: Floats  # (n,) finished in the half hour before, at most 50
    last: Last
    topic_last: Last
    item: Totals  # (n, 1) on the very item; all 0 where none is named
    item_last: Last


def inputs_of(known: Known) -> Floats:
    """One row per task, columns as in INPUTS: (n, 24), all finite."""
    return np.column_stack([history_features(known.totals), _context(known), _item(known)])


def known_before(attempts: Attempts) -> Known:
    """What was known of every attempt when it was created; never the attempt itself or a later one."""
    a, at = attempts, created(attempts)
    history = History(a.finished)
    known = history.before(at)
    students, topics, difficulties = own_past(a, history, known)
    session = history.own(a.student, history.before(at - SESSION))
    item = np.where(a.item >= 0, a.student.astype(np.int64) * len(a.items) + a.item, -1)
    items = history.own(item, np.where(a.item >= 0, known, 0))
    return Known(
        at=at,
        totals=totals_of(a, (students, topics, difficulties)),
        session_tasks=np.minimum(students.end - session.end, MOST_IN_SESSION).astype(np.float64),
        last=_last(students, a),
        topic_last=_last(topics, a),
        item=_sums(items, a),
        item_last=_last(items, a),
    )


def known_of(past: Past) -> Known:
    """The same of the one task that is being created, as the database tells it."""
    return Known(
        at=np.array([_micros(past.at)]),
        totals=Totals(past.counts, past.correct, past.seconds),
        session_tasks=np.array([float(past.session_tasks)]),
        last=_last_of(past.last),
        topic_last=_last_of(past.topic_last),
        item=Totals(*past.item.reshape(3, 1, 1)),
        item_last=_last_of(past.item_last),
    )


def _last_of(task: Finished | None) -> Last:
    if task is None:
        return Last(np.array([NEVER]), np.array([UNKNOWN_RATE]), np.array([UNKNOWN_SECONDS]))
    seconds = min(task.seconds, MOST_SECONDS)
    return Last(np.array([_micros(task.at)]), np.array([float(task.is_correct)]), np.array([seconds]))


def _micros(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def _sums(spans: Spans, attempts: Attempts) -> Totals:
    return Totals(
        spans.counts()[:, None],
        spans.sums(attempts.correct.astype(np.int64))[:, None],
        spans.sums(micros_of(attempts))[:, None] / 1e6,
    )


def _last(spans: Spans, attempts: Attempts) -> Last:
    there = spans.end > spans.start
    row = spans.order[np.maximum(spans.end - 1, 0)]
    return Last(
        np.where(there, attempts.finished[row], NEVER),
        np.where(there, attempts.correct[row], UNKNOWN_RATE).astype(np.float64),
        np.where(there, np.minimum(attempts.seconds[row], MOST_SECONDS), UNKNOWN_SECONDS),
    )


def _context(known: Known) -> Floats:
    return np.column_stack(
        [
            known.last.correct,
            known.last.seconds / SECONDS_UNIT,
            known.session_tasks / SESSION_UNIT,
            known.topic_last.correct,
            known.topic_last.seconds / SECONDS_UNIT,
            _log_since(known.at, known.last),
            _log_since(known.at, known.topic_last),
        ]
    )


def _item(known: Known) -> Floats:
    counts, past = known.item.counts[:, 0], np.maximum(known.item.counts[:, 0], 1)
    return np.column_stack(
        [
            np.where(counts > 0, known.item.correct[:, 0] / past, UNKNOWN_RATE),
            np.where(counts > 0, known.item.seconds[:, 0] / past, UNKNOWN_SECONDS) / SECONDS_UNIT,
            counts / ITEM_UNIT,
            known.item_last.correct,
            known.item_last.seconds / SECONDS_UNIT,
            _log_since(known.at, known.item_last),
        ]
    )


def _log_since(at: Ints, last: Last) -> Floats:
    never = last.finished == NEVER
    since = np.where(never, LONG_AGO, at - np.where(never, 0, last.finished))
    return np.log1p(np.clip(since, 0, LONG_AGO) / SECOND)
