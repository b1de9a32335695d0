"""The analytics: how it went over days and topics, ability and speed, and how good the predictions were."""

from datetime import UTC, datetime

from fastapi import Request
from fastapi.responses import Response

from app.crud import learning_record
from app.domain.attempts import DIFFICULTIES
from app.routers.dependencies import Db, Serving
from app.web import statistics
from app.web.ability import LEAST_ANSWERS, LEAST_STUDENTS, ability_estimate
from app.web.analytics_charts import reliability, success_chart, time_chart, trajectory_charts, why_chart
from app.web.pages import render
from app.web.sessions import SignedIn, page_router, translator_of
from app.web.tasks import explained

router = page_router("/dashboard")
MOST_TASKS, MOST_DAYS = 2_000, 90  # of the window
TOPICS = 30  # in the table
JUDGED_TOPICS = 100  # looked through for those that are mastered or shaky


@router.get("/analytics")
def analytics(request: Request, visitor: SignedIn, db: Db, serving: Serving) -> Response:
    """Show all of it on one page."""
    translator = translator_of(request)
    db.commit()  # the models are looked up by a connection of their own: a request holds one at a time
    serving.refresh()
    estimate = ability_estimate(db, serving, visitor.id)
    until = estimate.past.at if estimate else datetime.now(UTC)
    done = learning_record.window(db, visitor.id, until, MOST_TASKS, MOST_DAYS)
    days = statistics.by_day(done, translator.zone)
    judged = statistics.judged(done)
    topics = learning_record.totals(db, visitor.id, "topic", TOPICS + 1)
    difficulties = learning_record.totals(db, visitor.id, "difficulty")
    lately = learning_record.lately(db, visitor.id, statistics.LAST, JUDGED_TOPICS)
    last = learning_record.last_predicted(db, visitor.id)
    found = explained(db, serving, last) if last else None
    return render(
        request,
        "analytics.html",
        most_tasks=MOST_TASKS,
        most_days=MOST_DAYS,
        least_answers=LEAST_ANSWERS,
        least_students=LEAST_STUDENTS,
        statistics=statistics,
        total=learning_record.total(db, visitor.id),
        window=statistics.of_done(done) if done else None,
        days=list(days),
        success=success_chart(translator, days) if days else None,
        time=time_chart(translator, days) if days else None,
        estimate=estimate,
        trajectories=trajectory_charts(translator, estimate, done, days),
        judged=judged,
        reliability=reliability(translator, judged),
        last_predicted=last,
        explained=found,
        why_chart=why_chart(translator, last, found) if last and found else None,
        topics=topics[:TOPICS],
        more_topics=len(topics) > TOPICS,
        difficulties=sorted(difficulties, key=lambda total: DIFFICULTIES.index(total.key)),
        lately=lately,
        mastered=[each for each in lately if statistics.is_mastered(each)],
        shaky=[each for each in lately if statistics.is_shaky(each)],
    )
