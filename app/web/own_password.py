"""The account's own password, asked for once more before what a stolen session must not do."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fastapi import Request
from fastapi.responses import Response
from sqlalchemy.orm import Session

from app.crud.browser_sessions import Visitor
from app.domain.errors import NotSignedIn, TooManyTries
from app.routers.auth import who_signs_in
from app.web.sessions import translator_of
from app.web.signing_in import how_long


@dataclass(frozen=True, slots=True)
class Wrong:
    """Why it does not count, in words, and how to answer."""

    text: str
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)

    def on(self, answer: Response) -> Response:
        answer.headers.update(self.headers)
        return answer


def wrong_password(request: Request, db: Session, visitor: Visitor, given: str) -> Wrong | None:
    """None where it is right. Counted and limited as a sign-in is, so that nobody can try here what is slow there."""
    try:
        who_signs_in(visitor.email, given, request, db)
    except NotSignedIn:
        return Wrong(translator_of(request)("This is not your password."), 422)
    except TooManyTries as error:
        return Wrong(how_long(request, error), error.status, error.headers)
    return None
