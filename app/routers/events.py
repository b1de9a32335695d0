"""What happens, told as it happens (server-sent events)."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import EventSourceResponse, ServerSentEvent

from app.core.database import new_session
from app.core.db.statements import run_async
from app.core.http.cookies import SESSION, guarded
from app.core.http.neighbourhood import neighbourhood
from app.crud import accounts, browser_sessions
from app.crud.events import Pass
from app.domain.errors import NotSignedIn
from app.domain.tasks import Claim
from app.monitoring.feed import Listener
from app.routers.dependencies import (
    BY_TOKEN_OR_KEY,
    ById,
    ByText,
    address_of,
    async_database,
    claim_of,
    count_request,
    student_named,
)
from app.schemas.problem import problems

router = APIRouter(tags=["Events"])
LAST = Annotated[str, Header(alias="Last-Event-ID", description="The `id` of the last event that you have.")]


async def listener(
    request: Request, user_id: ById = None, student: ByText = None, last_event_id: LAST = ""
) -> AsyncIterator[Listener]:
    """Find out who listens, and let them be told while the answer lasts."""
    by, whose, school = await _browser(request) or await _caller(request, user_id, student)
    address = neighbourhood(address_of(request))
    made = Listener(by, by if by.kind == "key" else whose, address, whose, school, _moment(last_event_id))
    request.scope["end"] = made.end  # for the server, when it shuts down
    async with request.app.state.feed.listening(made):
        yield made


async def _browser(request: Request) -> tuple[Pass, UUID, None] | None:
    """Return whose page asks, by the browser's cookie; none where it is no page of ours, or a token is sent."""
    cookie = request.cookies.get(guarded(request, SESSION))
    if cookie is None or "authorization" in request.headers:
        return None
    if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise NotSignedIn("A page elsewhere has to send `Authorization: Bearer`.")

    def find() -> browser_sessions.Visitor | None:
        with new_session().begin() as db:
            return browser_sessions.find(db, cookie)

    visitor = await run_in_threadpool(find)
    if visitor is None:
        raise NotSignedIn
    count_request(request, Claim(student=visitor.id))
    return Pass("browser", browser_sessions.hashed(cookie).hex()), visitor.id, None


async def _caller(request: Request, user_id: UUID | None, name: str | None) -> tuple[Pass, UUID | None, UUID | None]:
    """Return who sends a token or a key, the student whose tasks they are told of, and the school that brought them."""
    claim, database = claim_of(request), await async_database(request)
    caller = await run_async(accounts.caller(claim), database)
    if claim.key_hash is None:
        return Pass("token", str(claim.token)), student_named(user_id, name, caller, "it is about you"), None
    whose = student_named(user_id, name, caller, "") if user_id or name else None
    school = await run_async(accounts.may_record(claim, whose), database) if whose else None
    return Pass("key", claim.key_hash.hex(), whose), whose, school


def _moment(event_id: str) -> datetime | None:
    """Read the id of an event of ours; what is none of ours is nothing."""
    if not (event_id.isascii() and event_id.isdigit() and len(event_id) <= 17):
        return None
    return datetime.fromtimestamp(int(event_id) / 1_000_000, UTC)


Listening = Annotated[Listener, Depends(listener)]


@router.get(
    "/events",
    response_class=EventSourceResponse,
    responses=problems(401, 403, 404, 422),
    openapi_extra=BY_TOKEN_OR_KEY,
)
async def follow_events(listener: Listening) -> AsyncIterator[ServerSentEvent]:
    """Be told what happens as it happens, as server-sent events, instead of asking again and again.

    `event: training` is how training stands (`TrainingState`), `event: version` who answers (`ServingOut`): each once
    at the beginning and whenever it changes. `event: task` is a task of yours (`TaskOut`) that was created, finished or
    corrected, wherever that was done, and `event: discarded` the `id` of an open one that is gone; a service key is
    told of the tasks of the student whom it names. `event: end` says why nothing more comes: the session or token has
    ended.

    Lines that begin with a colon are signs of life, every 15 seconds. After an hour, or when the service starts anew,
    the answer ends: come again with `Last-Event-ID`, and what happened meanwhile is told, some of it perhaps twice. A
    browser's `EventSource` does that by itself, but sends no `Authorization`: pages elsewhere read the stream of
    `fetch`. A student may listen five times at once; more is a 429.
    """
    async for event in listener.told():
        yield event
