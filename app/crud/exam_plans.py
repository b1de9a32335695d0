"""Exams that students prepare for: stored, looked up, removed. Their days are not: they are planned anew each time."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date
from uuid import UUID

from sqlalchemy.orm import Session

from app.core.db.statements import QueryFlow, Row, Statement
from app.crud.model_tracker import to_json
from app.domain.errors import NotSignedIn, PlanNotFound, TooManyPlans
from app.domain.planning import PLANS_MOST, Exam

COLUMNS = """id, user_id, name, exam_date, topics, minutes_per_day, target_success_rate AS target,
    CAST(chances_at_start AS text) AS chances_at_start, created_at"""
TODAY = "CAST(statement_timestamp() AT TIME ZONE 'UTC' AS date)"

# Two at once would both find room for the last one.
TURN = Statement("SELECT pg_advisory_xact_lock(hashtextextended('smartstudy.exam_plans ' || :user_id, 0))")
# As for tasks: nothing is stored for an account that is gone or going.
INSERT = Statement(f"""
    INSERT INTO exam_plans (user_id, name, exam_date, topics, minutes_per_day, target_success_rate, chances_at_start)
    SELECT :user_id, :name, :exam_date, CAST(:topics AS text[]), :minutes_per_day, :target, CAST(:chances AS jsonb)
    WHERE CAST(:student AS uuid) IS NULL
        OR EXISTS (SELECT FROM users WHERE id = CAST(:student AS uuid) FOR KEY SHARE SKIP LOCKED)
    RETURNING {COLUMNS}""")
COUNT = Statement("SELECT count(*) AS n FROM exam_plans WHERE user_id = :user_id")
OF_STUDENT = Statement(f"""
    SELECT {COLUMNS} FROM exam_plans WHERE user_id = :user_id
    ORDER BY exam_date <= {TODAY}, abs(exam_date - {TODAY}), created_at, id""")
FOLLOWING = Statement(f"""
    SELECT {COLUMNS} FROM exam_plans WHERE user_id = :user_id AND exam_date > {TODAY}
    ORDER BY exam_date, created_at, id LIMIT 1""")
OWN = "id = :id AND (CAST(:owner AS uuid) IS NULL OR user_id = :owner)"
GET = Statement(f"SELECT {COLUMNS} FROM exam_plans WHERE {OWN}")
DELETE = Statement(f"DELETE FROM exam_plans WHERE {OWN} RETURNING id")


@dataclass(frozen=True, slots=True)
class NewExam:
    """An exam that is to be stored."""

    user_id: UUID
    name: str | None
    exam_date: date
    topics: tuple[str, ...]
    minutes_per_day: int
    target: float
    chances_at_start: Mapping[str, float]


def check_room(db: Session, user_id: UUID) -> None:
    """Raise TooManyPlans where the student has as many as anybody may; no other comes in until the transaction ends."""
    TURN.rows_sync(db, user_id=str(user_id))
    if COUNT.rows_sync(db, user_id=user_id)[0]["n"] >= PLANS_MOST:
        raise TooManyPlans


def add(db: Session, new: NewExam, account: UUID | None) -> Exam:
    """Store it; `account` is the student's, where a student asks. Call `check_room` before."""
    row = INSERT.first_sync(
        db,
        user_id=new.user_id,
        name=new.name,
        exam_date=new.exam_date,
        topics=list(new.topics),
        minutes_per_day=new.minutes_per_day,
        target=new.target,
        chances=to_json(new.chances_at_start),
        student=account,
    )
    if row is None:
        raise NotSignedIn("The account of this token is gone.")
    return exam_of(row)


def of_student(db: Session, user_id: UUID) -> Sequence[Exam]:
    """The next exam first, those that are over last."""
    return [exam_of(row) for row in OF_STUDENT.rows_sync(db, user_id=user_id)]


def following(user_id: UUID) -> QueryFlow[Exam | None]:
    """The student's next exam after today."""
    rows = yield FOLLOWING, {"user_id": user_id}
    return exam_of(rows[0]) if rows else None


def get(db: Session, plan_id: UUID, owner: UUID | None) -> Exam:
    """Raises PlanNotFound for what is not the owner's; without an owner it may be anybody's."""
    row = GET.first_sync(db, id=plan_id, owner=owner)
    if row is None:
        raise PlanNotFound
    return exam_of(row)


def delete(db: Session, plan_id: UUID, owner: UUID | None) -> None:
    """Raises PlanNotFound as `get` does."""
    if not DELETE.rows_sync(db, id=plan_id, owner=owner):
        raise PlanNotFound


def exam_of(row: Row) -> Exam:
    read = {
        "topics": tuple(row["topics"]),
        "chances_at_start": json.loads(row["chances_at_start"]),
        "created_at": row["created_at"].astimezone(UTC),
    }
    return Exam(**{**row, **read})
