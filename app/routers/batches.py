"""Many tasks in one request: predicted, created, completed."""

from collections.abc import Callable, Sequence
from typing import Any

from fastapi import APIRouter, BackgroundTasks, Request, Response
from fastapi.exceptions import RequestValidationError
from psycopg2.errors import LockNotAvailable
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.core import errors
from app.core.settings import settings
from app.crud.practice_tasks import values_of
from app.domain.errors import AppError, DatabaseUnavailable
from app.domain.tasks import Claim, Result, Task, TaskRequest
from app.ml import batches
from app.routers.dependencies import (
    BY_TOKEN_OR_KEY,
    CallerFirst,
    Claimed,
    Db,
    SignedIn,
    TheTrainer,
    async_database,
    claim_of,
    count_request,
    serving_models,
    student_named,
    who_calls,
)
from app.schemas.batches import (
    BatchItem,
    BatchOut,
    NewResults,
    NewTasks,
    PredictionOut,
    PredictionsAsked,
    PredictionsOut,
    Unfit,
)
from app.schemas.practice_tasks import NewTask, TaskOut
from app.schemas.problem import Problem, problems

router = APIRouter(tags=["Practice tasks"], route_class=CallerFirst)
TRIES = 50  # for locks that others hold for a moment; `complete_tasks` waits a tenth of a second for each
Outcome = Task | AppError | Unfit


@router.post(
    "/predictions",
    response_model=PredictionsOut,
    responses=problems(400, 401, 403, 404, 413, 422),
    openapi_extra=BY_TOKEN_OR_KEY,
)
async def predict_tasks(asked: PredictionsAsked, request: Request) -> Response:
    """Predict up to 200 tasks that one student might do, to choose among them. Nothing is stored.

    Each is answered as `POST /practice-tasks` would answer at this moment. Each counts as a request.
    """
    claim = claim_of(request)
    count_request(request, claim, len(asked.tasks) - 1)
    student = student_named(asked.user_id, asked.student, claim, "the tasks are yours")
    wanted = [TaskRequest(student, each.topic, each.difficulty, each.item_id, claim.school) for each in asked.tasks]
    database, serving = await async_database(request), await serving_models(request)
    found = await batches.predict_only(serving, database, wanted, claim)
    items = [PredictionOut.model_validate(values_of(of) | values_of(said)) for of, said in found]
    return _json(PredictionsOut(user_id=student, items=items))


@router.post(
    "/practice-tasks/batch",
    response_model=BatchOut,
    responses=problems(400, 401, 403, 404, 409, 413, 422),
    openapi_extra=BY_TOKEN_OR_KEY,
)
async def create_practice_tasks(new: NewTasks, request: Request) -> Response:
    """Create up to 500 tasks, of one student or, for a service key, of several: each with its prediction, in the order
    sent, as `POST /practice-tasks` would create it at this moment.

    `items` says of each what came of it: `status` 201 with its `task`, or a `problem`. With `all_or_nothing` all are
    created or none, and the first problem is the answer. Each counts as a request. The same task twice is two tasks.
    """
    claim = claim_of(request)
    count_request(request, claim, len(new.tasks) - 1)
    outcomes: list[Any] = [_asked(each, claim) for each in new.tasks]
    wanted = [place for place, each in enumerate(outcomes) if isinstance(each, TaskRequest)]
    if new.all_or_nothing and len(wanted) < len(outcomes):
        _refuse("tasks", outcomes)
    database, serving = await async_database(request), await serving_models(request)
    if wanted:
        asked = [outcomes[place] for place in wanted]
        made = await batches.create(serving, database, asked, claim, all_or_nothing=new.all_or_nothing)
        for place, outcome in zip(wanted, made, strict=True):
            outcomes[place] = outcome
        if new.all_or_nothing:
            _refuse("tasks", outcomes)
    else:
        await who_calls(database, claim)
    return _json(_batch(request, outcomes, 201))


@router.patch("/practice-tasks/batch", responses=problems(400, 401, 403, 404, 409, 413, 422))
def complete_practice_tasks(
    new: NewResults,
    request: Request,
    claim: Claimed,
    _caller: SignedIn,
    db: Db,
    trainer: TheTrainer,
    background: BackgroundTasks,
) -> BatchOut:
    """Say how up to 500 tasks went, each as `PATCH /practice-tasks/{id}` would take it, in one transaction.

    `items` says of each, in the order sent, what came of it: `status` 200 with its `task`, or a `problem`. The same
    result twice is fine; of two results for one task the first counts, and the second is a 409. With `all_or_nothing`
    all are recorded or none, and the first problem is the answer. Each counts as a request.
    """
    count_request(request, claim, len(new.results) - 1)
    outcomes: list[Any] = list(new.results)
    wanted = [place for place, each in enumerate(outcomes) if not isinstance(each, Unfit)]
    if new.all_or_nothing and len(wanted) < len(outcomes):
        _refuse("results", outcomes)
    since_training = 0
    if wanted:
        given = [outcomes[place] for place in wanted]
        results = [Result(each.id, each.is_correct, each.actual_time_seconds) for each in given]
        done, since_training = _unhindered(db, lambda: batches.complete(db, results, claim))
        for place, outcome in zip(wanted, done, strict=True):
            outcomes[place] = outcome
        if new.all_or_nothing:
            _refuse("results", outcomes)
        db.commit()  # the counter's lock is held no longer
    if since_training >= settings().retrain_every:
        background.add_task(trainer.request)
    return _batch(request, outcomes, 200)


def _asked(new: NewTask | Unfit, claim: Claim) -> TaskRequest | AppError | Unfit:
    if isinstance(new, Unfit):
        return new
    try:
        student = student_named(new.user_id, new.student, claim, "the task is yours")
    except AppError as why:
        return why
    return TaskRequest(student, new.topic, new.difficulty, new.item_id, claim.school)


def _unhindered(db: Session, work: Callable[[], Any]) -> Any:
    """Do it again where others held a lock for long. Raises DatabaseUnavailable where they always do."""
    for _ in range(TRIES):
        try:
            return work()
        except OperationalError as why:
            if not isinstance(why.orig, LockNotAvailable):
                raise
            db.rollback()
    raise DatabaseUnavailable


def _refuse(field: str, outcomes: Sequence[Any]) -> None:
    """Raise the first problem, if there is one, for the whole of a batch."""
    unfit = [(place, each) for place, each in enumerate(outcomes) if isinstance(each, Unfit)]
    if unfit:
        raise RequestValidationError(
            [{**error, "loc": ("body", field, place, *error["loc"])} for place, each in unfit for error in each.errors]
        )
    for place, each in enumerate(outcomes):
        if isinstance(each, AppError):
            each.detail = f"{field}.{place}: {each.detail} Nothing was stored."
            raise each


def _batch(request: Request, outcomes: Sequence[Outcome], status: int) -> BatchOut:
    items = [_item(request, each, status) for each in outcomes]
    stored = sum(item.task is not None for item in items)
    return BatchOut(items=items, stored=stored, failed=len(items) - stored)


def _item(request: Request, outcome: Outcome, status: int) -> BatchItem:
    if isinstance(outcome, Task):
        return BatchItem(status=status, task=TaskOut.model_validate(outcome))
    if isinstance(outcome, AppError):
        body = errors.problem_body(request, outcome.status, outcome.detail)
    else:
        detail, wrong = errors.what_is_wrong(outcome.errors)
        body = errors.problem_body(request, 422, detail, errors=wrong)
    return BatchItem(status=body["status"], problem=Problem(**body))


def _json(answer: BatchOut | PredictionsOut) -> Response:
    return Response(answer.__pydantic_serializer__.to_json(answer), media_type="application/json")
