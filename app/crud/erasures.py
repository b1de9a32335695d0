"""A student is erased: tasks, totals, states and account go in one transaction.

That somebody was erased is kept, not who: a version that was trained before may know them (docs/decisions/0009).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy.orm import Session

from app.crud import idempotency_keys, model_tracker, model_versions, serving_changes, spellings, training_runs
from app.crud.rows import all_as, execute, number

WITHDRAWN = "A student was erased and too few finished tasks remain to train on, so LNIRT fitted to those answers."
TASKS_PER_STATEMENT = 5_000  # tasks in a statement: none may take long (app/core/db/timeouts.py)
FIND = """
    SELECT (SELECT count(*) FROM practice_tasks
            WHERE user_id = :student AND (CAST(:school AS uuid) IS NULL OR school_id = :school)) AS tasks,
           (SELECT count(*) FROM exam_plans
            WHERE user_id = :student AND (CAST(:school AS uuid) IS NULL OR school_id = :school)) AS plans,
           (SELECT email FROM users WHERE id = :student) AS email, CAST(:school AS uuid) AS school"""
DELETE_TASKS = """
    WITH gone AS (DELETE FROM practice_tasks WHERE id = ANY(CAST(:ids AS uuid[])) RETURNING completed)
    SELECT count(*) FILTER (WHERE completed) FROM gone"""
# What a trigger would have missed; not what a service key stores of the same student in this moment.
NOTHING_FINISHED = "NOT EXISTS (SELECT FROM practice_tasks AS task WHERE task.user_id = total.user_id AND completed)"


@dataclass(frozen=True, slots=True)
class Found:
    """What is stored about a student."""

    tasks: int
    plans: int
    email: str | None  # of the account, if there is one
    school: UUID | None = None  # which asks, and is told of its own tasks and plans only

    @property
    def anything(self) -> bool:
        return self.tasks > 0 or self.plans > 0 or (self.email is not None and self.school is None)


@dataclass(frozen=True, slots=True)
class Erased:
    """What went."""

    tasks: int
    completed: int  # of them
    account: bool
    folders: list[str] = field(default_factory=list)  # of versions that were withdrawn; to be removed after the commit


def find(db: Session, student: UUID, school: UUID | None = None) -> Found:
    """What there is to erase; of this school, where its key sees its own students only."""
    return all_as(Found, db, FIND, student=student, school=school)[0]


def erase(db: Session, student: UUID, least: int) -> Erased:
    """Erase all that is stored about this student. `least` is how many finished tasks a training takes."""
    return erase_all(db, [student], least)


def erase_all(db: Session, students: Sequence[UUID], least: int) -> Erased:
    """Erase all that is stored about these students.

    Locks as everybody does (docs/decisions/0001): who serves, the account, the tasks by id, the totals by key, the
    counter. A task that is being stored is waited for; later ones find no account.
    """
    serving_changes.take_turn(db)
    names = [name for student in students for name in spellings.of_student(db, student)]
    accounts = [_delete_account(db, student) for student in students]
    tasks, completed = _delete_tasks(db, students)
    spellings.forget_unused(db, names)
    folders = _erased(db, least) if completed else []  # else no version can know them
    return Erased(tasks, completed, any(accounts), folders)


def pending(db: Session) -> bool:
    """Whether a version in service may know somebody who was erased since it was trained."""
    sql = f"SELECT EXISTS (SELECT FROM model_versions WHERE state = 'serving' AND {model_versions.KNOWS_ERASED})"
    return bool(execute(db, sql).scalar_one())


def _delete_account(db: Session, student: UUID) -> bool:
    gone = execute(db, "DELETE FROM users WHERE id = :student RETURNING email, is_admin", student=student).first()
    if gone is None:
        return False
    if gone.is_admin:
        serving_changes.forget_name(db, gone.email)
    return True


def _delete_tasks(db: Session, students: Sequence[UUID]) -> tuple[int, int]:
    """How many there were, and how many of them were completed."""
    theirs, whose = "user_id = ANY(CAST(:students AS uuid[]))", [str(student) for student in students]
    locked = execute(
        db, f"SELECT id, completed_at FROM practice_tasks WHERE {theirs} ORDER BY id FOR UPDATE", students=whose
    )
    # The oldest first: what a total's last task is, is looked up anew where that one goes before others.
    found = [str(row.id) for row in sorted(locked, key=lambda row: (row.completed_at is not None, row.completed_at))]
    in_order = "ORDER BY user_id, scope, key FOR UPDATE"
    execute(db, f"SELECT FROM student_totals WHERE {theirs} {in_order}", students=whose)
    completed = 0
    for start in range(0, len(found), TASKS_PER_STATEMENT):
        completed += number(db, DELETE_TASKS, ids=found[start : start + TASKS_PER_STATEMENT])
    for table in ("student_states", "exam_plans", "result_corrections", "discarded_tasks"):
        execute(db, f"DELETE FROM {table} WHERE {theirs}", students=whose)
    for student in students:
        idempotency_keys.erase(db, student)
    execute(db, f"DELETE FROM student_totals AS total WHERE {theirs} AND {NOTHING_FINISHED}", students=whose)
    return len(found), completed


def _erased(db: Session, least: int) -> list[str]:
    """Keep the counter right and say that somebody was erased; the folders of the versions that leave at once."""
    remaining = model_tracker.add_up(db)
    execute(db, "INSERT INTO erasures DEFAULT VALUES")
    if remaining >= least:
        return []
    if model_versions.serving(db):
        serving_changes.serve(db, [], what="published", made_by="an erasure", reason=WITHDRAWN)
        model_tracker.answered_by(db, "prior")
    folders = model_versions.withdraw(db)
    training_runs.leave_behind(db, folders)
    return folders
