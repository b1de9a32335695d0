"""A person's data: seen, taken along, erased."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, BackgroundTasks, Depends, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy.orm import Session

from app.core.database import asked_to_read
from app.core.http.content_negotiation import weight
from app.crud import erasures, person, sessions
from app.domain.actors import Actor
from app.domain.errors import HasAccount, NotAllowed, SessionNotFound, StudentNotFound
from app.domain.fields import StudentText
from app.domain.interactions import student_id
from app.ml.serving.model_order import ServingModels
from app.ml.training.scheduler import Trainer
from app.privacy import export
from app.privacy.erasure import erase
from app.routers.dependencies import Acting, Db, Serving, SignedIn, TheTrainer
from app.schemas.person import Export, Me, SessionOut
from app.schemas.problem import problems

router = APIRouter(tags=["A person's data"])
CSV = "text/csv"
AS_CSV = {"schema": {"type": "string"}, "example": "id,user_id,topic,difficulty,item_id,created_at,..."}


async def own_id(caller: SignedIn) -> UUID:
    """Return the student who is signed in; an admin is one too."""
    if caller.student is None:
        raise NotAllowed("A service key has no account of its own; a student has to be signed in for this.")
    return caller.student


async def only_keys(caller: SignedIn) -> None:
    """Let in service keys only: they name students."""
    if caller.key is None:
        raise NotAllowed("Only a service key may name a student; your own data are at /users/me.")


Student = Annotated[UUID, Depends(own_id)]


async def only_export(student: Student, request: Request) -> AsyncIterator[UUID]:
    """Return whose data are exported; their next export begins when the answer to this one has left."""
    with request.app.state.exports.only_one(student):
        yield student


Exporting = Annotated[UUID, Depends(only_export)]


@router.get("/users/me", responses=problems(401, 403))
def get_my_account(student: Student, db: Db) -> Me:
    """Your account."""
    return Me.model_validate(person.account(db, student))


@router.get("/users/me/sessions", responses=problems(401, 403))
def list_my_sessions(student: Student, db: Db) -> list[SessionOut]:
    """What you are signed in with: browsers and tokens, the newest hundred."""
    return [SessionOut.model_validate(each) for each in sessions.listed(db, student)]


@router.delete(
    "/users/me/sessions/{session_id}",
    status_code=204,
    response_class=Response,
    responses=problems(401, 403, 404, 422),
)
def end_my_session(session_id: UUID, student: Student, db: Db) -> None:
    """End a browser's session or a token, at once; the one that you send this with too. A new password ends all."""
    if not sessions.end(db, student, session_id):
        raise SessionNotFound


@router.get(
    "/users/me/export",
    responses={
        200: {"model": Export, "content": {CSV: AS_CSV}, "description": "The download."},
        **problems(401, 403, 422),
    },
)
async def export_my_data(
    student: Exporting,
    request: Request,
    format: Annotated[
        Literal["json", "csv"] | None, Query(description="json where neither this nor `Accept: text/csv` says else.")
    ] = None,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
) -> StreamingResponse:
    """Everything that is stored about you, as a file: your account, your tasks with their predictions and results, and
    what has been worked out from them.

    As CSV it is your tasks, one row each. There a text that begins with = + - @ or an apostrophe has an apostrophe in
    front, so that no spreadsheet takes it for a formula. A download that breaks off is not a whole file: JSON is not
    closed then, and a CSV's last line says so. One download of an account at a time: another one is a 429.
    """
    asked = format or ("csv" if weight(accept, CSV) > weight(accept, "application/json") else "json")
    return await download(request, student, asked)


async def download(request: Request, student: UUID, format: Literal["json", "csv"]) -> StreamingResponse:
    """Send everything that is stored about a student, as a file that is written as it is read."""
    exports, asked = request.app.state.exports, asked_to_read
    pages = export.pages(asked, student)
    headers = {
        "Content-Disposition": f'attachment; filename="smartstudy-{datetime.now(UTC):%Y-%m-%d}.{format}"',
        "Cache-Control": "no-store",
        "Vary": "Accept",
    }
    if format == "csv":
        lines = exports.stream(export.as_csv(pages))
        return StreamingResponse(lines, headers=headers, media_type=f"{CSV}; charset=utf-8")
    before = await exports.do(lambda: _head(request.app.state.serving, student))
    lists = {"totals": export.totals(asked, student), "corrections": export.corrections(asked, student)}
    document = export.as_json(before, lists | {"tasks": pages})
    return StreamingResponse(exports.stream(document), headers=headers, media_type="application/json")


def _head(serving: ServingModels, student: UUID) -> dict[str, Any]:
    return asked_to_read(lambda db: export.head(db, serving, student))


@router.delete("/users/me", status_code=204, response_class=Response, responses=problems(401, 403))
def erase_my_account(
    student: Student, db: Db, serving: Serving, trainer: TheTrainer, background: BackgroundTasks
) -> None:
    """Erase your account and everything that is stored about you, at once. **It can't be undone.**

    The token is of no use afterwards. The models are trained anew without you, which begins right away.
    """
    erase_now(student, db, serving, trainer, background)


@router.delete(
    "/students/{student:path}",
    status_code=204,
    response_class=Response,
    dependencies=[Depends(only_keys)],
    responses=problems(401, 403, 404, 409, 422),
)
def erase_student(
    student: Annotated[StudentText, Path(description="By your own text, or by a UUID.")],
    caller: SignedIn,
    db: Db,
    serving: Serving,
    trainer: TheTrainer,
    background: BackgroundTasks,
    actor: Acting,
) -> None:
    """Erase everything that is stored about a student whom a service key names. **It can't be undone.**

    Where nothing is stored it is a 404. A student with an account of their own is a 409: only they can erase that.
    """
    named = student_id(student, caller.school)
    found = erasures.find(db, named, caller.school)
    if not found.anything:
        raise StudentNotFound
    if found.email is not None:
        raise HasAccount
    erase_now(named, db, serving, trainer, background, actor)


def erase_now(
    student: UUID,
    db: Session,
    serving: ServingModels,
    trainer: Trainer,
    background: BackgroundTasks,
    actor: Actor | None = None,
) -> None:
    """Erase and commit; have this process answer without the versions that were withdrawn, the trainer sees to the
    others."""
    erase(db, student, actor)
    serving.refresh()
    background.add_task(trainer.request)
