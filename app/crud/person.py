"""All that is stored about a student, as rows; tasks and totals page by page, so that their number doesn't matter."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from app.crud.practice_tasks import COLUMNS
from app.crud.rows import execute
from app.domain.corrections import Correction
from app.domain.errors import NotSignedIn

Row = dict[str, Any]
ACCOUNT = "SELECT id, email, name, created_at, is_admin, language, theme, time_zone FROM users WHERE id = :student"
TOTALS = """
    SELECT scope, key, n AS tasks, n_correct AS correct, CAST(microseconds AS float8) / 1e6 AS seconds
    FROM student_totals WHERE user_id = :student AND (scope, key) > (:scope, :key)
    ORDER BY scope, key LIMIT :limit"""
STATES = """
    SELECT kind, version_id AS model_version_id, n AS tasks, through, state
    FROM student_states WHERE user_id = :student ORDER BY kind"""
EXAMS = """
    SELECT id, name, exam_date, topics, minutes_per_day, target_success_rate, chances_at_start,
           time_zone, created_at
    FROM exam_plans WHERE user_id = :student ORDER BY exam_date, id"""
TASKS = f"""
    SELECT {COLUMNS}, features FROM practice_tasks
    WHERE user_id = :student AND (created_at, id) > (:after, :after_id)
    ORDER BY created_at, id LIMIT :limit"""
CORRECTIONS = f"""
    SELECT id, {", ".join(Correction.__slots__)} FROM result_corrections
    WHERE user_id = :student AND id > :after ORDER BY id LIMIT :limit"""
SHADOWS = """
    SELECT task_id, model_version_id, kind, correctness_prob, estimated_time_seconds, time_low_seconds,
           time_high_seconds
    FROM shadow_predictions JOIN model_versions ON model_versions.id = model_version_id
    WHERE task_id = ANY(:tasks) ORDER BY task_id, model_version_id"""
BEFORE_ALL = (datetime(1, 1, 2, tzinfo=UTC), UUID(int=0))


def account(db: Session, student: UUID) -> Row:
    """Never the password's hash. Raises NotSignedIn where the account is gone."""
    found = _rows(db, ACCOUNT, student=student)
    if not found:
        raise NotSignedIn("The account of this token is gone.")
    return found[0]


def totals(db: Session, student: UUID, after: tuple[str, str], limit: int) -> list[Row]:
    """Sums over what they have finished, after this scope and key: of all, by difficulty, by item, by topic."""
    return _rows(db, TOTALS, student=student, scope=after[0], key=after[1], limit=limit)


def states(db: Session, student: UUID) -> list[Row]:
    """What their answers say to versions of models, each in the kind's own numbers."""
    return _rows(db, STATES, student=student)


def exams(db: Session, student: UUID) -> list[Row]:
    """What they prepare for."""
    return _rows(db, EXAMS, student=student)


def tasks(db: Session, student: UUID, after: tuple[datetime, UUID] = BEFORE_ALL, limit: int = 1000) -> list[Row]:
    """The next tasks after this position, oldest first, each with its shadow predictions."""
    found = _rows(db, TASKS, student=student, after=after[0], after_id=after[1], limit=limit)
    shadows: dict[UUID, list[Row]] = {task["id"]: [] for task in found}
    for row in _rows(db, SHADOWS, tasks=list(shadows)):
        shadows[row.pop("task_id")].append(row)
    return [task | {"shadow_predictions": shadows[task["id"]]} for task in found]


def corrections(db: Session, student: UUID, after: int, limit: int) -> list[Row]:
    """What their results were before they were changed or taken back, after this number."""
    return _rows(db, CORRECTIONS, student=student, after=after, limit=limit)


def _rows(db: Session, sql: str, **values: object) -> list[Row]:
    """Moments in UTC, whatever the session's time zone."""
    rows = execute(db, sql, **values).mappings()
    return [{name: _utc(value) for name, value in row.items()} for row in rows]


def _utc(value: Any) -> Any:
    return value.astimezone(UTC) if isinstance(value, datetime) else value
