"""The analytics: how it went over days and topics, what is believed, and how good the predictions were."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from markupsafe import Markup
from sqlalchemy.orm import Session

from app.core.languages import Translator
from app.crud import studying
from app.crud.studying import Total
from app.domain.attempts import DIFFICULTIES
from app.domain.errors import NotKept
from app.domain.tasks import Task
from app.ml.explanation.explainer import explanation
from app.ml.explanation.values import Explanation
from app.ml.serving.model_order import ServingModels
from app.routers.dependencies import Db, Serving
from app.web import reckoned
from app.web.analytics_charts import path_charts, reliability, success_chart, time_chart, why_chart
from app.web.beliefs import LEAST_BELIEVED, LEAST_COMPARED, belief, of_hundred
from app.web.pages import render
from app.web.reckoned import DayFigures
from app.web.sessions import SignedIn, only_own_forms, translator_of
from app.web.training import model_name

router = APIRouter(prefix="/dashboard", include_in_schema=False, dependencies=[Depends(only_own_forms)])
MOST_TASKS, MOST_DAYS = 2_000, 90  # of the window
TOPICS = 30  # in the table
JUDGED_TOPICS = 100  # looked through for those that are mastered or shaky


@router.get("/analytics")
def analytics(request: Request, visitor: SignedIn, db: Db, serving: Serving) -> Response:
    """All of it on one page."""
    translator = translator_of(request)
    serving.refresh()
    believed = belief(db, serving, visitor.id)
    until = believed.past.at if believed else datetime.now(UTC)
    done = studying.window(db, visitor.id, until, MOST_TASKS, MOST_DAYS)
    days = reckoned.by_day(done, translator.zone)
    judged = reckoned.judged(done)
    return render(
        request,
        "analytics.html",
        **_limits(),
        total=studying.total(db, visitor.id),
        window=Window.of(days),
        success=success_chart(translator, days) if days else None,
        time=time_chart(translator, days) if days else None,
        belief=believed,
        paths=path_charts(translator, believed, done, days),
        judged=judged,
        reliability=reliability(translator, judged),
        why=why(db, serving, studying.last_predicted(db, visitor.id), translator),
        **_topics(db, visitor.id),
    )


def _limits() -> dict[str, Any]:
    """What the page says about itself."""
    return {
        "most_tasks": MOST_TASKS,
        "most_days": MOST_DAYS,
        "least_believed": LEAST_BELIEVED,
        "least_compared": LEAST_COMPARED,
        "reckoned": reckoned,
        "of_hundred": of_hundred,
        "model_name": model_name,
    }


def _topics(db: Session, student: Any) -> dict[str, Any]:
    """By topic and by difficulty, of all that they have finished; and the topics that stand out lately."""
    topics = studying.totals(db, student, "topic", TOPICS + 1)
    lately = studying.lately(db, student, reckoned.LAST, JUDGED_TOPICS)
    return {
        "topics": topics[:TOPICS],
        "more_topics": len(topics) > TOPICS,
        "difficulties": _in_order(studying.totals(db, student, "difficulty")),
        "lately": lately,
        "mastered": [each for each in lately if reckoned.is_mastered(each)],
        "shaky": [each for each in lately if reckoned.is_shaky(each)],
    }


def _in_order(difficulties: Sequence[Total]) -> list[Total]:
    return sorted(difficulties, key=lambda total: DIFFICULTIES.index(total.key))


@dataclass(frozen=True, slots=True)
class Window:
    """The tasks that the page looks at."""

    n: int
    right: float  # share
    first: DayFigures
    last: DayFigures

    @classmethod
    def of(cls, days: Sequence[DayFigures]) -> "Window | None":
        if not days:
            return None
        n = sum(day.n for day in days)
        return cls(n, sum(day.right * day.n for day in days) / n, days[0], days[-1])


@dataclass(frozen=True, slots=True)
class Why:
    """What moved the prediction of a task."""

    task: Task
    found: Explanation | None  # none: no longer kept
    chart: Markup | None = None  # none: there are no numbers


def why(db: Session, serving: ServingModels, task: Task | None, translator: Translator) -> Why | None:
    """None where nothing was predicted yet."""
    if task is None:
        return None
    try:
        found = explanation(db, serving, task, to_student=True)
    except NotKept:
        return Why(task, None)
    return Why(task, found, why_chart(translator, task, found))
