"""Practising: choose a task, see the prediction, do it, say how it went, see how it compares, go on."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from time import time
from uuid import UUID

from fastapi import BackgroundTasks, Request
from fastapi.responses import Response
from pydantic import ValidationError
from sqlalchemy.orm import Session

from app.core.db.statements import run_sync
from app.core.languages import Translator
from app.core.settings import settings
from app.crud import corrections, learning_record, practice_tasks
from app.domain.attempts import DIFFICULTIES
from app.domain.errors import AppError, NotKept, OtherResult, TaskNotFound, TooManyOpenTasks, TooManyTopics
from app.domain.tasks import Claim, Task, TaskRequest
from app.ml.embedding_service import complete, predict_and_save
from app.ml.explanation.explainer import explanation
from app.ml.explanation.values import Explanation
from app.ml.serving.model_order import ServingModels
from app.routers.dependencies import Db, Serving, TheTrainer
from app.routers.topics import to_pick
from app.schemas.practice_tasks import NewTask
from app.web.names import unfit_text
from app.web.pages import go_to, render
from app.web.preparation import suggested
from app.web.sessions import FormText, SignedIn, page_router, translator_of
from app.web.task_time import LONGEST, Report, in_colons, still_seconds, unreadable, what_is_wrong
from app.web.training import panel

router = page_router("/dashboard/tasks")
MOST_OFFERED = 100  # topics


@router.get("")
def choose(
    request: Request, visitor: SignedIn, db: Db, serving: Serving,
    topic: str = "", difficulty: str = "", target: str = "",
) -> Response:  # fmt: skip
    """Choose what to do next, or take a suggestion."""
    given = {"topic": topic[:200], "difficulty": difficulty or "medium", "target": target}
    return _choose(request, db, serving, visitor.id, given)


def _choose(
    request: Request,
    db: Session,
    serving: ServingModels,
    student: UUID,
    given: dict[str, str],
    wrong: str | None = None,
    status: int = 200,
) -> Response:
    return render(
        request,
        "choose.html",
        status,
        given=given,
        wrong=wrong,
        topics=[name for name, _ in to_pick(db, student, "")][:MOST_OFFERED],
        difficulties=DIFFICULTIES,
        open_task=learning_record.last_open(db, student),
        panel=panel(db, serving, translator_of(request)),
        **suggested(db, serving, student, given.get("target", "")),
    )


@router.post("")
def ask(
    request: Request, visitor: SignedIn, db: Db, serving: Serving, topic: FormText = "", difficulty: FormText = "medium"
) -> Response:
    """Create the task with its prediction."""
    try:
        new = NewTask.model_validate({"topic": topic, "difficulty": difficulty})
    except ValidationError as error:
        translator = translator_of(request)
        usual = translator("Please name a topic of 1 to 200 characters, and choose how difficult the task is.")
        wrong = unfit_text(translator, error, usual)
        return _choose(request, db, serving, visitor.id, {"topic": topic[:200], "difficulty": difficulty}, wrong, 422)
    asked = TaskRequest(visitor.id, new.topic, new.difficulty.value)
    try:
        task = run_sync(predict_and_save(serving, asked, Claim(student=visitor.id)), db)
    except (TooManyOpenTasks, TooManyTopics) as error:
        given, wrong = {"topic": new.topic, "difficulty": asked.difficulty}, _too_many(request, error)
        return _choose(request, db, serving, visitor.id, given, wrong, error.status)
    return go_to(request, f"/dashboard/tasks/{task.id}")


def _too_many(request: Request, error: AppError) -> str:
    translator, bounds = translator_of(request), settings()
    if isinstance(error, TooManyTopics):
        most = translator.number(bounds.max_topics)
        return translator("You have %(most)s topics, as many as anybody may: choose one of yours.", most=most)
    most = translator.number(bounds.max_open_tasks)
    return translator("You have %(most)s tasks open, as many as anybody may: finish one first.", most=most)


@router.get("/{task_id}")
def show(
    request: Request, task_id: str, visitor: SignedIn, db: Db, serving: Serving, start: str = "", began: str = "",
    undone: str = "",
) -> Response:  # fmt: skip
    """Show the prediction and the clock, which `start` sets going where no script does; `undone` is the time of a
    result that was taken back. Or, when done, the result."""
    task = task_of(db, task_id, visitor.id)
    if start and not task.completed:
        return go_to(request, f"/dashboard/tasks/{task.id}", began=round(time()))
    given = Report(seconds=undone[:LONGEST], began=began if began.isdigit() else "")
    return show_task(request, db, serving, task, given)


def show_task(
    request: Request, db: Session, serving: ServingModels, task: Task, given: Report, wrong: str | None = None,
    asked: float | None = None,
) -> Response:  # fmt: skip
    """Show a task; with what was sent of it where that can't be recorded, or where its time is asked about."""
    translator = translator_of(request)
    return render(
        request,
        "result.html" if task.completed else "task.html",
        422 if wrong or asked else 200,
        task=task,
        given=given,
        wrong=wrong,
        asked=asked,
        began=_moment(translator, given.began),
        still=still_seconds(task),
        corrected=corrections.of_tasks(db, [task.id]),
        may_correct=may_correct(task),
        undone=bool(given.seconds),
        in_colons=in_colons,
        panel=panel(db, serving, translator),
    )


def may_correct(task: Task) -> bool:
    """Say whether its student may still change the result."""
    allowed = timedelta(days=settings().correction_days)
    return task.completed_at is not None and datetime.now(UTC) - task.completed_at <= allowed


def _moment(translator: Translator, began: str) -> str | None:
    try:
        return translator.moment(datetime.fromtimestamp(int(began), UTC)) if began else None
    except (ValueError, OverflowError, OSError):  # no moment: somebody wrote it into the address
        return None


@router.post("/{task_id}")
def finish(
    request: Request, task_id: str, visitor: SignedIn, db: Db, serving: Serving, trainer: TheTrainer,
    background: BackgroundTasks, result: FormText = "", seconds: FormText = "", clock: FormText = "",
    began: FormText = "", sure: FormText = "",
) -> Response:  # fmt: skip
    """Record how it went, or say what is missing; a time far beyond the predicted is asked about once."""
    task, translator = task_of(db, task_id, visitor.id), translator_of(request)
    given = Report(result, seconds, clock, began, sure)
    try:
        took = given.took(time())
        is_to_be_asked = took is not None and given.is_to_be_asked(took, task)
    except ValueError:
        return show_task(request, db, serving, task, given, unreadable(translator, seconds or clock or began))
    wrong = what_is_wrong(translator, given, took)
    if wrong or took is None or given.is_right is None:
        return show_task(request, db, serving, task, given, wrong)
    if is_to_be_asked:
        typed = seconds if seconds.strip() else in_colons(took)
        return show_task(request, db, serving, task, replace(given, seconds=typed, sure=in_colons(took)), asked=took)
    try:
        _, since_training = run_sync(complete(task.id, Claim(student=visitor.id), given.is_right, took), db)
    except OtherResult:  # sent twice, or from two windows: the first counts, and the page shows it
        return go_to(request, f"/dashboard/tasks/{task.id}", already=1)
    if since_training >= settings().retrain_every:
        background.add_task(trainer.request)
    return go_to(request, f"/dashboard/tasks/{task.id}")


@router.get("/{task_id}/why")
def why(request: Request, task_id: str, visitor: SignedIn, db: Db, serving: Serving) -> Response:
    """Show what moved the prediction."""
    task = task_of(db, task_id, visitor.id)
    return render(request, "why.html", task=task, found=explained(db, serving, task))


def explained(db: Session, serving: ServingModels, task: Task) -> Explanation | None:
    """Return what moved the prediction; none where what it was made from is no longer kept."""
    try:
        return explanation(db, serving, task, to_student=True)
    except NotKept:
        return None


def task_of(db: Session, task_id: str, student: UUID) -> Task:
    """Look up a task of theirs. Raises TaskNotFound."""
    try:
        return practice_tasks.get(db, UUID(task_id), owner=student)
    except ValueError:
        raise TaskNotFound from None
