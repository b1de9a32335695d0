"""All inputs of a network for a task to come: the eleven features, the context, the past on the very item.

One definition for training (all rows at once) and serving (one row of `student_totals.PAST`). Time of day and day of
week were tried and made answers worse: docs/models.md has the table.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from app.crud.student_totals import StudentHistory
from app.domain.attempts import DIFFICULTIES, Attempts, shards
from app.ml.features.history import FEATURES, MOST_SECONDS, Floats, History, averages, created, history_features, pairs

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
INPUT_GROUPS: dict[str, tuple[str, ...]] = {"eleven": FEATURES, "context": CONTEXT, "item": ITEM, "base": BASE}
INPUTS: tuple[str, ...] = FEATURES + CONTEXT + ITEM  # of the past
NETWORK_INPUTS: tuple[str, ...] = INPUTS + BASE  # of a network; kept with each task
CONTEXT_AT, ITEM_AT = len(FEATURES), len(FEATURES + CONTEXT)  # columns

SECOND = 1_000_000  # microseconds
DAY = 86_400 * SECOND
SESSION = 30 * 60 * SECOND
RECENT = 5  # tasks
MOST_IN_SESSION = 50  # tasks
LONG_AGO = 30 * DAY
SESSION_UNIT = 20.0  # tasks
ITEM_UNIT = 5.0  # tasks
LONGEST_SECONDS = LONG_AGO / SECOND

BLOCK_ROWS = 16_384  # rows: what is worked on stays in the processor's cache


@dataclass(frozen=True, slots=True)
class HistorySnapshot:
    """What is known of n tasks at the moment they are created; columns as in `StudentHistory`."""

    groups: Floats  # (3, n, 8) tasks, right ones and their seconds, each of `student_totals.HISTORY_GROUPS`
    session_tasks: Floats  # (n,) finished in the half hour before, at most 50
    since: Floats  # (n, 3) seconds since the last finish, on the topic, on the item; anything where there was none


def inputs_of(known: HistorySnapshot) -> Floats:
    """One row per task, columns as in INPUTS: (n, 24), all finite."""
    inputs = np.empty((len(known.since), len(INPUTS)))
    for start in range(0, len(inputs), BLOCK_ROWS):
        part = slice(start, start + BLOCK_ROWS)
        inputs[part] = _described(known.groups[:, part], known.session_tasks[part], known.since[part])
    return inputs


def inputs_at(attempts: Attempts, rows: NDArray[np.intp]) -> NDArray[np.float32]:
    """The inputs of m rows of the attempts, (m, 24), in single precision: made of one shard of students after another,
    so that beside them hardly any memory is taken."""
    inputs = np.empty((len(rows), len(INPUTS)), np.float32)
    for shard in shards(attempts, rows):
        inputs[shard.places] = inputs_of(known_before(shard.attempts))[shard.asked]
    return inputs


@lru_cache(64)  # a past is asked for by every model that answers, and once more to be stored
def inputs_of_past(past: StudentHistory) -> Floats:
    """The same of the one task that is being created, as the database tells it: (1, 24)."""
    return _described(past.groups, past.session_tasks, past.since)


def _described(groups: Floats, session_tasks: Floats, since: Floats) -> Floats:
    """The inputs (n, 24) from the fields of a HistorySnapshot or a StudentHistory."""
    tasks, (rates, times) = groups[0], averages(groups)
    described = np.empty((len(tasks), len(INPUTS)))
    ago = np.maximum(since, 0) + LONGEST_SECONDS * (tasks[:, 5:] == 0)
    ago = np.log1p(np.minimum(ago, LONGEST_SECONDS))
    eleven, context, item = described[:, :CONTEXT_AT], described[:, CONTEXT_AT:ITEM_AT], described[:, ITEM_AT:]
    history_features(rates[:, :4], times[:, :4], tasks, eleven)
    context[:, 0:4:3], context[:, 1:5:3], context[:, 5:7] = rates[:, 5:7], times[:, 5:7], ago[:, :2]
    context[:, 2] = session_tasks / SESSION_UNIT
    item[:, 0:4:3], item[:, 1:5:3], item[:, 5:6] = rates[:, 4::3], times[:, 4::3], ago[:, 2:]
    item[:, 2] = tasks[:, 4] / ITEM_UNIT
    return described


def known_before(attempts: Attempts) -> HistorySnapshot:
    """What was known of every attempt when it was created; never the attempt itself or a later one."""
    a, at = attempts, created(attempts)
    history = History(a.finished)
    known = history.before(at)
    student = history.own(a.student, known)
    topic = history.own(pairs(a.student, a.topic, len(a.topics)), known)
    difficulty = history.own(pairs(a.student, a.difficulty, len(DIFFICULTIES)), known)
    item = history.own(pairs(a.student, a.item, len(a.items)), np.where(a.item >= 0, known, 0))
    sums, lasts = (student, topic, difficulty, student.newest(RECENT), item), (student, topic, item)
    seconds = np.minimum(a.seconds, MOST_SECONDS)
    micros = np.rint(seconds * 1e6).astype(np.int64)  # whole ones add up exactly, whatever else is summed
    groups = np.empty((3, len(a), 8))
    for place, span in enumerate(sums):
        groups[:, :, place] = span.counts(), span.sums(a.correct.astype(np.int64)), span.sums(micros) / 1e6
    since = np.empty((len(a), 3))
    for place, span in enumerate(lasts):
        row, there = span.order[np.maximum(span.end - 1, 0)], span.end > span.start
        groups[:, :, 5 + place] = there, there & a.correct[row], np.where(there, seconds[row], 0)
        since[:, place] = (at - a.finished[row]) / SECOND
    session = student.end - history.own(a.student, history.before(at - SESSION)).end
    return HistorySnapshot(groups, np.minimum(session, MOST_IN_SESSION).astype(np.float64), since)
