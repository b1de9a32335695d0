"""What to practise next; and preparing for an exam: which, when, how much a day, and the way there, day by day."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import Form, Request
from fastapi.responses import Response
from markupsafe import Markup
from pydantic import ValidationError
from sqlalchemy.orm import Session

from app.core.languages import Translator
from app.crud import exam_plans, learning_record
from app.domain.errors import AppError, NotAccepted, PlanNotFound, TooManyPlans
from app.domain.planning import (
    MINUTES_LEAST,
    MINUTES_MOST,
    TARGET,
    TARGET_LEAST,
    TARGET_MOST,
    TOPICS_MOST,
    Plan,
    Wishes,
)
from app.ml.serving.model_order import ServingModels
from app.planning.exam_planner import plan_exam, prepare
from app.planning.recommender import recommend_now
from app.routers.dependencies import Db, Serving
from app.schemas.planning import NewPlan
from app.web import charts
from app.web.charts import Axis, Series
from app.web.names import wrong_fields
from app.web.pages import go_to, render
from app.web.sessions import FormText, SignedIn, page_router, translator_of

router = page_router("/dashboard/preparation")
Texts = Annotated[list[str], Form()]
MOST_OFFERED = 40  # topics
SUGGESTIONS = 5
TARGETS = (0.70, 0.75, 0.80, 0.85)


def suggested(db: Session, serving: ServingModels, student: UUID, target: str) -> dict[str, Any]:
    """Return what suggestions.html shows; `target` is as its form sends it, anything else counts as the usual one."""
    wanted = _number(target)
    wishes = Wishes(wanted if wanted and TARGET_LEAST <= wanted <= TARGET_MOST else TARGET)
    return {"suggestions": recommend_now(serving, db, student, wishes, SUGGESTIONS), "targets": TARGETS}


@router.get("")
def exams(request: Request, visitor: SignedIn, db: Db) -> Response:
    """Show what is prepared for, and the form to plan an exam."""
    in_two_weeks = (translator_of(request).today(datetime.now(UTC)) + timedelta(days=14)).isoformat()
    usual = {"name": "", "exam_date": in_two_weeks, "topics": [], "more": "", "minutes": "30", "target": TARGET}
    return _exams(request, db, visitor.id, usual, {})


def _exams(
    request: Request,
    db: Session,
    student: UUID,
    given: dict[str, Any],
    wrong: dict[str, str],
    status: int = 200,
) -> Response:
    return render(
        request,
        "exams.html",
        status,
        plans=[(exam, exam_plans.days_to(exam)) for exam in exam_plans.of_student(db, student)],
        offered=[total.key for total in learning_record.totals(db, student, most=MOST_OFFERED)],
        given=given,
        wrong=wrong,
        targets=TARGETS,
    )


@router.post("")
def plan(
    request: Request, visitor: SignedIn, db: Db, serving: Serving, name: FormText = "", exam_date: FormText = "",
    topics: Texts = [], more: FormText = "", minutes: FormText = "", target: FormText = "",  # noqa: B006
) -> Response:  # fmt: skip
    """Plan an exam."""
    given = {"name": name, "exam_date": exam_date, "topics": topics, "more": more, "minutes": minutes, "target": target}
    try:
        exam, _ = prepare(serving, db, visitor.id, _read(given), visitor.id)
    except ValidationError as error:
        return _exams(request, db, visitor.id, given, _wrong(translator_of(request), error), 422)
    except (NotAccepted, TooManyPlans) as error:
        return _exams(request, db, visitor.id, given, _refused(translator_of(request), error), error.status)
    return go_to(request, f"/dashboard/preparation/{exam.id}")


def _read(given: dict[str, Any]) -> NewPlan:
    """Read what forms send: texts, and further topics one a line or between commas."""
    further = [each.strip() for each in given["more"].replace("\n", ",").split(",")]
    return NewPlan.model_validate(
        {
            "name": given["name"].strip() or None,
            "exam_date": given["exam_date"].strip(),
            "topics": [*given["topics"], *filter(None, further)],
            "minutes_per_day": _number(given["minutes"]),
            "target_success_rate": float(_number(given["target"]) or TARGET),
        }
    )


def _number(text: str) -> float | int | None:
    try:
        found = float(text.strip().replace(",", "."))
    except ValueError:
        return None
    return int(found) if found.is_integer() else found


def _wrong(translator: Translator, error: ValidationError) -> dict[str, str]:
    """Say what is wrong, by field of the form."""
    limits = {"least": MINUTES_LEAST, "most": MINUTES_MOST}
    minutes = translator("Please give whole minutes a day, %(least)s to %(most)s.", **limits)
    topics = translator("Please choose 1 to %(most)s topics, each of at most 200 characters.", most=TOPICS_MOST)
    said = {
        "name": translator("A name has at most 200 characters."),
        "exam_date": translator("Please give the day of the exam."),
        "topics": topics,
        "minutes_per_day": minutes,
        "target_success_rate": translator("Please choose one of the rates."),
    }
    fields = {"minutes_per_day": "minutes", "target_success_rate": "target"}  # as the form has them
    return {fields.get(name, name): wrong for name, wrong in wrong_fields(translator, error, said).items()}


def _refused(translator: Translator, error: AppError) -> dict[str, str]:
    if isinstance(error, TooManyPlans):
        return {"": translator("You have as many plans as anybody may. Remove one that is over first.")}
    return {"exam_date": translator("The exam has to be after today, and at most a year ahead.")}


@router.get("/{plan_id}")
def show(request: Request, plan_id: str, visitor: SignedIn, db: Db, serving: Serving) -> Response:
    """Show the plan as it looks now."""
    exam = exam_plans.get(db, _id(plan_id), visitor.id)
    found = plan_exam(serving, db, exam)
    translator = translator_of(request)
    return render(
        request,
        "plan.html",
        exam=exam,
        plan=found,
        chart_of=_chart(translator, found),
        today=found.today,
    )


def _chart(translator: Translator, plan: Plan) -> Markup:
    """Draw each topic's chance when the plan was made, now, and on the day of the exam."""
    at_exam = [None if each.missing else each.chance_at_exam for each in plan.topics]
    shown = [
        Series(translator("when the plan was made"), [each.chance_at_start for each in plan.topics], kind="dots"),
        Series(translator("now"), [each.chance_now for each in plan.topics], kind="bars"),
        Series(translator("on the day of the exam"), at_exam, kind="dots"),
    ]
    title = translator("Chance to get a medium task right")
    text = translator(
        "By topic: when the plan was made, now, and expected on the day of the exam if you follow the plan."
    )
    return charts.over(
        translator,
        title,
        text,
        [each.topic for each in plan.topics],
        shown,
        Axis("percent", 0, 1, translator("Chance")),
    )


@router.post("/{plan_id}/remove")
def remove(request: Request, plan_id: str, visitor: SignedIn, db: Db) -> Response:
    """Remove the plan; what was practised stays."""
    exam_plans.delete(db, _id(plan_id), visitor.id)
    return go_to(request, "/dashboard/preparation")


def _id(given: str) -> UUID:
    try:
        return UUID(given)
    except ValueError:
        raise PlanNotFound from None
