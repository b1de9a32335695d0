"""Who sends this request, and from what connection it is answered."""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from math import ceil
from typing import Annotated, Any, cast
from uuid import UUID

from fastapi import Depends, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer, OAuth2PasswordBearer
from sqlalchemy.orm import Session
from starlette.requests import HTTPConnection

from app.core.database import AsyncDatabase, get_db, reading
from app.core.db.statements import run_async
from app.core.security import claim_by_token
from app.core.settings import settings
from app.crud import accounts
from app.domain.actors import Actor
from app.domain.errors import NotAccepted, NotAllowed, NotSignedIn, TooManyTries
from app.domain.fields import StudentText
from app.domain.interactions import student_id
from app.domain.tasks import Caller, Claim
from app.ml.serving.model_order import ServingModels
from app.ml.training.scheduler import Trainer
from app.routers.once import Once
from app.schemas.base import STUDENT, USER_ID

# For the document; `who_claims` reads the header.
student_token = OAuth2PasswordBearer("auth/token", scheme_name="Student", auto_error=False)
service_key = HTTPBearer(
    scheme_name="ServiceKey", description="A school's back end: `smartstudy key create NAME`", auto_error=False
)


def request_session(request: Request) -> Iterator[Session]:
    """Give the request its transaction; who stands around the route finds it in the scope."""
    with contextmanager(get_db)() as session:
        request.scope["db_session"] = session
        yield session


Db = Annotated[Session, Depends(request_session, scope="function")]


def reading_session(db: Db) -> Iterator[Session]:
    """Give a request that only reads a replica, where there is one that knows all that the database does."""
    with reading(db) as session:
        yield session


ReadDb = Annotated[Session, Depends(reading_session, scope="function")]


# Dependencies are coroutines: a plain function would be run in a thread, which takes longer than all that it does.
async def async_database(request: Request) -> AsyncDatabase:
    return cast(AsyncDatabase, request.scope.get("database") or request.app.state.database)


async def turn_to_hash(request: Request) -> AsyncIterator[None]:
    """Hold back all but a few requests that hash passwords; who waits has neither a thread nor a connection."""
    async with request.app.state.hashing:
        yield


# In the `dependencies` of a route, which are solved before its parameters, so before anything asks the database.
HASHES_PASSWORDS = Depends(turn_to_hash, scope="function")
AsyncDb = Annotated[AsyncDatabase, Depends(async_database)]


async def who_claims(
    request: Request,
    _token: Annotated[object, Depends(student_token)],
    _key: Annotated[object, Depends(service_key)],
) -> Claim:
    """Return whom the request says it comes from; the first statement of its route looks the caller up."""
    return claim_of(request)


def claim_of(request: Request) -> Claim:
    """Return the same, without FastAPI."""
    claim: Claim | None = request.scope.get("claim")
    if claim is None:
        request.scope["claim"] = claim = _claim(bearer_of(request))
        count_request(request, claim)
    return claim


def count_request(request: Request, claim: Claim, n: int = 1) -> None:
    """Count it, or the n that it stands for, for the student, by the API or a page, or for the key. Raises
    TooManyTries."""
    given, of_student = settings(), claim.student is not None
    most = given.requests_per_student if of_student else given.requests_per_key
    n = min(n, max(most - 1, 1))  # of a batch that is larger than the budget; it has been counted once before
    if wait := request.app.state.budget.take(claim.student or claim.key_hash, most, n):
        seconds, whose = ceil(wait), "account" if of_student else "key"
        raise TooManyTries(
            f"Too many requests of this {whose}: {most:,} a minute are accepted; try again in {seconds} s.", seconds
        )


def bearer_of(request: Request) -> str:
    """Return what follows `Bearer` in the Authorization header; empty where it says something else."""
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""


def _claim(secret: str) -> Claim:
    if not secret:
        raise NotSignedIn
    if secret.startswith(accounts.KEY_PREFIX):
        return accounts.claim_by_key(secret)
    claim = claim_by_token(secret)
    if claim is None:
        raise NotSignedIn("The token is not valid or has expired: sign in again with POST /auth/token.")
    return claim


# The two hot routes call these; FastAPI takes 20 microseconds for each dependency that it solves.
async def serving_models(request: Request) -> ServingModels:
    return cast(ServingModels, request.app.state.serving)


async def trainer_of(request: Request) -> Trainer:
    return cast(Trainer, request.app.state.trainer)


Serving = Annotated[ServingModels, Depends(serving_models)]
TheTrainer = Annotated[Trainer, Depends(trainer_of)]
Claimed = Annotated[Claim, Depends(who_claims)]
# In the document, for routes that ask `claim_of` themselves.
BY_TOKEN_OR_KEY: dict[str, Any] = {"security": [{student_token.scheme_name: []}, {service_key.scheme_name: []}]}


async def who_calls(database: AsyncDb, claim: Claimed) -> Caller:
    """Look the caller up, at each request: a deleted account or a revoked key is out at once."""
    return await run_async(accounts.caller(claim), database)


def student_named(user_id: UUID | None, name: str | None, caller: Claim | Caller, yours: str) -> UUID:
    """Return the student whom a request is about: oneself, or the one whom a service key names, by id or by a text."""
    given = "user_id" if user_id else "student"
    if caller.student is None:
        named = student_id(name, caller.school) if name else user_id
        if named is None:
            raise NotAccepted(
                "student: a service key has to name the student, by this, any text, or by user_id, a UUID."
            )
        if user_id not in (None, named):
            raise NotAccepted(f"student: this text means {named}, and user_id is another; leave one of them out.")
        return named
    if user_id or name:
        raise NotAccepted(f"{given}: only a service key may name a student; leave it out, {yours}.")
    return caller.student


class OnceForCaller(Once):
    """A route whose callers are known: each has keys of their own."""

    def caller_of(self, request: Request) -> str:
        claim = claim_of(request)
        return str(claim.student) if claim.key_hash is None else claim.key_hash.hex()

    async def let_in(self, request: Request) -> None:
        await who_calls(await async_database(request), claim_of(request))


ById = Annotated[UUID | None, Query(description=USER_ID)]
ByText = Annotated[StudentText | None, Query(description=STUDENT)]


async def student_asked_about(
    claim: Claimed,
    caller: Annotated[Caller, Depends(who_calls)],
    database: AsyncDb,
    user_id: ById = None,
    student: ByText = None,
) -> UUID:
    """Return the student whom a request is about; a key is told of nobody for whom it may not record."""
    named = student_named(user_id, student, caller, "it is about you")
    await run_async(accounts.may_record(claim, named), database)
    return named


AboutStudent = Annotated[UUID, Depends(student_asked_about)]


class CallerFirst(OnceForCaller):
    """A route that first refuses who is not let in, whatever is wrong with what they ask."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()

        async def caller_first(request: Request) -> Response:
            claim = claim_of(request)
            try:
                return await answer(request)
            except (RequestValidationError, NotAccepted):
                await who_calls(await async_database(request), claim)
                raise

        return caller_first


SignedIn = Annotated[Caller, Depends(who_calls)]


async def only_admins(caller: SignedIn) -> Caller:
    """Keep students and service keys out; `smartstudy admin create EMAIL` makes an admin."""
    if not caller.is_admin:
        raise NotAllowed
    return caller


Admin = Annotated[Caller, Depends(only_admins)]


async def only_admins_and_keys(caller: SignedIn) -> Caller:
    """Keep students out."""
    if not caller.is_admin and (caller.key is None or caller.school):
        raise NotAllowed("Only an admin or a service key that sees all students may do this.")
    return caller


AdminOrKey = Annotated[Caller, Depends(only_admins_and_keys)]


def address_of(connection: HTTPConnection) -> str:
    """Return where the request came from; behind a proxy FORWARDED_ALLOW_IPS makes it the client's address."""
    return connection.client.host if connection.client else ""


async def who_acts(request: Request, caller: SignedIn) -> Actor:
    """Return the caller as the audit names them."""
    name = caller.email if caller.key is None else "service key"
    return Actor(name, caller.student or caller.key, request.scope.get("request_id"), address_of(request))


Acting = Annotated[Actor, Depends(who_acts)]
