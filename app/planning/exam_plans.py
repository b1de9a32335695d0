"""Plans for exams, by either door to the database; `planning` decides, `outlook` knows."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from uuid import UUID

from sqlalchemy.orm import Session

from app.core.db.statements import Database
from app.crud import exam_plans
from app.crud.exam_plans import NewExam
from app.domain.errors import NotAccepted
from app.domain.planning import DAYS_AHEAD, TARGET, Exam, Plan
from app.ml.serving.model_order import ServingModels
from app.planning import difficulty
from app.planning.exam_planner import planned
from app.planning.topic_states import Outlook, for_exam, outlook, outlook_now


@dataclass(frozen=True, slots=True)
class Asked:
    """An exam to prepare for, as it was asked for."""

    student: UUID
    exam_date: date
    topics: tuple[str, ...]  # trimmed, each once
    minutes_per_day: int
    target: float = TARGET
    name: str | None = None


async def plan_exam(serving: ServingModels, database: Database, exam: Exam) -> Plan:
    """The plan as it looks now."""
    return _planned(await outlook(serving, database, for_exam(exam.user_id, exam.topics)), exam)


def plan_exam_now(serving: ServingModels, db: Session, exam: Exam) -> Plan:
    """The same through the session."""
    return _planned(outlook_now(serving, db, for_exam(exam.user_id, exam.topics)), exam)


def prepare(serving: ServingModels, db: Session, asked: Asked, account: UUID | None) -> tuple[Exam, Plan]:
    """Store an exam, with the chances of this moment, and plan it. `account` is the student's, where a student asks.

    Raises:
        NotAccepted: the exam is not on one of the days after today, or too far ahead.
        TooManyPlans: the student has as many plans as anybody may.
        NotSignedIn: the account is gone.
    """
    exam_plans.check_room(db, asked.student)
    found = outlook_now(serving, db, for_exam(asked.student, asked.topics))
    _check_date(asked.exam_date, found.now.date())
    new = NewExam(
        asked.student,
        asked.name,
        asked.exam_date,
        asked.topics,
        asked.minutes_per_day,
        asked.target,
        _chances(found),
    )
    exam = exam_plans.add(db, new, account)
    return exam, _planned(found, exam)


def _planned(found: Outlook, exam: Exam) -> Plan:
    return planned(exam, found.topics, found.now, found.effect)


def _chances(found: Outlook) -> Mapping[str, float]:
    """Of a medium task, by topic."""
    return {topic.topic: topic.chances[difficulty.MEDIUM].correctness_prob for topic in found.topics}


def _check_date(exam_date: date, today: date) -> None:
    days = (exam_date - today).days
    if days < 1:
        raise NotAccepted(f"exam_date: has to be after today, which is {today} (UTC).")
    if days > DAYS_AHEAD:
        raise NotAccepted(f"exam_date: may be at most {DAYS_AHEAD} days ahead; today is {today} (UTC).")
