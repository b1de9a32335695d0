"""For admins: who answers now and how well, every training and version, and what can be done about either."""

from collections.abc import Sequence
from typing import Any

from fastapi import BackgroundTasks, Request
from fastapi.responses import Response
from pydantic import ValidationError
from sqlalchemy.orm import Session

from app.crud import audit, demonstration, model_versions, serving_changes, training_control, training_runs
from app.domain.errors import AppError, VersionNotFound
from app.domain.kinds import KINDS
from app.ml.evaluation import sample
from app.ml.serving.model_order import ServingModels
from app.monitoring import live_quality
from app.monitoring.comparison import comparison
from app.monitoring.status import model_status
from app.privacy import erasure
from app.routers.audit import MOST as MOST_ACTS
from app.routers.dependencies import Db, ReadDb, Serving, TheTrainer
from app.routers.model import changed
from app.schemas.model_status import PauseWish
from app.web import admin_charts
from app.web.names import unfit_text
from app.web.pages import go_to, render
from app.web.sessions import Acting, Admin, FormText, page_router, translator_of
from app.web.training import panel

router = page_router("/admin")
PAGE = "/admin"
ENTRIES_PER_PAGE = 50  # entries of a list
MOST_ID = 2**31 - 1
CHANGES_ON_OVERVIEW, CHANGES = 5, 20
DRAWN = 3 * admin_charts.MOST_RUNS  # versions, of three kinds
SPANS, USUAL_SPAN = (7, 30, 90), 30  # days to compare over
COMPARED = 5_000  # finished tasks in all: a page is quick, however many there are
COMPARED_VERSIONS = 20  # the newest


@router.get("")
def overview(request: Request, _admin: Admin, db: Db, serving: Serving, done: str = "") -> Response:
    translator = translator_of(request)
    messages = {  # of what a form came to; the address bar holds its code only
        "paused": translator("Training is paused: none begins by itself until somebody resumes it."),
        "resumed": translator("Training is resumed; one that is due begins now."),
        "asked": translator("The training begins as soon as no other is running."),
        "promoted": translator("The version was promoted; the model now in service is shown below."),
        "rolledback": translator("Rolled back; the model now in service is shown below."),
        "sample": translator("The sample is loaded, and the models learn from it right now."),
        "demonstration": translator("The made-up students are gone; the models learn again without them."),
    }
    db.commit()  # the models are looked up by a connection of their own: a request holds one at a time
    serving.refresh()
    return _overview(request, db, serving, done=messages.get(done))


def _overview(
    request: Request,
    db: Session,
    serving: ServingModels,
    status: int = 200,
    done: str | None = None,
    wrong: str | None = None,
) -> Response:
    translator, groups = translator_of(request), live_quality.groups(db)
    return render(
        request,
        "admin.html",
        status,
        done=done,
        wrong=wrong,
        found=model_status(db, serving, for_admins=True),
        store_problem=serving.store_problem,
        version=serving.named.version if serving.named else None,
        live_chart=admin_charts.live(translator, groups) if groups else None,
        changes=serving_changes.latest(db, CHANGES_ON_OVERVIEW),
        panel=panel(db, serving, translator),
        kinds=KINDS,
        has_room=sample.has_room(db),
    )


@router.post("/rollback")
def roll_back(request: Request, _admin: Admin, actor: Acting, db: Db, serving: Serving) -> Response:
    try:
        changed(db, serving, serving_changes.roll_back(db, actor))
    except AppError as error:
        return _overview(request, db, serving, error.status, wrong=error.detail)
    return go_to(request, PAGE, done="rolledback")


@router.post("/train")
def train(
    request: Request, _admin: Admin, actor: Acting, db: Db, serving: Serving, trainer: TheTrainer, kind: FormText = ""
) -> Response:
    """Ask for a training of all kinds, or of one; it waits for its turn."""
    if kind not in ("", *KINDS):
        wrong = translator_of(request)("Please choose one of the kinds of model.")
        return _overview(request, db, serving, 422, wrong=wrong)
    db.commit()  # the trainer has a connection of its own
    try:
        trainer.order([kind] if kind else None, actor)
    except AppError as error:
        return _overview(request, db, serving, error.status, wrong=error.detail)
    return go_to(request, PAGE, done="asked")


@router.post("/pause")
def pause(request: Request, _admin: Admin, actor: Acting, db: Db, serving: Serving, reason: FormText = "") -> Response:
    try:
        wish = PauseWish.model_validate({"reason": reason.strip() or None})
    except ValidationError as error:
        translator = translator_of(request)
        wrong = unfit_text(translator, error, translator("A reason has at most 200 characters."))
        return _overview(request, db, serving, 422, wrong=wrong)
    training_control.pause(db, actor, wish.reason or "A person wanted it so.")
    return go_to(request, PAGE, done="paused")


@router.post("/resume")
def resume(request: Request, _admin: Admin, actor: Acting, db: Db, trainer: TheTrainer) -> Response:
    training_control.resume(db, actor)
    db.commit()
    trainer.request()
    return go_to(request, PAGE, done="resumed")


@router.get("/versions")
def versions(request: Request, _admin: Admin, db: ReadDb, before: str = "") -> Response:
    """Show the newest versions, or those before one of them."""
    start, scored = position(before), model_versions.held_out_scores(db, DRAWN)
    translator = translator_of(request)
    return render(
        request,
        "admin_versions.html",
        **_listed(model_versions.latest(db, ENTRIES_PER_PAGE + 1, before=start, with_reports=False), start),
        chart_of_versions=admin_charts.held_out(translator, scored) if scored and start is None else None,
        changes=serving_changes.latest(db, CHANGES) if start is None else [],
    )


@router.get("/versions/{version_id}")
def version(request: Request, version_id: str, _admin: Admin, db: ReadDb) -> Response:
    """Show one version, with what it learned from."""
    return _version(request, db, _version_id(version_id))


def _version(request: Request, db: Session, number: int, status: int = 200, wrong: str | None = None) -> Response:
    return render(request, "admin_version.html", status, version=model_versions.get(db, number), wrong=wrong)


@router.post("/versions/{version_id}/promote")
def promote(request: Request, version_id: str, _admin: Admin, actor: Acting, db: Db, serving: Serving) -> Response:
    """Let the version answer from now on."""
    number = _version_id(version_id)
    try:
        changed(db, serving, serving_changes.promote(db, number, actor))
    except VersionNotFound:
        raise
    except AppError as error:
        return _version(request, db, number, error.status, error.detail)
    return go_to(request, PAGE, done="promoted")


@router.get("/runs")
def runs(request: Request, _admin: Admin, db: ReadDb, before: str = "") -> Response:
    """Show every training run, how it ended and why."""
    start = position(before)
    listed = _listed(training_runs.newest(db, ENTRIES_PER_PAGE + 1, start), start)
    timed = [run for run in listed["entries"] if admin_charts.seconds(run) is not None]
    chart = admin_charts.seconds_by_run(translator_of(request), timed) if timed else None
    return render(request, "admin_runs.html", **listed, chart_of_runs=chart, seconds=admin_charts.seconds)


@router.get("/comparison")
def compare(request: Request, _admin: Admin, db: ReadDb, days: str = "") -> Response:
    """Show how good the predictions of each kind and version were, on the same days."""
    span = next((span for span in SPANS if str(span) == days), USUAL_SPAN)
    found = comparison(db, span, COMPARED_VERSIONS, COMPARED // span)
    return render(
        request,
        "admin_comparison.html",
        found=found,
        spans=SPANS,
        most_a_day=COMPARED // span,
        chart_of_days=admin_charts.by_day(translator_of(request), found) if found.kinds else None,
    )


@router.get("/audit")
def acts(request: Request, _admin: Admin, db: ReadDb, before: str = "") -> Response:
    """Show what was done that only admins may do."""
    start = position(before, MOST_ACTS)
    return render(request, "admin_audit.html", **_listed(audit.newest(db, ENTRIES_PER_PAGE + 1, start), start))


@router.get("/demonstration")
def ask_first(request: Request, _admin: Admin, db: Db) -> Response:
    """Say what goes when the demonstration is removed."""
    return render(request, "admin_demonstration.html", found=demonstration.found(db))


@router.post("/demonstration")
def remove_demonstration(
    request: Request, _admin: Admin, actor: Acting, db: Db, serving: Serving, trainer: TheTrainer,
    background: BackgroundTasks,
) -> Response:  # fmt: skip
    """Remove all students who were made up; the models are trained anew without them."""
    erasure.remove_demonstration(db, actor)
    db.commit()  # the models are looked up by a connection of their own
    serving.refresh()
    background.add_task(trainer.request)
    return go_to(request, PAGE, done="demonstration")


def _listed(found: Sequence[Any], start: int | None) -> dict[str, Any]:
    """Return what a page of a list shows, of one entry more than it has room for; `older` leads to the next page."""
    older = found[ENTRIES_PER_PAGE - 1].id if len(found) > ENTRIES_PER_PAGE else None
    return {"entries": found[:ENTRIES_PER_PAGE], "older": older, "is_newest": start is None}


def position(given: str, most: int = MOST_ID) -> int | None:
    """Return where a page of a list begins, as its link has it; none, the newest, for anything else."""
    try:
        found = int(given)
    except ValueError:
        return None
    return found if 1 <= found <= most else None


def _version_id(given: str) -> int:
    """Read a version's number from a path. Raises VersionNotFound."""
    found = position(given)
    if found is None:
        raise VersionNotFound
    return found
