"""What a run reads: everything, or whole histories of some students, so that every number stays exact."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.crud import attempts
from app.ml.evaluation.simulated import school, simulate
from app.ml.features.inputs import inputs_of, known_before
from app.ml.training import dataset
from app.ml.training.gate import cut
from tests.school import imported

TASKS = simulate(school(30, seed=3), 40, seed=3).attempts  # 1,200


@pytest.mark.parametrize(
    ("tasks", "last", "learnt", "due"),
    [
        (4_999, 4_998, 4_998, True),  # few: always
        (10_000, None, None, True),  # the first
        (10_000, 9_995, None, True),  # there is nothing to go on from
        (10_005, 10_000, 10_000, False),
        (14_999, 10_000, 14_990, False),
        (15_000, 10_000, 14_990, True),  # grown by half
        (10_100, 10_000, 10_200, True),  # some that were learnt from are gone
    ],
)
def test_from_scratch_is_due(tasks: int, last: int | None, learnt: int | None, due: bool) -> None:
    assert dataset.due_from_scratch(tasks, last, 0.5, learnt) is due


def test_who_says_something_new_is_read_first_and_never_more_than_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "READ", 100)
    students, tasks = [f"s{k:02}" for k in range(40)], np.full(40, 10)
    chosen = dataset.drawn_students(students, tasks, ["s30", "s31", "s30"], ["s01", "s02", "s30"], 0)
    assert chosen[:4] == ["s30", "s31", "s01", "s02"]
    assert len(chosen) == len(set(chosen)) == 10
    many = dataset.drawn_students(students, tasks, students, students, 0)
    assert len(many) == 10
    assert chosen != dataset.drawn_students(students, tasks, ["s30", "s31"], ["s01", "s02"], 1)  # others by lot


def test_three_students_are_read_however_much_they_did(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "READ", 100)
    assert dataset.drawn_students(["a", "b", "c", "d"], np.full(4, 5_000), ["d"], ["d", "c"], 0)[:2] == ["d", "c"]
    assert len(dataset.drawn_students(["a", "b", "c", "d"], np.full(4, 5_000), ["d"], ["d", "c"], 0)) == 3


def test_of_some_students_every_number_is_as_of_all(db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    imported(db, TASKS)
    monkeypatch.setattr(dataset, "READ", 400)
    whole, some = dataset.full(db, 5, True), dataset.subsampled(db, len(TASKS), 5, None, seed=1)
    assert (whole.is_full, some.is_full, some.tasks) == (True, False, 1200)
    assert 300 <= len(some.attempts) <= 400
    place = {name: k for k, name in enumerate(whole.attempts.students)}
    rows = np.isin(whole.attempts.student, [place[name] for name in some.attempts.students])
    assert np.array_equal(some.attempts.finished, whole.attempts.finished[rows])
    assert np.array_equal(inputs_of(known_before(some.attempts)), inputs_of(known_before(whole.attempts))[rows])
    # The same tasks judge: the newest of all, as far as their students are read.
    assert np.array_equal(
        some.attempts.finished[some.fitted_rows :], whole.attempts.finished[cut(1200) :][rows[cut(1200) :]]
    )


def test_fresh_is_what_was_finished_after_the_last_training_and_does_not_judge(db: Session) -> None:
    imported(db, TASKS)
    everything = dataset.full(db, 5, False)
    assert dataset.fresh_rows(everything, None).all()
    finished = everything.attempts.finished
    since = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(finished[999]))
    fresh = dataset.fresh_rows(everything, since)
    assert np.array_equal(np.flatnonzero(fresh), np.arange(1000, cut(1200)))


def test_microseconds_are_not_lost_on_the_way(db: Session) -> None:
    imported(db, TASKS.take(slice(10)))
    newest = attempts.newest(db, 1)[0].finished
    assert attempts.microseconds(newest) == attempts.read_all(db).finished[-1]
    again = db.scalar(text("SELECT CAST(:moment AS timestamptz)"), {"moment": newest})
    assert again == newest
