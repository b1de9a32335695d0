"""Who answers, how well, who may change it, and how training stands."""

from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Path, Query
from sqlalchemy.orm import Session

from app.crud import model_versions, serving_changes, training_control, training_runs
from app.ml.serving.model_order import ServingModels
from app.monitoring.comparison import comparison
from app.monitoring.status import model_status, outcome, version_fields
from app.privacy import erasure
from app.routers.dependencies import Acting, Admin, Db, OnceForCaller, Serving, TheTrainer
from app.schemas.comparison import Comparison
from app.schemas.model_status import DemonstrationOut, ModelStatus, PauseChanged, PauseWish
from app.schemas.model_versions import (
    ChangeOut,
    Changes,
    KindName,
    Promoted,
    RunDetails,
    RunPage,
    TrainingAsked,
    TrainingWish,
    VersionDetail,
    VersionOut,
    VersionPage,
)
from app.schemas.problem import problems

router = APIRouter(prefix="/model", tags=["Model"], route_class=OnceForCaller)

MOST = 2**31 - 1
VersionId = Annotated[int, Path(ge=1, le=MOST)]
Before = Annotated[int | None, Query(ge=1, le=MOST, description="The `next` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=200)]


@router.get("/status", responses=problems())
def get_model_status(db: Db, serving: Serving) -> ModelStatus:
    """Who serves, since when, on how many tasks; the counter to the next training, the run at work, the last outcome.

    What it says of the serving version holds for the next prediction of this process.
    """
    serving.refresh()
    return model_status(db, serving)


@router.get("/versions", responses=problems(401, 403, 422))
def list_model_versions(
    _admin: Admin,
    db: Db,
    kind: Annotated[KindName | None, Query(description="Only this kind of model.")] = None,
    before: Before = None,
    limit: Limit = 50,
) -> VersionPage:
    """Every version that was ever trained, newest first, with its scores and why it serves or doesn't. For admins."""
    found = model_versions.latest(db, limit + 1, kind, before)
    items = [VersionOut.model_validate(version_fields(version)) for version in found[:limit]]
    return VersionPage(items=items, next=items[-1].id if len(found) > limit else None)


@router.get("/versions/{version_id}", responses=problems(401, 403, 404, 422))
def get_model_version(version_id: VersionId, _admin: Admin, db: Db) -> VersionDetail:
    """One version, with the report of its training and the hashes of its files. For admins."""
    return VersionDetail.model_validate(version_fields(model_versions.get(db, version_id)))


@router.post("/versions/{version_id}/promote", responses=problems(401, 403, 404, 409, 422))
def promote_model_version(version_id: VersionId, _admin: Admin, actor: Acting, db: Db, serving: Serving) -> Promoted:
    """Let this version answer from now on. A later training replaces it only by one that is clearly better.

    A version whose files are gone (`pruned_at`), or that gave numbers that are none, is a 409. For admins.
    """
    return changed(db, serving, serving_changes.promote(db, version_id, actor))


@router.post("/rollback", responses=problems(401, 403, 409))
def roll_back_model(_admin: Admin, actor: Acting, db: Db, serving: Serving) -> Promoted:
    """Go back to who answered before the answering version did; 409 where there is nothing to go back to. For admins.

    Called again, it goes back one more.
    """
    return changed(db, serving, serving_changes.roll_back(db, actor))


@router.get("/changes", responses=problems(401, 403, 422))
def list_serving_changes(_admin: Admin, db: Db, limit: Limit = 50) -> Changes:
    """Who served and why: every publication, promotion and rollback, newest first. For admins."""
    return Changes(items=[ChangeOut.model_validate(change) for change in serving_changes.latest(db, limit)])


@router.get("/comparison", responses=problems(401, 403, 422))
def compare_models(
    _admin: Admin,
    db: Db,
    days: Annotated[int, Query(ge=1, le=366, description="Whole days, UTC; today is the last of them.")] = 30,
    limit: Limit = 50,
) -> Comparison:
    """How good each version's predictions were, on tasks completed in these days, over all and by day. For admins.

    `served` is what students were shown, `shadow` what another version would have said (`ROLLOUT=KIND:shadow`).
    `kinds` takes all versions of a kind together, `versions` has the newest `limit` on their own.
    """
    return comparison(db, days, limit)


@router.get("/runs", responses=problems(401, 403, 422))
def list_training_runs(_admin: Admin, db: Db, before: Before = None, limit: Limit = 50) -> RunPage:
    """Every training run, asked for last first: what it should train, who did it, how it ended and when. For admins."""
    found = training_runs.newest(db, limit + 1, before)
    items = [RunDetails.model_validate(run, from_attributes=True) for run in found[:limit]]
    return RunPage(items=items, next=items[-1].id if len(found) > limit else None)


@router.post("/train", status_code=202, responses=problems(400, 401, 403, 409, 413, 422))
def train_models(_admin: Admin, actor: Acting, trainer: TheTrainer, wish: TrainingWish | None = None) -> TrainingAsked:
    """Train on all finished tasks, whatever the counter says, in the background; `GET /model/status` follows it.

    While one training is at work and one is waiting, it is a 409: the one that waits will see all tasks finished until
    it begins. With too few finished tasks it is a 422 that says how many it takes. For admins.
    """
    run_id = trainer.order([wish.kind] if wish and wish.kind else None, actor)
    return TrainingAsked(run_id=run_id, message=f"Training run {run_id} begins as soon as no other is at work.")


@router.post("/pause", responses=problems(400, 401, 403, 413, 422))
def pause_trainings(_admin: Admin, actor: Acting, db: Db, wish: PauseWish | None = None) -> PauseChanged:
    """Let no training begin by itself until `POST /model/resume`; predictions go on. For admins.

    `POST /model/train` still trains. After five failed trainings in a row the service pauses by itself.
    """
    done = training_control.pause(db, actor, (wish and wish.reason) or "A person wanted it so.")
    return PauseChanged(paused=True, message="Trainings are paused." if done else "Trainings were paused already.")


@router.post("/resume", responses=problems(401, 403))
def resume_trainings(_admin: Admin, actor: Acting, db: Db, trainer: TheTrainer) -> PauseChanged:
    """Let trainings begin by themselves again, and forget the failures so far; one that is due begins. For admins."""
    done = training_control.resume(db, actor)
    db.commit()
    trainer.request()
    return PauseChanged(paused=False, message="Trainings go on." if done else "Nothing held trainings up.")


@router.delete("/demonstration", responses=problems(401, 403))
def remove_demonstration(
    _admin: Admin, actor: Acting, db: Db, serving: Serving, trainer: TheTrainer, background: BackgroundTasks
) -> DemonstrationOut:
    """Remove all students who were made up, by the sample or the guided run: how many there were, with how many tasks.
    **It can't be undone.** For admins.

    What real students did stays; the models are trained anew without the others. The guided run's service key ends.
    """
    found = erasure.remove_demonstration(db, actor)
    serving.refresh()
    background.add_task(trainer.request)
    return (
        DemonstrationOut(students=found.students, tasks=found.tasks) if found else DemonstrationOut(students=0, tasks=0)
    )


def changed(db: Session, serving: ServingModels, message: str) -> Promoted:
    """Commit, have this process answer with it at once, and say who answers now."""
    first = next(iter(model_versions.serving(db).values()))
    db.commit()
    serving.refresh()
    return Promoted.model_validate({**version_fields(first), "message": outcome(message, first, serving)})
