"""Practice tasks: asked with a prediction, completed with a result."""

import base64
import binascii
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, BackgroundTasks, Query, Request, Response
from starlette.background import BackgroundTask
from starlette.convertors import Convertor, register_url_convertor

from app.core.db.statements import run_async
from app.core.settings import settings
from app.crud import corrections, practice_tasks
from app.domain.errors import NotAccepted
from app.domain.fields import Moment, StoredText, StudentText
from app.domain.tasks import Task, TaskRequest
from app.ml.embedding_service import complete, predict_and_save
from app.ml.explanation.explainer import explanation
from app.routers.dependencies import (
    BY_TOKEN_OR_KEY,
    CallerFirst,
    Db,
    Serving,
    SignedIn,
    TheTrainer,
    async_database,
    claim_of,
    serving_models,
    student_named,
    trainer_of,
)
from app.schemas.explanation import Explanation
from app.schemas.practice_tasks import CorrectionOut, NewTask, TaskOut, TaskPage, TaskResult
from app.schemas.problem import problems


class TaskInPath(Convertor[str]):
    """What may stand for a task's id in a path; `batch` is a route of its own, with methods of its own."""

    regex = "(?!batch$)[^/]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("task", TaskInPath())
router = APIRouter(prefix="/practice-tasks", tags=["Practice tasks"], route_class=CallerFirst)
ONE = "/{task_id:task}"
TO_JSON = TaskOut.__pydantic_serializer__.to_json


@router.post(
    "",
    status_code=201,
    response_model=TaskOut,
    responses=problems(400, 401, 403, 404, 409, 413, 422),
    openapi_extra=BY_TOKEN_OR_KEY,
)
async def create_practice_task(new: NewTask, request: Request) -> Response:
    """Say what the student is about to do; the answer says how likely they will get it right and in how many seconds.

    It always answers: `model_version` tells which kind of model did (LNIRT, unless another is better on unseen tasks),
    or the prior while nobody has finished a task; `fallback_reason` says why not the one that should have. Four of five
    tasks take between `time_low_seconds` and `time_high_seconds`; `GET /practice-tasks/{id}/explanation` says what
    moved the prediction.
    """
    claim = claim_of(request)
    student = student_named(new.user_id, new.student, claim, "the task is yours")
    asked = TaskRequest(student, new.topic, new.difficulty, new.item_id, claim.school)
    flow = predict_and_save(await serving_models(request), asked, claim)
    return answer(await run_async(flow, await async_database(request)), 201)


@router.patch(
    ONE,
    response_model=TaskOut,
    responses=problems(400, 401, 404, 409, 413, 422),
    openapi_extra=BY_TOKEN_OR_KEY,
)
async def complete_practice_task(task_id: UUID, result: TaskResult, request: Request) -> Response:
    """Say how it went. Sending the same result again is fine and changes nothing; another result is a 409, for
    `PUT /practice-tasks/{id}/result` changes one.

    Every fifth finished task, of anybody, starts a training in the background.
    """
    flow = complete(task_id, claim_of(request), result.is_correct, result.actual_time_seconds)
    task, since_training = await run_async(flow, await async_database(request))
    is_due = since_training >= settings().retrain_every
    return answer(task, 200, (await trainer_of(request)).request if is_due else None)


@router.get("", responses=problems(400, 401, 422))
def list_practice_tasks(
    caller: SignedIn,
    db: Db,
    completed: Annotated[bool | None, Query(description="Only completed, or only open ones.")] = None,
    is_correct: Annotated[bool | None, Query(description="Only right ones, or only wrong ones.")] = None,
    topic: Annotated[StoredText | None, Query(description="Only this topic, in any of its spellings.")] = None,
    search: Annotated[StoredText | None, Query(description="Only where topic or exercise hold this.")] = None,
    since: Annotated[Moment | None, Query(description="Only asked for at this moment or later.")] = None,
    until: Annotated[Moment | None, Query(description="Only asked for before this moment.")] = None,
    user_id: Annotated[UUID | None, Query(description="Only this student; for service keys.")] = None,
    student: Annotated[
        StudentText | None, Query(description="Only this student, by your own text; for service keys.")
    ] = None,
    before: Annotated[str | None, Query(description="The `next` of the page before.", max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> TaskPage:
    """Your tasks, newest first, in pages; for a service key the tasks of all its students."""
    if caller.owner is not None and user_id not in (None, caller.owner):
        return TaskPage(items=[], next=None)  # a student has no one else's
    if student is not None:
        user_id = student_named(user_id, student, caller, "these are your tasks")
    page = practice_tasks.newest(
        db,
        user_id=caller.owner or user_id,
        school=caller.school,
        key=caller.key,
        topic=topic,
        completed=completed,
        is_correct=is_correct,
        search=search or "",
        since=since,
        until=until,
        before=None if before is None else position_of(before),
        limit=limit,
    )
    return TaskPage(items=[out(task) for task in page.items], next=page.next and cursor_of(*page.next))


@router.get(ONE, responses=problems(400, 401, 404, 422))
def get_practice_task(task_id: UUID, caller: SignedIn, db: Db) -> TaskOut:
    """One task, with its prediction and its result."""
    return out(practice_tasks.get(db, task_id, **caller.sight))


@router.get("/{task_id}/explanation", responses=problems(400, 401, 404, 409, 422))
def explain_practice_task(task_id: UUID, caller: SignedIn, db: Db, serving: Serving) -> Explanation:
    """What moved this prediction up or down against the average student, and how far.

    Of a network these are the eleven `features`; of LNIRT, trained or not, the `parts`: student, topic, difficulty and,
    where one is named, the exercise, set against an average student on an average task. The effects are Shapley values:
    they add up exactly to the difference. The prior has neither, for nothing moved it. A task that was imported was
    never predicted, which is a 409.
    """
    task = practice_tasks.get(db, task_id, **caller.sight)
    found = explanation(db, serving, task, to_student=caller.student is not None)
    return Explanation.model_validate(found, from_attributes=True)


@router.delete(ONE, status_code=204, response_class=Response, responses=problems(401, 404, 409, 422))
def discard_practice_task(task_id: UUID, caller: SignedIn, db: Db) -> None:
    """Discard an open task, as if it had never been asked for. A completed one is a 409: its result can be changed or
    taken back."""
    corrections.discard(db, task_id, caller)


@router.put("/{task_id}/result", responses=problems(400, 401, 403, 404, 409, 413, 422))
def correct_practice_task_result(
    task_id: UUID, result: TaskResult, caller: SignedIn, db: Db, trainer: TheTrainer, background: BackgroundTasks
) -> TaskOut:
    """Change the result of a completed task; the same again is fine and changes nothing.

    Students may for `CORRECTION_DAYS` (7) after completion, which later is a 403; service keys always may. What is
    known of the student is right at once, and the next training learns the new result. The old one is kept: see
    `GET /practice-tasks/{id}/corrections`. An open task is a 409: `PATCH /practice-tasks/{id}` records its result.
    """
    given = result.is_correct, result.actual_time_seconds, settings().correction_days
    task, to_learn = corrections.change(db, task_id, *given, caller)
    if to_learn >= settings().retrain_every:
        background.add_task(trainer.request)
    return out(task)


@router.delete("/{task_id}/result", responses=problems(401, 403, 404, 422))
def take_back_practice_task_result(task_id: UUID, caller: SignedIn, db: Db) -> TaskOut:
    """Take a result back: the task is open again, as if it had never been completed. The same again changes nothing.

    Students may for `CORRECTION_DAYS` (7) after completion, service keys always.
    """
    return out(corrections.take_back(db, task_id, settings().correction_days, caller)[0])


@router.get("/{task_id}/corrections", responses=problems(401, 404, 422))
def list_practice_task_corrections(task_id: UUID, caller: SignedIn, db: Db) -> list[CorrectionOut]:
    """What the task's result was before it was changed or taken back, the oldest first."""
    practice_tasks.get(db, task_id, **caller.sight)
    return [CorrectionOut.model_validate(each) for each in corrections.of_tasks(db, [task_id])]


def out(task: Task) -> TaskOut:
    return TaskOut.model_validate(task)


def answer(task: Task, status: int, after: Callable[[], object] | None = None) -> Response:
    """Answer with the task as JSON; what is valid already, FastAPI need not check again."""
    body = TO_JSON(out(task))
    return Response(body, status, media_type="application/json", background=BackgroundTask(after) if after else None)


def cursor_of(created_at: datetime, task_id: UUID) -> str:
    return base64.urlsafe_b64encode(f"{created_at.isoformat()} {task_id}".encode()).decode()


def position_of(cursor: str) -> tuple[datetime, UUID]:
    """Read what `cursor_of` made; anything else is refused."""
    try:
        created_at, task_id = base64.urlsafe_b64decode(cursor.encode()).decode().split(" ")
        moment = datetime.fromisoformat(created_at)
        if moment.tzinfo is None:
            raise ValueError(cursor)
        return moment.astimezone(UTC), UUID(task_id)  # PostgreSQL knows fewer offsets than Python
    except (ValueError, OverflowError, binascii.Error):
        raise NotAccepted("before: not a position; pass the `next` of an earlier page as it is.") from None
