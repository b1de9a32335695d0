"""For admins: every training run, how it ended and why."""

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from app.crud import training_runs
from app.routers.dependencies import Db
from app.web import admin_charts
from app.web.admin_words import outcome_of, position
from app.web.pages import render
from app.web.sessions import Admin, only_own_forms, translator_of
from app.web.training import model_name

router = APIRouter(prefix="/admin/runs", include_in_schema=False, dependencies=[Depends(only_own_forms)])
AT_ONCE = 50


@router.get("")
def runs(request: Request, _admin: Admin, db: Db, before: str = "") -> Response:
    start = position(before)
    found = training_runs.newest(db, AT_ONCE + 1, start)
    timed = [run for run in found[:AT_ONCE] if admin_charts.seconds(run) is not None]
    return render(
        request,
        "admin_runs.html",
        runs=found[:AT_ONCE],
        older=found[AT_ONCE - 1].id if len(found) > AT_ONCE else None,
        is_newest=start is None,
        chart_of_runs=admin_charts.seconds_by_run(translator_of(request), timed) if timed else None,
        seconds=admin_charts.seconds,
        outcome_of=outcome_of,
        model_name=model_name,
    )
