"""Who sends this request, and from what connection it is answered."""

from typing import Annotated, cast

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, OAuth2PasswordBearer
from sqlalchemy.orm import Session

from app.core.database import AsyncDatabase, get_db
from app.core.security import student_of
from app.crud import accounts
from app.domain.errors import NotAllowed, NotSignedIn
from app.domain.tasks import Caller

student_token = OAuth2PasswordBearer("auth/token", scheme_name="Student", auto_error=False)
service_key = HTTPBearer(
    scheme_name="ServiceKey", description="A school's back end: `smartstudy key create NAME`", auto_error=False
)

Db = Annotated[Session, Depends(get_db, scope="function")]


def async_database(request: Request) -> AsyncDatabase:
    return cast(AsyncDatabase, request.app.state.database)


AsyncDb = Annotated[AsyncDatabase, Depends(async_database)]


async def who_calls(
    database: AsyncDb,
    _token: Annotated[str | None, Depends(student_token)],
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(service_key)],
) -> Caller:
    """The caller, looked up at each request: a deleted account or a revoked key is out at once."""
    if bearer is None:
        raise NotSignedIn
    secret = bearer.credentials
    if secret.startswith(accounts.KEY_PREFIX):
        async with database.acquire() as connection:
            found = await accounts.KEY.first(connection, key_hash=accounts.key_hash(secret))
        if found is None:
            raise NotSignedIn("This service key is not known, or it was revoked.")
        return Caller(key=found["id"])
    student = student_of(secret)
    if student is None:
        raise NotSignedIn("The token is not valid or has expired: sign in again with POST /auth/token.")
    async with database.acquire() as connection:
        found = await accounts.STUDENT.first(connection, id=student)
    if found is None:
        raise NotSignedIn("The account of this token is gone.")
    return Caller(student=student, email=found["email"], is_admin=found["is_admin"])


SignedIn = Annotated[Caller, Depends(who_calls)]


async def only_admins(caller: SignedIn) -> Caller:
    """Students and service keys are kept out; `smartstudy admin create EMAIL` makes an admin."""
    if not caller.is_admin:
        raise NotAllowed
    return caller


Admin = Annotated[Caller, Depends(only_admins)]
