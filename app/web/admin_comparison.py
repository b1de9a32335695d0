"""For admins: how good the predictions of each kind and version were, on the same days."""

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from app.monitoring.comparison import comparison
from app.routers.dependencies import Db
from app.web import admin_charts
from app.web.pages import render
from app.web.scores import meanings, names, shown
from app.web.sessions import Admin, only_own_forms, translator_of
from app.web.training import model_name

router = APIRouter(prefix="/admin/comparison", include_in_schema=False, dependencies=[Depends(only_own_forms)])
SPANS = (7, 30, 90)  # days
USUAL = 30
LOOKED_AT = 5_000  # finished tasks in all: a page is quick, however many there are
NEWEST = 20  # versions


@router.get("")
def compare(request: Request, _admin: Admin, db: Db, days: str = "") -> Response:
    span = next((span for span in SPANS if str(span) == days), USUAL)
    found = comparison(db, span, NEWEST, LOOKED_AT // span)
    return render(
        request,
        "admin_comparison.html",
        found=found,
        spans=SPANS,
        most_a_day=LOOKED_AT // span,
        chart_of_days=admin_charts.by_day(translator_of(request), found) if found.kinds else None,
        role_name=admin_charts.role_name,
        model_name=model_name,
        score_names=names,
        score_meanings=meanings,
        shown=shown,
    )
