"""All tasks of a student, to look through; results are changed and taken back here, open tasks discarded."""

from collections import defaultdict
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Annotated
from urllib.parse import parse_qsl, urlencode
from uuid import UUID

from fastapi import BackgroundTasks, Depends, Request
from fastapi.responses import Response
from sqlalchemy.orm import Session

from app.core.languages import Translator
from app.core.settings import settings
from app.crud import corrections, learning_record, practice_tasks
from app.domain.corrections import Correction
from app.domain.days import starts
from app.domain.errors import NoResult, NotAccepted, TooLate
from app.domain.tasks import Caller, Task
from app.routers.dependencies import Db, ReadDb, Serving, TheTrainer
from app.routers.practice_tasks import cursor_of, position_of
from app.web.pages import go_to, render
from app.web.sessions import FormText, SignedIn, page_router, translator_of
from app.web.task_time import Report, in_colons, unreadable, what_is_wrong
from app.web.tasks import may_correct, show_task, task_of

PAGE = "/dashboard/history"
router = page_router()
TASKS_PER_PAGE = 30
RESULTS = {"right": (None, True), "wrong": (None, False), "open": (False, None)}  # completed, is_correct


@dataclass(frozen=True, slots=True)
class Sought:
    """What the page is to show, as its form sends it."""

    search: str = ""
    topic: str = ""
    result: str = ""
    begin: str = ""
    end: str = ""
    before: str = ""

    @classmethod
    def written(cls, query: str) -> "Sought":
        """Read it from an address; what else stands there is left out."""
        found = {name: value.replace("\x00", "")[:200] for name, value in parse_qsl(query) if name in cls.__slots__}
        return cls(**found)

    def query(self, **other: str) -> str:
        """Return it as in an address, with `other` values."""
        return urlencode({name: value for name, value in (asdict(self) | other).items() if value})

    @property
    def narrows(self) -> bool:
        return any(value for name, value in asdict(self).items() if name != "before")


def sought_of(request: Request) -> Sought:
    return Sought.written(request.scope["query_string"].decode("ascii", "replace"))


@router.get(PAGE)
def history(
    request: Request, visitor: SignedIn, db: ReadDb, sought: Annotated[Sought, Depends(sought_of)], done: str = ""
) -> Response:
    """Show the tasks that fit, newest first."""
    translator = translator_of(request)
    completed, is_correct = RESULTS.get(sought.result, (None, None))
    found = practice_tasks.newest(
        db,
        user_id=visitor.id,
        topic=sought.topic or None,
        completed=completed,
        is_correct=is_correct,
        search=sought.search.strip(),
        since=_day(translator, sought.begin),
        until=_day(translator, sought.end, 1),
        before=_position(sought.before),
        limit=TASKS_PER_PAGE,
    )
    return render(
        request,
        "history.html",
        tasks=found.items,
        corrected=corrected(db, found.items),
        may_correct=may_correct,
        days=settings().correction_days,
        topics=[total.key for total in learning_record.totals(db, visitor.id)],
        sought=sought,
        here=sought.query(),
        newest=f"?{sought.query(before='')}",
        older=found.next and f"?{sought.query(before=cursor_of(*found.next))}",
        done=_done(translator).get(done),
        in_colons=in_colons,
    )


def _done(translator: Translator) -> dict[str, str]:
    """Of what a form came to; the address bar holds its code only."""
    return {
        "changed": translator("The result is changed; what is known of you follows it from now on."),
        "discarded": translator("The task is discarded."),
        "late": translator("That result can't be changed here any more: it is too long ago."),
    }


def corrected(db: Session, tasks: list[Task]) -> dict[UUID, list[Correction]]:
    """Return what the results of these tasks were before, by task."""
    found = defaultdict(list)
    for each in corrections.of_tasks(db, [task.id for task in tasks]):
        found[each.task_id].append(each)
    return found


@router.post("/dashboard/tasks/{task_id}/result")
def change(
    request: Request, task_id: str, visitor: SignedIn, db: Db, serving: Serving, trainer: TheTrainer,
    background: BackgroundTasks, result: FormText = "", seconds: FormText = "", back: FormText = "",
) -> Response:  # fmt: skip
    """Give a finished task another result; or say what of it can't be."""
    task, translator, given = task_of(db, task_id, visitor.id), translator_of(request), Report(result, seconds)
    try:
        took = given.took(0)
    except ValueError:
        return show_task(request, db, serving, task, given, unreadable(translator, seconds))
    wrong = what_is_wrong(translator, given, took)
    if wrong or took is None or given.is_right is None:
        return show_task(request, db, serving, task, given, wrong)
    if task.actual_time_seconds and given.seconds == in_colons(task.actual_time_seconds):
        took = task.actual_time_seconds  # as it was shown, which is without its fractions
    try:
        result_of = task.id, given.is_right, took, settings().correction_days
        _, to_learn = corrections.change(db, *result_of, Caller(student=visitor.id))
    except TooLate:
        return _back(request, back, "late")
    except NoResult:
        return go_to(request, f"/dashboard/tasks/{task.id}")
    if to_learn >= settings().retrain_every:
        background.add_task(trainer.request)
    return _back(request, back, "changed")


@router.post("/dashboard/tasks/{task_id}/undo")
def undo(request: Request, task_id: str, visitor: SignedIn, db: Db, back: FormText = "") -> Response:
    """Have a task open again, with the time that was recorded in its field."""
    task = task_of(db, task_id, visitor.id)
    try:
        corrections.take_back(db, task.id, settings().correction_days, Caller(student=visitor.id))
    except TooLate:
        return _back(request, back, "late")
    took = None if task.actual_time_seconds is None else in_colons(task.actual_time_seconds)
    return go_to(request, f"/dashboard/tasks/{task.id}", undone=took)


@router.post("/dashboard/tasks/{task_id}/discard")
def discard(request: Request, task_id: str, visitor: SignedIn, db: Db, back: FormText = "") -> Response:
    """Delete an open task; one that was finished in another window is shown instead."""
    task = task_of(db, task_id, visitor.id)
    if task.completed:
        return go_to(request, f"/dashboard/tasks/{task.id}")
    corrections.discard(db, task.id, Caller(student=visitor.id))
    return _back(request, back, "discarded")


def _back(request: Request, back: str, done: str) -> Response:
    """Lead to where in the history the form stood."""
    return go_to(request, PAGE, **dict(parse_qsl(Sought.written(back).query())), done=done)


def _day(translator: Translator, written: str, later: int = 0) -> datetime | None:
    """Return when a day, or one so many days later, begins where the visitor is; none where it is no day."""
    try:
        return starts(translator.zone, date.fromisoformat(written) + timedelta(later), 1)[0]
    except (ValueError, OverflowError):
        return None


def _position(before: str) -> tuple[datetime, UUID] | None:
    try:
        return position_of(before) if before else None
    except NotAccepted:
        return None
