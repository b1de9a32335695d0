"""The first page after signing in: today, the days before, and what the model now believes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from markupsafe import Markup

from app.core.languages import Translator
from app.crud import studying
from app.crud.studying import DAY_TASKS, Day
from app.domain.tasks import Task
from app.routers.dependencies import Db, Serving
from app.web import charts
from app.web.beliefs import LEAST_BELIEVED, LEAST_COMPARED, belief, of_hundred
from app.web.charts import GRID_LINES, Axis, Series
from app.web.pages import render
from app.web.reckoned import mean
from app.web.sessions import SignedIn, only_own_forms, translator_of
from app.web.suggesting import Target, suggested
from app.web.training import model_name, panel

router = APIRouter(prefix="/dashboard", include_in_schema=False, dependencies=[Depends(only_own_forms)])
DAYS = 14
ROUND_TASKS = (1, 2, 5, 10, 20, 50, 100, 200, 500)  # apart, the lines of an axis
LATELY = 20  # predicted tasks that are set against what came of them


@router.get("")
def today(request: Request, visitor: SignedIn, db: Db, serving: Serving, target: Target = "") -> Response:
    """How it stands today; suggestions aim at `target`, a share that should go right."""
    translator = translator_of(request)
    day = translator.today(datetime.now(UTC))
    stands = panel(db, serving, translator)  # looks who serves now, before anybody is asked
    days = studying.last_days(db, visitor.id, translator.zone, day, DAYS)
    return render(
        request,
        "today.html",
        total=studying.total(db, visitor.id),
        today=days[-1],
        streak=studying.streak(db, visitor.id, translator.zone, day),
        most_a_day=DAY_TASKS,
        days=days_chart(translator, days) if any(each.n for each in days) else None,
        lately=compared(studying.predicted_lately(db, visitor.id, LATELY)),
        belief=belief(db, serving, visitor.id),
        least_believed=LEAST_BELIEVED,
        least_compared=LEAST_COMPARED,
        of_hundred=of_hundred,
        open_task=studying.last_open(db, visitor.id),
        panel=stands,
        model_name=model_name,
        **suggested(db, serving, visitor.id, target),
    )


@dataclass(frozen=True, slots=True)
class Compared:
    """n finished tasks beside what was predicted for them."""

    n: int
    right: float  # share
    chance: float  # mean
    seconds: float  # median
    expected_seconds: float  # median


def compared(tasks: Sequence[Task]) -> Compared | None:
    """None where there is nothing to compare."""
    chances = [task.correctness_prob for task in tasks if task.correctness_prob is not None]
    expected = [task.estimated_time_seconds for task in tasks if task.estimated_time_seconds is not None]
    if not chances or not expected:
        return None
    right, took = [bool(task.is_correct) for task in tasks], [task.actual_time_seconds or 0.0 for task in tasks]
    return Compared(len(tasks), mean(right), mean(chances), median(took), median(expected))


def days_chart(translator: Translator, days: Sequence[Day]) -> Markup:
    """Right and wrong, one on the other."""
    right = [float(day.n_correct) for day in days]
    wrong = [float(day.n - day.n_correct) for day in days]
    most = max(day.n for day in days)
    text = translator("Each bar is a day: the tasks that you got right, and on top of them those that went wrong.")
    if any(day.is_more for day in days):
        text += " " + translator("Of a day, %(n)s tasks are counted at the most.", n=translator.number(DAY_TASKS))
    return charts.over(
        translator,
        translator("Tasks, day by day"),
        text,
        [translator.short_day(day.day) for day in days],
        [
            Series(translator("right"), _shown(right, days), kind="bars"),
            Series(translator("wrong"), _shown(wrong, days), kind="bars", base=right),
        ],
        Axis("number", 0, _high(most)),
    )


def _high(most: int) -> int:
    """Where an axis ends so that a round, whole number stands at each line."""
    return next((GRID_LINES * line for line in ROUND_TASKS if GRID_LINES * line >= most), most)


def _shown(values: Sequence[float], days: Sequence[Day]) -> list[float | None]:
    """Nothing is drawn of a day without tasks."""
    return [value if day.n else None for value, day in zip(values, days, strict=True)]
