"""A lost password, by forms: a link is asked for, and by it a new password is set."""

from fastapi import BackgroundTasks, Request
from fastapi.responses import Response
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.orm import Session

from app.core import mail
from app.crud import password_links
from app.domain.errors import LinkGone, TooManyTries, WeakPassword
from app.routers.dependencies import HASHES_PASSWORDS, Db
from app.routers.passwords import ask_for_link, set_by_link
from app.schemas.accounts import Password
from app.web.pages import go_to, render
from app.web.sessions import FormText, let_in, page_router, translator_of
from app.web.signing_in import how_long, too_weak

router = page_router()
PASSWORD: TypeAdapter[str] = TypeAdapter(Password)


@router.get("/forgot-password")
def forgot_page(request: Request, sent: str = "") -> Response:
    """Ask for the address, or say whom to ask where no mail is sent."""
    return _forgot(request, sent=bool(sent))


def _forgot(request: Request, status: int = 200, sent: bool = False, wrong: str | None = None) -> Response:
    return render(request, "forgot_password.html", status, is_sent=mail.is_sent(), sent=sent, wrong=wrong)


@router.post("/forgot-password")
def forgot(request: Request, db: Db, background: BackgroundTasks, email: FormText = "") -> Response:
    """Have a link mailed; what is said is the same whether or not there is such an account."""
    if not mail.is_sent():
        return _forgot(request, 409)
    try:
        ask_for_link(email, request, db, background)
    except TooManyTries as error:
        answer = _forgot(request, error.status, wrong=how_long(request, error))
        answer.headers.update(error.headers)
        return answer
    return go_to(request, "/forgot-password", sent=1)


@router.get("/new-password")
def new_password_page(request: Request, db: Db, link: str = "") -> Response:
    """Ask for the new password. To look at the page uses nothing up, for programs that read mail do so too."""
    return _page(request, db, link)


def _page(request: Request, db: Session, link: str, status: int = 200, wrong: str | None = None) -> Response:
    owner = password_links.whose(db, link)
    answer = render(
        request, "new_password.html", status if owner else LinkGone.status, link=link, owner=owner, wrong=wrong
    )
    answer.headers["Referrer-Policy"] = "strict-origin"  # what it asks for must not tell its address, which is the link
    return answer


@router.post("/new-password", dependencies=[HASHES_PASSWORDS])
def new_password(request: Request, db: Db, link: FormText = "", password: FormText = "") -> Response:
    """Set it, and sign this browser in."""
    try:
        owner = set_by_link(link, PASSWORD.validate_python(password), request, db)
    except ValidationError:
        return _page(request, db, link, 422, translator_of(request)("A password has 8 to 200 characters."))
    except WeakPassword as error:
        return _page(request, db, link, error.status, too_weak(request))
    except LinkGone:
        return _page(request, db, link)
    answer = go_to(request, "/dashboard/settings", done="reset")
    let_in(request, db, answer, owner.id)
    return answer
