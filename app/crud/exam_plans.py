"""Exams that students prepare for: stored, looked up, removed. Their days are not: they are planned anew each time."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from uuid import UUID

from sqlalchemy.orm import Session

from app.core.db.statements import QueryFlow, Row, Rows, Statement
from app.core.time_zones import day_in
from app.crud import accounts
from app.crud.model_tracker import to_json
from app.crud.practice_tasks import SEEN
from app.domain.errors import NotSignedIn, PlanNotFound, TooManyPlans
from app.domain.planning import PLANS_MOST, Exam

COLUMNS = """id, user_id, name, exam_date, topics, minutes_per_day, target_success_rate AS target,
    CAST(chances_at_start AS text) AS chances_at_start, created_at,
    coalesce(time_zone, (SELECT users.time_zone FROM users WHERE users.id = exam_plans.user_id)) AS time_zone"""

# Two at once would both find room for the last one.
TURN = Statement("SELECT pg_advisory_xact_lock(hashtextextended('smartstudy.exam_plans ' || :user_id, 0))")
# As for tasks: nothing is stored for an account that is gone or going.
INSERT = Statement(f"""
    INSERT INTO exam_plans (user_id, name, exam_date, topics, minutes_per_day, target_success_rate, chances_at_start,
                            time_zone, school_id)
    SELECT :user_id, :name, :exam_date, CAST(:topics AS text[]), :minutes_per_day, :target, CAST(:chances AS jsonb),
        :time_zone, CAST(:school AS uuid)
    WHERE CAST(:student AS uuid) IS NULL
        OR EXISTS (SELECT FROM users WHERE id = CAST(:student AS uuid) FOR KEY SHARE SKIP LOCKED)
    RETURNING {COLUMNS}""")
COUNT = Statement("SELECT count(*) AS n FROM exam_plans WHERE user_id = :user_id")
SEEN_BY_KEY = accounts.seen_by_key("exam_plans")
OF_STUDENT = Statement(f"""
    SELECT {COLUMNS} FROM exam_plans
    WHERE user_id = :user_id AND (CAST(:school AS uuid) IS NULL OR school_id = :school) AND {SEEN_BY_KEY}
    ORDER BY created_at, id""")
GET = Statement(f"SELECT {COLUMNS} FROM exam_plans WHERE {SEEN}{SEEN_BY_KEY}")
DELETE = Statement(f"DELETE FROM exam_plans WHERE {SEEN}{SEEN_BY_KEY} RETURNING id")


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
    time_zone: str | None = None  # where it was given with the plan


def check_room(db: Session, user_id: UUID) -> None:
    """Raise TooManyPlans where the student has as many as anybody may; no other comes in until the transaction ends."""
    TURN.rows_sync(db, user_id=str(user_id))
    if COUNT.rows_sync(db, user_id=user_id)[0]["n"] >= PLANS_MOST:
        raise TooManyPlans


def add(db: Session, new: NewExam, account: UUID | None, school: UUID | None = None) -> Exam:
    """Store it; `account` is the student's, where a student asks, `school` that of a key which sees its own students
    only. Call `check_room` before."""
    row = INSERT.first_sync(
        db,
        user_id=new.user_id,
        name=new.name,
        exam_date=new.exam_date,
        topics=list(new.topics),
        minutes_per_day=new.minutes_per_day,
        target=new.target,
        chances=to_json(new.chances_at_start),
        time_zone=new.time_zone,
        student=account,
        school=school,
    )
    if row is None:
        raise NotSignedIn("The account of this token is gone.")
    return exam_of(row)


def of_student(db: Session, user_id: UUID, school: UUID | None = None, key: UUID | None = None) -> list[Exam]:
    """The next exam first, those that are over last; what the school or key sees only, where one is named."""
    return _in_order(OF_STUDENT.rows_sync(db, user_id=user_id, school=school, key=key))


def following(user_id: UUID) -> QueryFlow[Exam | None]:
    """The student's next exam after today."""
    rows = yield OF_STUDENT, {"user_id": user_id, "school": None, "key": None}
    return next((exam for exam in _in_order(rows) if days_to(exam) > 0), None)


def days_to(exam: Exam) -> int:
    """How many days it is away, where the student is; negative when it is over."""
    return (exam.exam_date - day_in(exam.time_zone, datetime.now(UTC))).days


def _in_order(rows: Rows) -> list[Exam]:
    exams = [(exam, days_to(exam)) for exam in map(exam_of, rows)]
    return [exam for exam, days in sorted(exams, key=lambda each: (each[1] <= 0, abs(each[1])))]


def get(db: Session, plan_id: UUID, owner: UUID | None, school: UUID | None = None, key: UUID | None = None) -> Exam:
    """Raises PlanNotFound for what is not the owner's, or not seen by the school or key."""
    row = GET.first_sync(db, id=plan_id, owner=owner, school=school, key=key)
    if row is None:
        raise PlanNotFound
    return exam_of(row)


def delete(db: Session, plan_id: UUID, owner: UUID | None, school: UUID | None = None, key: UUID | None = None) -> None:
    """Raises PlanNotFound as `get` does."""
    if not DELETE.rows_sync(db, id=plan_id, owner=owner, school=school, key=key):
        raise PlanNotFound


def exam_of(row: Row) -> Exam:
    read = {
        "topics": tuple(row["topics"]),
        "chances_at_start": json.loads(row["chances_at_start"]),
        "created_at": row["created_at"].astimezone(UTC),
    }
    return Exam(**{**row, **read})
