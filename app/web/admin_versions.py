"""For admins: every version, its scores, why it serves or not; and letting another one answer."""

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from sqlalchemy.orm import Session

from app.crud import model_versions, serving_changes
from app.domain.errors import AppError, VersionNotFound
from app.routers.dependencies import Db, Serving
from app.routers.model import changed
from app.web import admin_charts
from app.web.admin_words import position, state_of
from app.web.pages import go_to, render
from app.web.scores import explained, meanings, names, shown
from app.web.sessions import Acting, Admin, only_own_forms, translator_of
from app.web.training import model_name

router = APIRouter(prefix="/admin/versions", include_in_schema=False, dependencies=[Depends(only_own_forms)])
AT_ONCE = 50
NEWEST_CHANGES = 20
DRAWN = 3 * admin_charts.MOST_RUNS  # versions, of three kinds


@router.get("")
def versions(request: Request, _admin: Admin, db: Db, before: str = "") -> Response:
    """The newest, or those before one of them."""
    start = position(before)
    found = model_versions.latest(db, AT_ONCE + 1, before=start, with_reports=False)
    scored = model_versions.held_out_scores(db, DRAWN)
    return render(
        request,
        "admin_versions.html",
        versions=found[:AT_ONCE],
        older=found[AT_ONCE - 1].id if len(found) > AT_ONCE else None,
        is_newest=start is None,
        chart_of_versions=admin_charts.held_out(translator_of(request), scored) if scored and start is None else None,
        changes=serving_changes.latest(db, NEWEST_CHANGES) if start is None else [],
        model_name=model_name,
        state_of=state_of,
        score_names=names,
        score_meanings=meanings,
        shown=shown,
    )


@router.get("/{version_id}")
def version(request: Request, version_id: str, _admin: Admin, db: Db) -> Response:
    """One version, with what it learned from."""
    return _one(request, db, _number(version_id))


def _one(request: Request, db: Session, version_id: int, status: int = 200, wrong: str | None = None) -> Response:
    version = model_versions.get(db, version_id)
    return render(
        request,
        "admin_version.html",
        status,
        version=version,
        scores=explained(translator_of(request), version.scores),
        wrong=wrong,
        model_name=model_name,
        state_of=state_of,
    )


@router.post("/{version_id}/promote")
def promote(request: Request, version_id: str, _admin: Admin, actor: Acting, db: Db, serving: Serving) -> Response:
    """Let it answer from now on."""
    number = _number(version_id)
    try:
        changed(db, serving, serving_changes.promote(db, number, actor))
    except VersionNotFound:
        raise
    except AppError as error:
        return _one(request, db, number, error.status, error.detail)
    return go_to(request, "/admin", done="promoted")


def _number(version_id: str) -> int:
    """Raises VersionNotFound."""
    found = position(version_id)
    if found is None:
        raise VersionNotFound
    return found
