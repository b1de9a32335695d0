"""A request that comes again with its Idempotency-Key is answered as the first time, and nothing is made twice."""

import hmac
import re
from collections.abc import Callable, Coroutine
from hashlib import sha256
from inspect import iscoroutinefunction
from typing import Any

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute
from sqlalchemy.orm import Session

from app.core.database import AsyncDatabase, new_session
from app.core.db.statements import run_async, run_sync
from app.core.http.neighbourhood import neighbourhood
from app.core.security import keyed_hash
from app.crud import idempotency_keys
from app.crud.idempotency_keys import FirstAnswer, KeyedRequest
from app.domain.errors import AppError, KeyOfAnotherRequest, NotAccepted
from app.schemas.accounts import Token
from app.schemas.problem import problems
from app.schemas.users import PasswordLinkOut

HEADER = "idempotency-key"
SECRETS = (Token, PasswordLinkOut)  # answers of which nothing is kept
LONGEST = 255
WELL_FORMED = re.compile(rf"[!-~]{{1,{LONGEST}}}")
PARAMETER = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "pattern": f"^{WELL_FORMED.pattern}$"},
    "description": "Any text of your own, such as a UUID, that makes it safe to send the request again: for 24 hours "
    "the same request gets the first answer again (`Idempotent-Replayed: true`), another one with it a 422.",
}
Answer = Callable[[Request], Coroutine[Any, Any, Response]]


class Once(APIRoute):
    """A route that creates. Without the header it is a plain one."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        if "POST" in (named.get("methods") or ()):
            named["responses"] = problems(422) | (named.get("responses") or {})
        super().__init__(*arguments, **named)
        if self._keeps:
            self.openapi_extra = {**(self.openapi_extra or {}), "parameters": [PARAMETER]}

    @property
    def _keeps(self) -> bool:
        return "POST" in (self.methods or ()) and self.response_model not in SECRETS

    def get_route_handler(self) -> Answer:
        answer = super().get_route_handler()
        made_once = self._in_a_transaction if iscoroutinefunction(self.endpoint) else self._in_the_session

        async def once(request: Request) -> Response:
            if HEADER not in request.headers:
                return await answer(request)
            asked = KeyedRequest(self.caller_of(request), _key(request), await _hash(request))
            if first := await self._first_answer(request, asked):
                return first
            try:
                if made := await made_once(answer, request, asked):
                    return made
            except AppError:  # an address that is taken, say, by the same request a moment ago
                if first := await self._first_answer(request, asked):
                    return first
                raise
            return await self._first_answer(request, asked) or await once(request)

        return once if self._keeps else answer

    def caller_of(self, request: Request) -> str:
        """Return whose keys these are; of those who need not be known, where they come from."""
        address = neighbourhood(request.client.host if request.client else "")
        return sha256(f"address {address}".encode()).hexdigest()

    async def let_in(self, request: Request) -> None:
        """Raise where the caller may not see an answer any more."""

    async def _first_answer(self, request: Request, asked: KeyedRequest) -> Response | None:
        """Return the answer that there is already, if there is one. Raises KeyOfAnotherRequest."""
        first: FirstAnswer | None = await run_async(idempotency_keys.find(asked), request.app.state.database)
        if first is None:
            return None
        await self.let_in(request)
        if not hmac.compare_digest(first.request, asked.request):
            raise KeyOfAnotherRequest
        headers = {"Idempotent-Replayed": "true"}
        return Response(first.answer, first.status, headers, media_type="application/json")

    async def _in_a_transaction(self, answer: Answer, request: Request, asked: KeyedRequest) -> Response | None:
        """Answer a route of the asynchronous door; none where another request was first."""
        database: AsyncDatabase = request.app.state.database
        try:
            async with database.transaction() as transaction:
                request.scope["database"] = transaction
                made = await answer(request)
                if _is_kept(made) and not await run_async(
                    idempotency_keys.keep(asked, made.status_code, bytes(made.body).decode()), transaction
                ):
                    raise _SecondError
        except _SecondError:
            return None
        finally:
            request.scope.pop("database", None)
        return made

    async def _in_the_session(self, answer: Answer, request: Request, asked: KeyedRequest) -> Response | None:
        """Answer a route of the session; none where another request was first."""
        try:
            made = await answer(request)
        except AppError:
            await run_in_threadpool(_undo, request)
            raise
        if _is_kept(made) and not await run_in_threadpool(_kept, request, asked, made):
            return None
        return made


class _SecondError(Exception):
    """Another request with the same key was first."""


def _key(request: Request) -> str:
    given = request.headers.getlist(HEADER)
    if len(given) > 1 or not WELL_FORMED.fullmatch(given[0]):
        raise NotAccepted(f"Idempotency-Key: one key of 1 to {LONGEST} visible ASCII characters, such as a UUID.")
    return given[0]


async def _hash(request: Request) -> bytes:
    scope = request.scope
    return keyed_hash(scope["path"].encode(), scope["query_string"], await request.body())


def _is_kept(made: Response) -> bool:
    return made.status_code < 300 and hasattr(made, "body")


def _kept(request: Request, asked: KeyedRequest, made: Response) -> bool:
    """Store the answer and commit, in one go: whoever waits for it holds a thread."""
    session: Session = request.scope.get("db_session") or new_session()()  # the latter: the route had one of its own
    if run_sync(idempotency_keys.keep(asked, made.status_code, bytes(made.body).decode()), session):
        session.commit()
        return True
    session.rollback()
    return False


def _undo(request: Request) -> None:
    if session := request.scope.get("db_session"):
        session.rollback()
