"""Results are changed or taken back, open tasks discarded: docs/decisions/0020. The edge commits.

Locks as everybody does (docs/decisions/0001): the task, the totals by key (the trigger), the counter. The row that
keeps the old result comes last, so that those rows are numbered in the order in which they are committed.
"""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from app.crud import model_tracker
from app.crud.attempts import Newest
from app.crud.events import LONGEST_AWAY
from app.crud.practice_tasks import COLUMNS, SEEN_TASK, get
from app.crud.rows import all_as, execute, first_as, number
from app.domain.corrections import Correction
from app.domain.errors import HasResult, NoResult, TaskNotFound, TooLate
from app.domain.tasks import Caller, Task

LOCK = f"""
    SELECT {COLUMNS} FROM practice_tasks WHERE {SEEN_TASK} FOR UPDATE"""
IS_LATE = "SELECT CAST(:completed_at AS timestamptz) < now() - CAST(:allowed AS interval)"
# A run that is at work has read the tasks that were finished before it began.
IS_NEW = """
    SELECT :completed_at > run.began
        OR EXISTS (SELECT FROM result_corrections WHERE task_id = :id AND at > run.began AND is_correct IS NOT NULL)
    FROM (SELECT coalesce((
        SELECT started_at FROM training_runs WHERE outcome IN ('running', 'published', 'rejected')
        ORDER BY id DESC LIMIT 1), '-infinity') AS began) AS run"""
STORE = f"""
    UPDATE practice_tasks SET completed = :completed, is_correct = :is_correct, actual_time_seconds = :seconds,
        completed_at = :completed_at
    WHERE id = :id RETURNING {COLUMNS}"""
ADD = """
    INSERT INTO result_corrections (task_id, user_id, was_correct, was_seconds, completed_at, is_correct,
                                    actual_time_seconds, made_by)
    VALUES (:task_id, :user_id, :was_correct, :was_seconds, :completed_at, :is_correct, :seconds,
            coalesce((SELECT 'service key ' || name FROM service_keys WHERE id = :key), :made_by))"""
CLEARED_AT_ONCE = 20  # of those that nobody is told of any more, with each that is discarded
DISCARD = f"""
    WITH old AS (
        DELETE FROM discarded_tasks WHERE task_id IN (
            SELECT task_id FROM discarded_tasks WHERE at < now() - interval '{LONGEST_AWAY}' AND task_id <> :id
            LIMIT {CLEARED_AT_ONCE} FOR UPDATE SKIP LOCKED)
    ), gone AS (
        DELETE FROM practice_tasks WHERE {SEEN_TASK} AND NOT completed RETURNING id, user_id, school_id
    )
    INSERT INTO discarded_tasks (task_id, user_id, school_id) SELECT * FROM gone
    ON CONFLICT (task_id) DO UPDATE SET at = now()"""
OF_TASKS = f"""
    SELECT {", ".join(Correction.__slots__)} FROM result_corrections WHERE task_id = ANY(CAST(:tasks AS uuid[]))
    ORDER BY id"""
LEARNT_ANEW = """
    SELECT DISTINCT CAST(task.user_id AS text) AS student, task.completed_at AS finished
    FROM result_corrections AS correction JOIN practice_tasks AS task ON task.id = task_id
    WHERE correction.id > :after AND completed LIMIT :most"""
CONSOLE = Caller()


def change(
    db: Session, task_id: UUID, is_correct: bool, seconds: float, days: float, caller: Caller = CONSOLE
) -> tuple[Task, int]:
    """Give a completed task another result; the task, and how many tasks await a training (0: nothing changed).

    Raises:
        TaskNotFound: there is no such task of this caller.
        NoResult: it is open.
        TooLate: a student's result is older than so many days.
    """
    task = _locked(db, task_id, caller)
    if not task.completed:
        raise NoResult(f"The task has no result yet: PATCH /practice-tasks/{task_id} records one.")
    if (task.is_correct, task.actual_time_seconds) == (is_correct, seconds):
        return task, 0
    return _correct(db, task, days, caller, is_correct, seconds)


def take_back(db: Session, task_id: UUID, days: float, caller: Caller = CONSOLE) -> tuple[Task, int]:
    """Have the task open again, as if it had never been completed; the same again changes nothing. Raises as
    `change`, but takes an open task as it is."""
    task = _locked(db, task_id, caller)
    return _correct(db, task, days, caller, None, None) if task.completed else (task, 0)


def discard(db: Session, task_id: UUID, caller: Caller = CONSOLE) -> None:
    """Delete an open task. Raises TaskNotFound; HasResult where it is completed."""
    if not execute(db, DISCARD, id=task_id, **caller.sight).rowcount:
        get(db, task_id, **caller.sight)
        raise HasResult(
            f"The task is completed, and only an open one can be discarded: PUT /practice-tasks/{task_id}/result "
            f"changes its result, DELETE /practice-tasks/{task_id}/result takes it back."
        )


def of_tasks(db: Session, tasks: Sequence[UUID]) -> list[Correction]:
    """What was corrected of these tasks, the oldest first."""
    return all_as(Correction, db, OF_TASKS, tasks=list(tasks))


def last(db: Session) -> int:
    """The last correction's number; 0 before anything was corrected."""
    return number(db, "SELECT coalesce(max(id), 0) FROM result_corrections")


def since(db: Session, after: int, most: int) -> list[Newest]:
    """Whose results were changed after this correction, and when the tasks were finished."""
    return all_as(Newest, db, LEARNT_ANEW, after=after, most=most)


def _locked(db: Session, task_id: UUID, caller: Caller) -> Task:
    found = first_as(Task, db, LOCK, id=task_id, **caller.sight)
    if found is None:
        raise TaskNotFound
    return found


def _correct(
    db: Session, task: Task, days: float, caller: Caller, is_correct: bool | None, seconds: float | None
) -> tuple[Task, int]:
    was = {"completed_at": task.completed_at, "id": task.id}
    if caller.student and execute(db, IS_LATE, **was, allowed=timedelta(days=days)).scalar_one():
        raise TooLate(f"{_within(days)} Whoever runs this service can still change it.")
    gone = is_correct is None
    is_new = bool(execute(db, IS_NEW, **was).scalar_one())
    since = None if gone else task.completed_at
    result = {"is_correct": is_correct, "seconds": seconds}
    now = first_as(Task, db, STORE, id=task.id, completed=not gone, **result | {"completed_at": since})
    to_learn = model_tracker.corrected(db, is_new=is_new, gone=gone)
    old = {"was_correct": task.is_correct, "was_seconds": task.actual_time_seconds, "completed_at": task.completed_at}
    who = {"key": caller.key, "made_by": "student" if caller.student else "console"}
    execute(db, ADD, task_id=task.id, user_id=task.user_id, **result, **old, **who)
    return now or task, to_learn


def _within(days: float) -> str:
    if not days:
        return "A result can't be changed here once it is recorded."
    return f"A result can be changed for {days:g} day{'s' * (days != 1)} after it was recorded, and this one is older."
