"""What training reads is what was finished, whichever way it is asked for."""

import numpy as np
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.crud import attempts
from app.domain.attempts import Attempts
from app.ml.evaluation.simulated import school, simulate
from tests.school import imported


def told(some: Attempts) -> list[tuple[object, ...]]:
    """Each task in words, so that codes don't matter."""
    return [
        (
            some.students[some.student[row]],
            some.topics[some.topic[row]],
            int(some.difficulty[row]),
            some.items[some.item[row]] if some.item[row] >= 0 else None,
            *(int(some.started[row]), int(some.finished[row]), bool(some.correct[row]), float(some.seconds[row])),
        )
        for row in range(len(some))
    ]


def test_some_students_read_alone_are_what_they_are_among_all(db: Session) -> None:
    imported(db, simulate(school(6, seed=2), 9, seed=2).attempts)
    everybody = attempts.read_all(db)
    asked = [everybody.students[4], everybody.students[1], "00000000-0000-4000-8000-ffffffffffff"]
    some = attempts.read_students(db, asked)
    assert some.students == (everybody.students[1], everybody.students[4])
    assert told(some) == [task for task in told(everybody) if task[0] in asked]
    assert len(attempts.read_students(db, [])) == 0


def test_the_newest_tasks_name_their_students(db: Session) -> None:
    imported(db, simulate(school(6, seed=2), 9, seed=2).attempts)
    db.execute(text("UPDATE practice_tasks SET completed_at = date_trunc('hour', completed_at) + interval '1 hour'"))
    everybody = attempts.read_all(db)
    newest_first = [everybody.students[code] for code in everybody.student[::-1]]
    assert [task.student for task in attempts.newest(db, 20)] == newest_first[:20]
    assert [task.student for task in attempts.newest(db, 1000)] == newest_first


def test_every_student_and_how_many_tasks(db: Session) -> None:
    assert [len(part) for part in attempts.per_student(db)] == [0, 0]
    imported(db, simulate(school(6, seed=2), 9, seed=2).attempts)
    db.execute(text("DELETE FROM practice_tasks WHERE id IN (SELECT id FROM practice_tasks LIMIT 11)"))
    everybody = attempts.read_all(db)
    students, finished = attempts.per_student(db)
    assert tuple(students) == everybody.students
    assert np.array_equal(finished, np.bincount(everybody.student))
    assert attempts.count(db) == len(everybody) == 43
