"""What to practise next, and plans for exams."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import AfterValidator, Field

from app.core.db.statements import run_sync
from app.core.languages import IN_ENGLISH
from app.crud import accounts, exam_plans
from app.domain.fields import StoredText
from app.domain.planning import (
    TARGET,
    TARGET_LEAST,
    TARGET_MOST,
    TOPICS_MOST,
    Exam,
    Plan,
    PlanDay,
    Recommendations,
    Suggestion,
    TopicOutlook,
    Wishes,
)
from app.domain.reasons import Reason
from app.planning.exam_planner import plan_exam, prepare
from app.planning.reasons import sentence
from app.planning.recommender import recommend
from app.routers.dependencies import (
    AboutStudent,
    AsyncDb,
    CallerFirst,
    Claimed,
    Db,
    Serving,
    SignedIn,
    student_named,
)
from app.schemas.planning import (
    ExamOut,
    LaterOut,
    NewPlan,
    PlanDayOut,
    PlanItemOut,
    PlanList,
    PlanOut,
    PracticeEffectOut,
    ReasonOut,
    RecommendationsOut,
    SuggestionOut,
    TopicOutlookOut,
    once_each,
)
from app.schemas.problem import problems

router = APIRouter(tags=["What to practise"], route_class=CallerFirst)

TopicsAsked = Annotated[
    list[StoredText],
    Query(description=f"Only these, at most {TOPICS_MOST}: repeat the parameter."),
    Field(max_length=TOPICS_MOST),
    AfterValidator(once_each),
]


@router.get("/recommendations", responses=problems(401, 403, 404, 422))
async def get_recommendations(
    student: AboutStudent,
    caller: SignedIn,
    database: AsyncDb,
    serving: Serving,
    limit: Annotated[int, Query(ge=1, le=20)] = 5,
    target_success_rate: Annotated[
        float,
        Query(ge=TARGET_LEAST, le=TARGET_MOST, allow_inf_nan=False, description="How much of it should go right."),
    ] = TARGET,
    topic: TopicsAsked = [],  # noqa: B006
) -> RecommendationsOut:
    """What to practise next, best first, each with its prediction and the reasons for it.

    Without `topic` the topics of the student's next exam come first, then all that they practise. Of each topic it is
    the difficulty whose chance is nearest to `target_success_rate`; a step easier for a while after it went wrong.
    Topics come in the order of need: weak ones, and those not practised for long. There may be fewer than `limit`, and
    for somebody who has finished nothing none at all: then `remark` says what to do. No task is created.
    """
    wishes = Wishes(target_success_rate, tuple(topic))
    found = await recommend(serving, database, student, wishes, limit, caller.school)
    return recommendations_out(found)


@router.post("/preparation/plans", status_code=201, responses=problems(400, 401, 403, 404, 409, 413, 422))
def create_plan(new: NewPlan, claim: Claimed, caller: SignedIn, db: Db, serving: Serving) -> PlanOut:
    """Plan an exam: from today to the day before it, what to practise on each day, and where that leads.

    Only the exam is stored. The days are planned anew whenever the plan is asked for, from how practice has gone
    until then; what has been done today is taken off today's minutes. A student may have 20 plans.
    """
    student = student_named(new.user_id, new.student, caller, "it is about you")
    school = run_sync(accounts.may_record(claim, student), db)
    return plan_out(*prepare(serving, db, student, new, caller.student, school))


@router.get("/preparation/plans", responses=problems(401, 403, 404, 422))
def list_plans(student: AboutStudent, caller: SignedIn, db: Db) -> PlanList:
    """A student's plans without their days: the next exam first, those that are over last."""
    exams = exam_plans.of_student(db, student, caller.school, caller.key)
    return PlanList(items=[exam_out(exam) for exam in exams])


@router.get("/preparation/plans/{plan_id}", responses=problems(401, 404, 422))
def get_plan(plan_id: UUID, caller: SignedIn, db: Db, serving: Serving) -> PlanOut:
    """A plan as it looks now, planned anew."""
    exam = exam_plans.get(db, plan_id, **caller.sight)
    return plan_out(exam, plan_exam(serving, db, exam))


@router.delete(
    "/preparation/plans/{plan_id}", status_code=204, response_class=Response, responses=problems(401, 404, 422)
)
def delete_plan(plan_id: UUID, caller: SignedIn, db: Db) -> None:
    """Remove a plan; what was practised stays."""
    exam_plans.delete(db, plan_id, **caller.sight)


def recommendations_out(found: Recommendations) -> RecommendationsOut:
    return RecommendationsOut(
        target_success_rate=found.target,
        exam=found.exam and exam_out(found.exam),
        items=[_suggestion(each) for each in found.suggestions],
        remark=found.remark and reason_out(found.remark),
    )


def _suggestion(each: Suggestion) -> SuggestionOut:
    reasons = [reason_out(reason) for reason in each.reasons]
    return SuggestionOut(**_values(each.prediction) | _values(each) | {"reasons": reasons})


def exam_out(exam: Exam) -> ExamOut:
    return ExamOut(**_exam(exam, exam_plans.days_to(exam)))


def _exam(exam: Exam, days_left: int) -> dict[str, Any]:
    return _values(exam) | {"days_left": max(days_left, 0), "target_success_rate": exam.target}


def plan_out(exam: Exam, plan: Plan) -> PlanOut:
    return PlanOut(
        **_exam(exam, plan.days_left),
        days=[_day(day) for day in plan.days],
        later=plan.later and LaterOut(**_values(plan.later)),
        outlook=[_outlook(each) for each in plan.topics],
        chance_now=plan.chance_now,
        chance_at_exam=None if plan.missing else plan.chance_at_exam,
        practice_effect=PracticeEffectOut(**_values(plan.effect)),
        model_version=plan.model_version,
        summary=reason_out(plan.summary),
    )


def _outlook(topic: TopicOutlook) -> TopicOutlookOut:
    values = _values(topic)
    return TopicOutlookOut(**values | {"chance_at_exam": None if topic.missing else topic.chance_at_exam})


def _day(day: PlanDay) -> PlanDayOut:
    items = [
        PlanItemOut(**_values(item) | {"reasons": [reason_out(reason) for reason in item.reasons]})
        for item in day.items
    ]
    return PlanDayOut(**_values(day) | {"items": items, "minutes": day.minutes, "tasks": day.tasks})


def _values(of: Any) -> dict[str, Any]:
    """Return what a value of the domain holds, by name; an answer takes the fields that it has."""
    return {name: getattr(of, name) for name in of.__slots__}


def reason_out(reason: Reason) -> ReasonOut:
    return ReasonOut(code=reason.code, values=dict(reason.values), text=sentence(IN_ENGLISH, reason))
