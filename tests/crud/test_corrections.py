"""Whatever is completed, corrected, taken back, discarded and erased at once: what is kept is what the rows say."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core.database import asked_to_read, new_session
from app.core.db.statements import BatchedColumns, run_sync
from app.crud import corrections, student_totals
from app.domain.attempts import DIFFICULTIES
from app.domain.errors import HasResult, NoResult, OtherResult, TaskNotFound
from app.domain.tasks import Claim, Result, Task, TaskRequest
from app.ml import EmbeddingModelService, batches
from app.ml.evaluation.simulated import school, simulate
from app.ml.lnirt.model import ServedLnirt, fit_lnirt
from app.ml.training.scheduler import Trainer
from app.privacy import erasure, export
from tests.crud.test_totals_machine import COUNTED, KEPT

STUDENTS = [UUID(int=number) for number in range(1, 5)]
ERASED = STUDENTS[3]
ACTS, AT_ONCE = 400, 4
ALLOWED = (TaskNotFound, NoResult, HasResult, OtherResult)  # others were faster
TRAINED = simulate(school(12, seed=1), 20, seed=1).attempts


class Load:
    """Acts at random on the same few students, each in a transaction of its own."""

    def __init__(self, model: ServedLnirt) -> None:
        self.model = model
        self.tasks = list[UUID]()
        for student in STUDENTS * 4:
            self.tasks.append(self._asked(student))

    def act(self, seed: int) -> None:
        chosen = random.Random(seed)  # noqa: S311
        task, right, seconds = chosen.choice(self.tasks), chosen.random() < 0.5, chosen.choice([5.0, 30.0, 95.5])
        with new_session()() as db:
            acts: list[tuple[int, Callable[[], Any]]] = [
                (8, lambda: EmbeddingModelService(db).on_task_completed(task, right, seconds)),
                (6, lambda: corrections.change(db, task, right, seconds, 7)),
                (2, lambda: corrections.take_back(db, task, 7)),
                (1, lambda: corrections.discard(db, task)),
                (4, lambda: self.tasks.append(self._asked(chosen.choice(STUDENTS)))),
                (4, lambda: self.predicted(db, self.model, chosen.choice(STUDENTS))),
            ]
            weights, doings = zip(*acts, strict=True)
            try:
                chosen.choices(doings, weights)[0]()
                db.commit()
            except ALLOWED:
                db.rollback()

    def predicted(self, db: Session, model: ServedLnirt, student: UUID) -> np.ndarray:
        """What the model knows of a student just now."""
        asked = TaskRequest(student, TRAINED.topics[0], "medium")
        past = student_totals.past_of(student_totals.PAST.rows_sync(db, **student_totals.question(asked, None))[0])
        return run_sync(model.state(1, asked, past), db)

    def _asked(self, student: UUID) -> UUID:
        with new_session()() as db:
            sql = """INSERT INTO practice_tasks (user_id, topic, difficulty, item_id)
                     VALUES (:student, :topic, :level, :item) RETURNING id"""
            n = len(self.tasks)
            topic, level = TRAINED.topics[n % len(TRAINED.topics)], DIFFICULTIES[n % 3]
            asked = {"student": student, "topic": topic, "level": level, "item": "sheet 1" if n % 4 else None}
            task: UUID = db.execute(text(sql), asked).scalar_one()
            db.commit()
            return task


def test_after_acts_at_once_everything_is_what_the_rows_say(db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trainer, "request", lambda self: None)
    model = fit_lnirt(TRAINED).served()
    load = Load(model)
    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(load.act, range(ACTS // 2)))
        with new_session()() as session:
            erasing = threads.submit(erasure.erase, session, ERASED)
            list(threads.map(load.act, range(ACTS // 2, ACTS)))
            erasing.result()
    with new_session()() as session:
        erasure.erase(session, ERASED)  # what came after the first
    completed = [tuple(row) for row in db.execute(text("SELECT id FROM practice_tasks WHERE completed"))]
    assert len(completed) > 10
    assert db.scalar(text("SELECT count(*) FROM result_corrections")) > 20
    assert [tuple(row) for row in db.execute(text(KEPT))] == [tuple(row) for row in db.execute(text(COUNTED))]
    counter = db.execute(
        text("SELECT n_samples_last_training, n_samples_since_training FROM embedding_model_tracker")
    ).one()
    assert tuple(counter) == (0, len(completed))
    posteriors_are_those_of_a_process_that_has_just_begun(db, load)
    exports_are_the_rows(db)


def posteriors_are_those_of_a_process_that_has_just_begun(db: Session, load: Load) -> None:
    remembered = [load.predicted(db, load.model, student) for student in STUDENTS]  # by this process
    from_database = [load.predicted(db, fit_lnirt(TRAINED).served(), student) for student in STUDENTS]
    db.execute(text("DELETE FROM student_states"))
    anew = [load.predicted(db, fit_lnirt(TRAINED).served(), student) for student in STUDENTS]
    np.testing.assert_allclose(remembered, anew, atol=1e-9)
    np.testing.assert_allclose(from_database, anew, atol=1e-9)
    db.rollback()


def exports_are_the_rows(db: Session) -> None:
    counted = [tuple(row) for row in db.execute(text(COUNTED))]
    rows = "SELECT task_id, was_correct, was_seconds FROM result_corrections WHERE user_id = :student ORDER BY id"
    for student in STUDENTS:
        totals = [row for page in export.totals(asked_to_read, student) for row in page]
        told = sorted((row["scope"], row["key"], row["tasks"], row["correct"]) for row in totals)
        assert told == sorted(row[1:5] for row in counted if row[0] == student)
        kept = [row for page in export.corrections(asked_to_read, student) for row in page]
        corrected = [(row["task_id"], row["was_correct"], row["was_seconds"]) for row in kept]
        assert corrected == [tuple(row) for row in db.execute(text(rows), {"student": student})]
    assert list(export.totals(asked_to_read, ERASED)) == list(export.corrections(asked_to_read, ERASED)) == []


def test_a_swap_that_leaves_all_sums_as_they_were_is_noticed(db: Session) -> None:
    load = Load(fit_lnirt(TRAINED).served())
    first, second = load.tasks[0], load.tasks[4]  # of the first student
    for task, right in ((first, True), (second, False)):
        EmbeddingModelService(db).on_task_completed(task, right, 30.0)
    before = load.predicted(db, load.model, STUDENTS[0])
    db.commit()
    for task, right in ((first, False), (second, True)):
        corrections.change(db, task, right, 30.0, 7)
        db.commit()
    after = load.predicted(db, load.model, STUDENTS[0])
    assert not np.allclose(before, after)
    np.testing.assert_allclose(after, load.predicted(db, fit_lnirt(TRAINED).served(), STUDENTS[0]), atol=1e-9)


def test_a_result_that_comes_as_another_is_taken_back_counts(db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL answers with the task as it is open again, though it was still completed when the result came."""
    task = Load(fit_lnirt(TRAINED).served()).tasks[0]
    first = True

    def each_sync(self: Any, session: Session, many: Any) -> Any:
        nonlocal first
        if first:
            first = False
            recorded = asked(self, session, many)
            corrections.take_back(session, task, 7)
            return [{**row, "since_training": None, "completed": False, "is_correct": None} for row in recorded]
        return asked(self, session, many)

    asked = BatchedColumns.each_sync
    monkeypatch.setattr(BatchedColumns, "each_sync", each_sync)
    monkeypatch.setattr(Trainer, "request", lambda self: None)
    done = EmbeddingModelService(db).on_task_completed(task, True, 30.0)
    assert (done.completed, done.actual_time_seconds) == (True, 30.0)
    corrections.take_back(db, task, 7)
    first = True
    (again,), since_training = batches.complete(db, [Result(task, False, 31.0)], Claim())
    assert isinstance(again, Task)
    assert (again.is_correct, again.actual_time_seconds, since_training) == (False, 31.0, 1)
