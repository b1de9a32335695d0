"""`smartstudy admin create`: an account that may see and change who serves."""

import os
import secrets
import sys

import typer
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.orm import Session

from app.core.security import hash_password
from app.crud import accounts, audit
from app.domain.actors import COMMAND_LINE
from app.schemas.accounts import Email, Registration

PASSWORD = "ADMIN_PASSWORD"


def create(db: Session, email: str, name: str | None) -> str:
    """Make the account, or the one that is there, an admin's; what was done, in a sentence.

    Raises:
        ValueError: the address or the password is none that registration would take.
    """
    address = _checked_address(email)
    is_admin = accounts.is_admin(db, address)
    if is_admin:
        return f"{address} is an admin already."
    if is_admin is False:
        accounts.make_admin(db, address)
        audit.record(db, COMMAND_LINE, "admin created", address, account="had one before")
        return f"{address} had an account and is an admin now; its password stays as it was."
    password, told = _password()
    new = _checked(address, password, name)
    accounts.register(db, new.email, new.name, hash_password(new.password), is_admin=True)
    audit.record(db, COMMAND_LINE, "admin created", new.email, account="made")
    return f"{address} has an account now and is an admin.{told}"


def _password() -> tuple[str, str]:
    """From whoever sits there, else from the environment, else made; and what is to be said of it."""
    if _somebody_is_there():
        return typer.prompt("Password (8 characters or more)", hide_input=True, confirmation_prompt=True), ""
    if given := os.environ.get(PASSWORD):
        return given, f" The password is that of {PASSWORD}."
    made = secrets.token_urlsafe(16)
    return made, f" The password, shown this once: {made}"


def _somebody_is_there() -> bool:
    return sys.stdin.isatty()


def _checked_address(email: str) -> str:
    try:
        return TypeAdapter(Email).validate_python(email)
    except ValidationError as error:
        raise ValueError(_sentence("EMAIL", error)) from None


def _checked(email: str, password: str, name: str | None) -> Registration:
    try:
        return Registration(email=email, password=password, name=name)
    except ValidationError as error:
        raise ValueError(_sentence(str(error.errors()[0]["loc"][0]), error)) from None


def _sentence(field: str, error: ValidationError) -> str:
    return f"{field}: {error.errors()[0]['msg'].removeprefix('Value error, ')}"
