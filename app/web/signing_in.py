"""Signing in and out, and registering, by forms."""

from fastapi import Request
from fastapi.responses import Response
from pydantic import ValidationError

from app.domain.errors import AccountDisabled, AppError, EmailTaken, LooksTaken, NotSignedIn, TooManyTries, WeakPassword
from app.routers.auth import made_account, who_signs_in
from app.routers.dependencies import HASHES_PASSWORDS, Db
from app.schemas.accounts import Registration
from app.web import names
from app.web.pages import go_to, render
from app.web.sessions import Anybody, FormText, let_in, let_out, local_path, page_router, translator_of

router = page_router()
DASHBOARD = "/dashboard"


@router.get("/sign-in")
def sign_in_page(request: Request, found: Anybody, next: str = "") -> Response:
    if found:
        return go_to(request, local_path(next, DASHBOARD))
    return render(request, "sign_in.html", next=next, email="", wrong=None)


@router.post("/sign-in", dependencies=[HASHES_PASSWORDS])
def sign_in(request: Request, db: Db, email: FormText = "", password: FormText = "", next: FormText = "") -> Response:
    try:
        user_id = who_signs_in(email, password, request, db)
    except NotSignedIn as error:
        return _sign_in_again(
            request, error, translator_of(request)("The e-mail address or the password is wrong."), email, next
        )
    except TooManyTries as error:
        return _sign_in_again(request, error, how_long(request, error), email, next)
    except AccountDisabled as error:
        translator = translator_of(request)
        disabled = translator("This account is disabled. Ask whoever runs this service.")
        return _sign_in_again(request, error, disabled, email, next)
    answer = go_to(request, local_path(next, DASHBOARD))
    let_in(request, db, answer, user_id)
    return answer


def too_weak(request: Request) -> str:
    translator = translator_of(request)
    return translator(
        "This password would soon be guessed. Use a longer one, such as a few words, without your name or address."
    )


def how_long(request: Request, error: TooManyTries) -> str:
    seconds = float(error.headers["Retry-After"])
    translator = translator_of(request)
    return translator("Too many attempts. Try again in %(time)s.", time=translator.seconds(seconds))


def _sign_in_again(request: Request, error: AppError, wrong: str, email: str, next: str) -> Response:
    answer = render(request, "sign_in.html", error.status, next=next, email=email, wrong=wrong)
    if "Retry-After" in error.headers:
        answer.headers["Retry-After"] = error.headers["Retry-After"]
    return answer


@router.post("/sign-out")
def sign_out(request: Request, db: Db) -> Response:
    answer = go_to(request, "/")
    let_out(request, db, answer)
    return answer


@router.get("/register")
def register_page(request: Request, found: Anybody, loaded: str = "") -> Response:
    if found:
        return go_to(request, DASHBOARD)
    return render(request, "register.html", given={}, wrong={}, loaded=bool(loaded))


@router.post("/register", dependencies=[HASHES_PASSWORDS])
def register(request: Request, db: Db, email: FormText = "", password: FormText = "", name: FormText = "") -> Response:
    given = {"email": email, "name": name}
    try:
        new = Registration.model_validate({"email": email, "password": password, "name": name.strip() or None})
        account = made_account(new, request, db)
    except ValidationError as error:
        return _register_again(request, 422, given, wrong_fields(request, error))
    except WeakPassword as error:
        return _register_again(request, error.status, given, {"password": too_weak(request)})
    except LooksTaken as error:
        translator = translator_of(request)
        looks = translator("This address looks like that of another account. Please use another one.")
        return _register_again(request, error.status, given, {"email": looks})
    except EmailTaken as error:
        taken = translator_of(request)("Somebody has registered with this address. Is it you? Then sign in.")
        return _register_again(request, error.status, given, {"email": taken})
    except TooManyTries as error:
        return _register_again(request, error.status, given, {"": how_long(request, error)})
    answer = go_to(request, DASHBOARD)
    let_in(request, db, answer, account.id)
    return answer


def _register_again(request: Request, status: int, given: dict[str, str], wrong: dict[str, str]) -> Response:
    return render(request, "register.html", status, given=given, wrong=wrong, loaded=False)


def wrong_fields(request: Request, error: ValidationError) -> dict[str, str]:
    """Say what is wrong, by field, in the visitor's language."""
    translator = translator_of(request)
    said = {
        "email": translator("Please write an e-mail address, such as ada@example.com."),
        "password": translator("A password has 8 to 200 characters."),
        "name": translator("A name has at most 200 characters."),
    }
    return names.wrong_fields(translator, error, said)
