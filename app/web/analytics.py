"""The analytics: how it went over days and topics, ability and speed, and how good the predictions were."""

from fastapi import Request
from fastapi.responses import Response

from app.analytics import overview, statistics
from app.analytics.ability import LEAST_ANSWERS, LEAST_STUDENTS
from app.crud import learning_record
from app.routers.dependencies import Db, Serving
from app.web.analytics_charts import reliability, success_chart, time_chart, trajectory_charts, why_chart
from app.web.pages import render
from app.web.sessions import SignedIn, page_router, translator_of
from app.web.tasks import explained

router = page_router("/dashboard")


@router.get("/analytics")
def analytics(request: Request, visitor: SignedIn, db: Db, serving: Serving) -> Response:
    """Show all of it on one page."""
    translator = translator_of(request)
    seen = overview.overview_of(db, serving, visitor.id, translator.zone)
    last = learning_record.last_predicted(db, visitor.id)
    found = explained(db, serving, last) if last else None
    return render(
        request,
        "analytics.html",
        most_tasks=overview.MOST_TASKS,
        most_days=overview.MOST_DAYS,
        least_answers=LEAST_ANSWERS,
        least_students=LEAST_STUDENTS,
        statistics=statistics,
        total=seen.total,
        window=seen.window,
        days=list(seen.days),
        success=success_chart(translator, seen.days) if seen.days else None,
        time=time_chart(translator, seen.days) if seen.days else None,
        estimate=seen.estimate,
        trajectories=trajectory_charts(translator, seen.trajectory),
        judged=seen.judged,
        reliability=reliability(translator, seen.judged),
        last_predicted=last,
        explained=found,
        why_chart=why_chart(translator, last, found) if last and found else None,
        topics=seen.topics,
        more_topics=seen.has_more_topics,
        difficulties=seen.difficulties,
        lately=seen.lately,
        mastered=seen.mastered,
        shaky=seen.shaky,
    )
