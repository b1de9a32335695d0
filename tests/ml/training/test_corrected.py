"""A result that a training learnt is corrected: the next one learns it anew, and who learnt the old one stays away."""

from typing import Any
from uuid import UUID

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core.database import new_session
from app.crud import corrections, model_versions, serving_changes
from app.domain.actors import Actor
from app.domain.errors import NotKept
from app.ml.evaluation.simulated import school, simulate
from app.ml.features.vocabulary import Vocabulary
from app.ml.networks.checkpoint import HeldOut
from app.ml.training import dataset
from app.ml.training import run as training_run
from tests.privacy import test_erasure
from tests.privacy.test_erasure import Run, counted, who_serves
from tests.school import imported

run, ways = test_erasure.run, test_erasure.ways  # fixtures
GRACE = Actor("grace@example.com")
FINISHED = "SELECT id FROM practice_tasks WHERE completed ORDER BY completed_at, id OFFSET :row LIMIT 1"


def task_at(row: int) -> UUID:
    with new_session()() as session:
        found: UUID = session.execute(text(FINISHED), {"row": row}).scalar_one()
        return found


def correct(row: int, *, take_back: bool = False) -> None:
    """The task finished as so many'th turns out to have gone the other way, or not to have been done."""
    task = task_at(row)
    with new_session().begin() as session:
        was = session.execute(text("SELECT is_correct FROM practice_tasks WHERE id = :id"), {"id": task}).scalar_one()
        if take_back:
            corrections.take_back(session, task, 7)
        else:
            corrections.change(session, task, not was, 12.0, 7)


def due(db: Session) -> None:
    db.execute(text("UPDATE embedding_model_tracker SET n_samples_since_training = 5, n_samples_last_training = 1195"))
    db.commit()


def of_many_tasks(db: Session) -> None:
    """The versions count as trained on so many that a single one does not matter."""
    db.execute(text("UPDATE model_versions SET n_tasks = 10001"))
    db.commit()


def test_a_run_that_goes_on_learns_the_corrected_result_anew(
    run: Run,
    db: Session,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[NDArray[np.bool_]] = []

    def noted(*given: Any) -> NDArray[np.bool_]:
        seen.append(dataset.fresh_rows(*given))
        return seen[-1]

    monkeypatch.setattr(training_run, "fresh_rows", noted)
    run()
    of_many_tasks(db)
    monkeypatch.setattr(training_run, "due_from_scratch", lambda *_: False)
    correct(100)
    due(db)
    assert run()["outcome"] == "published"
    assert np.flatnonzero(seen[0]).tolist() == [100]
    due(db)
    run()
    assert np.flatnonzero(seen[1]).tolist() == []  # it has been learnt


def test_a_run_that_reads_some_students_reads_those_who_were_corrected(
    db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = simulate(school(20, seed=2), 60, seed=2).attempts
    imported(db, tasks)
    monkeypatch.setattr(dataset, "READ", 400)
    correct(7)
    (task,) = corrections.since(db, 0, 10)
    some = dataset.subsampled(db, len(tasks), 5, None, 1, [task])
    place = some.attempts.students.index(task.student)
    fresh = dataset.fresh_rows(some, task.finished.replace(year=2100), [task])
    assert (some.older.student[fresh].tolist(), some.corrections) == ([place], 1)


def test_few_corrections_among_many_tasks_spoil_no_version(run: Run, db: Session) -> None:
    run()
    run(forced=True)
    correct(3)
    of_many_tasks(db)
    assert not model_versions.get(db, 1).knows_corrected
    assert serving_changes.promote(db, 1, GRACE).startswith("Version 1")


def test_a_version_that_learnt_what_was_corrected_is_not_brought_back(run: Run, db: Session) -> None:
    run()
    run(forced=True)
    assert who_serves(db) == [3, 4]
    correct(3)
    with pytest.raises(NotKept, match="Version 1 learnt from one result that was corrected since it was trained"):
        serving_changes.promote(db, 1, GRACE)
    db.rollback()
    with pytest.raises(NotKept, match="to go back to that was trained since results that it learnt were corrected"):
        serving_changes.roll_back(db, GRACE)
    db.rollback()
    assert model_versions.retired(db, "embedding_v2") == []  # nor where the files of the one that serves are damaged
    assert model_versions.to_go_on_from(db, "embedding_v2", "training.npz") is None
    due(db)
    run()
    assert model_versions.get(db, max(who_serves(db))).report["way"] == "scratch"
    for version in who_serves(db):
        assert not model_versions.get(db, version).knows_corrected
    with pytest.raises(NotKept):
        serving_changes.roll_back(db, GRACE)


def test_what_was_corrected_before_a_training_spoils_no_later_version(run: Run, db: Session) -> None:
    for row in range(5):
        correct(row)
    run()
    assert [version.corrected for version in model_versions.serving(db).values()] == [0, 0]


def test_what_is_taken_back_during_a_run_leaves_a_counter_that_adds_up(
    run: Run,
    db: Session,
    ways: dict[str, Any],
) -> None:
    done: list[str] = []

    def meanwhile(kind: str) -> None:
        if not done:
            done.append(kind)
            correct(1_199, take_back=True)
            correct(5)

    ways["meanwhile"] = meanwhile
    assert run()["outcome"] == "published"
    assert sum(counted(db)) == 1_199
    assert all(version.corrected == 2 for version in model_versions.serving(db).values())


def test_what_calibrates_is_left_out_once_it_was_corrected() -> None:
    tasks = simulate(school(5, seed=2), 20, seed=2).attempts
    vocabulary = Vocabulary().grown(tasks, slice(None))
    n = len(tasks)
    told = HeldOut(np.full(n, 0.5), np.full(n, 30.0), tasks.correct, tasks.seconds, vocabulary.places(tasks)[0])
    assert len(told.still_true(vocabulary, tasks).p) == n
    other = tasks.take(np.arange(n))
    other.correct[3] = ~other.correct[3]
    other.seconds[8] += 1
    kept = told.still_true(vocabulary, other)
    assert len(kept.p) == n - 2
    assert np.array_equal(kept.seconds, np.delete(tasks.seconds, [3, 8]))
    strangers = HeldOut(told.p, told.predicted, told.correct, told.seconds, np.zeros(n, np.int32))
    assert len(strangers.still_true(vocabulary, other).p) == n
