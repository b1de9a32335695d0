"""For admins: who answers now and how well, trainings, and what can be done about either."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import Response
from pydantic import ValidationError
from sqlalchemy.orm import Session

from app.crud import serving_changes, training_acts
from app.domain.errors import AppError
from app.domain.kinds import KINDS
from app.ml.evaluation import sample
from app.ml.serving.model_order import ServingModels
from app.monitoring import live_quality
from app.monitoring.status import model_status
from app.routers.dependencies import Db, Serving, TheTrainer
from app.routers.model import changed
from app.schemas.model_status import PauseWish
from app.web import admin_charts
from app.web.admin_words import what_was_done
from app.web.pages import go_to, render
from app.web.scores import explained, shown
from app.web.sessions import Acting, Admin, only_own_forms, translator_of
from app.web.training import model_name, panel

router = APIRouter(prefix="/admin", include_in_schema=False, dependencies=[Depends(only_own_forms)])
PAGE = "/admin"
NEWEST_CHANGES = 5
Text = Annotated[str, Form()]


@router.get("")
def overview(request: Request, _admin: Admin, db: Db, serving: Serving, done: str = "") -> Response:
    serving.refresh()
    return _page(request, db, serving, done=what_was_done(translator_of(request), done))


def _page(
    request: Request,
    db: Session,
    serving: ServingModels,
    status: int = 200,
    done: str | None = None,
    wrong: str | None = None,
) -> Response:
    translator, found, who = translator_of(request), model_status(db, serving), serving.named
    return render(
        request,
        "admin.html",
        status,
        done=done,
        wrong=wrong,
        found=found,
        version=who.version if who else None,
        scores=explained(translator, who.version.scores if who else {}),
        live_chart=admin_charts.live(translator, promised) if (promised := live_quality.groups(db)) else None,
        changes=serving_changes.latest(db, NEWEST_CHANGES),
        panel=panel(db, serving, translator),
        model_name=model_name,
        kinds=KINDS,
        shown=shown,
        has_room=sample.has_room(db),
    )


@router.post("/rollback")
def roll_back(request: Request, _admin: Admin, actor: Acting, db: Db, serving: Serving) -> Response:
    try:
        changed(db, serving, serving_changes.roll_back(db, actor))
    except AppError as error:
        return _page(request, db, serving, error.status, wrong=error.detail)
    return go_to(request, PAGE, done="rolledback")


@router.post("/train")
def train(
    request: Request, _admin: Admin, actor: Acting, db: Db, serving: Serving, trainer: TheTrainer, kind: Text = ""
) -> Response:
    """All kinds, or one; it waits for its turn."""
    if kind not in ("", *KINDS):
        return _page(
            request, db, serving, 422, wrong=translator_of(request)("Please choose one of the kinds of model.")
        )
    try:
        trainer.ask([kind] if kind else None, actor)
    except AppError as error:
        return _page(request, db, serving, error.status, wrong=error.detail)
    return go_to(request, PAGE, done="asked")


@router.post("/pause")
def pause(request: Request, _admin: Admin, actor: Acting, db: Db, serving: Serving, reason: Text = "") -> Response:
    try:
        wish = PauseWish.model_validate({"reason": reason.strip() or None})
    except ValidationError:
        wrong = translator_of(request)("A reason has at most 200 characters.")
        return _page(request, db, serving, 422, wrong=wrong)
    training_acts.pause(db, actor, wish.reason or "A person wanted it so.")
    return go_to(request, PAGE, done="paused")


@router.post("/resume")
def resume(request: Request, _admin: Admin, actor: Acting, db: Db, trainer: TheTrainer) -> Response:
    training_acts.resume(db, actor)
    db.commit()
    trainer.request()
    return go_to(request, PAGE, done="resumed")
