"""The first page after signing in: today, the days before, and what the model says of the student."""

from collections.abc import Sequence
from datetime import UTC, datetime

from fastapi import Request
from fastapi.responses import Response
from markupsafe import Markup

from app.analytics.ability import LEAST_ANSWERS, LEAST_STUDENTS, ability_estimate
from app.analytics.overview import LAST_DAYS, lately
from app.core.languages import Translator
from app.crud import learning_record
from app.crud.learning_record import DAY_TASKS, Day
from app.routers.dependencies import Db, Serving
from app.web import charts
from app.web.charts import Axis, Series, axis_end
from app.web.pages import render
from app.web.preparation import suggested
from app.web.sessions import SignedIn, page_router, translator_of
from app.web.training import panel

router = page_router("/dashboard")
ROUND_TASKS = (1, 2, 5, 10, 20, 50, 100, 200, 500)  # apart, the lines of an axis


@router.get("")
def today(request: Request, visitor: SignedIn, db: Db, serving: Serving, target: str = "") -> Response:
    """Show how it stands today; suggestions aim at `target`, a share that should go right."""
    translator = translator_of(request)
    day = translator.today(datetime.now(UTC))
    stands = panel(db, serving, translator)  # looks who serves now, before anybody is asked
    days = learning_record.last_days(db, visitor.id, translator.zone, day, LAST_DAYS)
    return render(
        request,
        "today.html",
        total=learning_record.total(db, visitor.id),
        today=days[-1],
        streak=learning_record.streak(db, visitor.id, translator.zone, day),
        most_a_day=DAY_TASKS,
        days=days_chart(translator, days) if any(each.n for each in days) else None,
        lately=lately(db, visitor.id),
        estimate=ability_estimate(db, serving, visitor.id),
        least_answers=LEAST_ANSWERS,
        least_students=LEAST_STUDENTS,
        open_task=learning_record.last_open(db, visitor.id),
        panel=stands,
        **suggested(db, serving, visitor.id, target),
    )


def days_chart(translator: Translator, days: Sequence[Day]) -> Markup:
    """Draw right and wrong, one on the other."""
    right = [float(day.n_correct) for day in days]
    wrong = [float(day.n - day.n_correct) for day in days]
    most = max(day.n for day in days)
    text = translator("Each bar is a day: the tasks that you got right, and on top of them those that went wrong.")
    if any(day.is_more for day in days):
        text += " " + translator("At most %(n)s tasks of a day are counted.", n=translator.number(DAY_TASKS))
    return charts.over(
        translator,
        translator("Tasks, day by day"),
        text,
        [translator.short_day(day.day) for day in days],
        [
            Series(translator("right"), _shown(right, days), kind="bars"),
            Series(translator("wrong"), _shown(wrong, days), kind="bars", base=right),
        ],
        Axis("number", 0, axis_end(most, ROUND_TASKS) or most, translator("Tasks")),
    )


def _shown(values: Sequence[float], days: Sequence[Day]) -> list[float | None]:
    """Leave out days without tasks, of which nothing is drawn."""
    return [value if day.n else None for value, day in zip(values, days, strict=True)]
