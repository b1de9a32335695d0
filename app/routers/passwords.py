"""A lost password: a link is mailed where that is set up, and by it a new password is set, once."""

from fastapi import APIRouter, BackgroundTasks, Request
from sqlalchemy.orm import Session

from app.core import mail, security
from app.core.addresses import plainest
from app.core.database import new_session
from app.core.http.public_address import LINK
from app.core.languages import Translator, chosen
from app.core.settings import settings
from app.core.time_zones import zone_of
from app.crud import accounts, known_places, password_links, person
from app.domain.errors import LinkGone, NoMail
from app.routers import limits
from app.routers.auth import can_be_stored, new_token
from app.routers.dependencies import HASHES_PASSWORDS, Db
from app.routers.once import Once
from app.schemas.accounts import Token
from app.schemas.problem import problems
from app.schemas.users import LostPassword, MailSent, NewPassword

router = APIRouter(prefix="/auth", tags=["Sign in"], route_class=Once)


@router.post("/forgot-password", status_code=202, responses=problems(400, 409, 413, 422, 429))
def forgot_password(lost: LostPassword, request: Request, db: Db, background: BackgroundTasks) -> MailSent:
    """Have a link mailed by which a new password is set: it works once, for 24 hours.

    The answer is the same whether or not there is such an account. A service that sends no mail (`SMTP_URL`) answers
    409: ask whoever runs it for a link.
    """
    ask_for_link(lost.email, request, db, background)
    return MailSent(message="If there is such an account, a mail with a link is on its way to it.")


@router.post("/reset-password", responses=problems(400, 410, 413, 422), dependencies=[HASHES_PASSWORDS])
def reset_password(new: NewPassword, request: Request, db: Db) -> Token:
    """Set a new password by a link, and sign in. Every browser and token of the account, and every link, ends."""
    return new_token(db, set_by_link(new.token, new.password, request, db).id)


def ask_for_link(address: str, request: Request, db: Session, background: BackgroundTasks) -> None:
    """Have a link mailed, after the answer, which takes no longer where there is such an account.

    Raises:
        NoMail: the service sends none.
        TooManyTries: for this account, or from here.
    """
    if not mail.is_sent():
        raise NoMail
    limits.count_forgotten(request, db, plainest(address))
    background.add_task(mail.in_turn, _mail_link, address, request.headers.get("accept-language", ""))


def set_by_link(token: str, password: str, request: Request, db: Session) -> password_links.Owner:
    """Store a new password; return whose it is. Raises LinkGone or WeakPassword."""
    owner = password_links.whose(db, token)
    if owner is None:
        raise LinkGone
    security.check_strength(password, owner.email, owner.name)
    db.commit()  # no connection is held while it is hashed
    if not password_links.use(db, token, security.hash_password(password)):
        raise LinkGone
    limits.forget_failures(request, db, owner.email)
    known_places.remember(db, owner.id, limits.places(request))
    return owner


def _mail_link(address: str, accept_language: str) -> None:
    """Send a link to the account of this address, if it may sign in; in the account's language."""
    email = plainest(address)
    with new_session().begin() as db:
        found = accounts.sign_in_data(db, address.strip().lower(), email) if can_be_stored(email) else None
        if found is None or accounts.is_disabled(db, found[0]):
            return
        account = person.account(db, found[0])
        token, expires_at = password_links.make(db, found[0])
    translator = Translator(chosen(account["language"], accept_language), zone_of(account["time_zone"]))
    said = translator("Somebody, probably you, asked for a new password for this address at SmartStudy. Set one here:")
    ends = translator(
        "The link works once, until %(when)s. If it was not you, do nothing: your password stays as it is.",
        when=translator.moment(expires_at),
    )
    mail.send(
        account["email"],
        translator("A new password for SmartStudy"),
        f"{said}\n\n{settings().public_url}{LINK}{token}\n\n{ends}\n",
    )
