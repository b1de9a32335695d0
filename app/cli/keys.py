"""Commands for service keys, admins and the audit log."""

import os
import secrets
import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import RenderableType
from rich.text import Text

from app.cli.lazily import lazily
from app.cli.shared import AsJson, in_transaction, to_json
from app.domain.actors import COMMAND_LINE

with lazily():
    from app.cli import tables
    from app.core import security
    from app.crud import accounts, audit, service_keys
    from app.schemas import accounts as account_schemas
    from app.schemas import audit as audit_schemas

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

PASSWORD = "ADMIN_PASSWORD"
app = typer.Typer(rich_markup_mode="markdown")
keys = typer.Typer(no_args_is_help=True, help="Service keys: how a school's own back end calls.")
app.add_typer(keys, name="key")
admins = typer.Typer(no_args_is_help=True, help="Admins: who may see and change which model serves.")
app.add_typer(admins, name="admin")


@keys.command("create")
@in_transaction
def create_key(
    db: "Session",
    name: Annotated[str, typer.Argument(help="Whose key it is, such as the school's name.")],
    own_students: Annotated[
        bool, typer.Option("--own-students", help="It sees those students only whom keys of this name brought.")
    ] = False,
) -> Text:
    """Make a service key and print it, this once: only its hash is stored.

    It sees and names every student, unless `--own-students` limits it: then schools that share an installation see
    nothing of each other. A later key of the same name goes on with the same students.
    """
    key = service_keys.create(db, name, COMMAND_LINE, own_students=own_students)
    whom = "It sees its own students only." if own_students else "It sees all students."
    return _shown_once(key, f"Send it as `Authorization: Bearer KEY`. {whom}")


@keys.command("list")
@in_transaction
def list_keys(db: "Session", as_json: AsJson = False) -> RenderableType:
    """All service keys, newest first: whose, how each begins, whether it is in use."""
    found = service_keys.listed(db)
    if as_json:
        return to_json({"items": [_as_dict(key) for key in found]})
    return tables.keys(found) if found else "There is no service key yet; `smartstudy key create NAME` makes one."


def _as_dict(key: "service_keys.Key") -> dict[str, str | bool | None]:
    return {
        "name": key.name,
        "prefix": key.prefix,
        "created_at": key.created_at.isoformat(),
        "revoked_at": key.revoked_at.isoformat() if key.revoked_at else None,
        "state": key.state,
        "own_students": key.own_students,
    }


@keys.command("rotate")
@in_transaction
def rotate_key(
    db: "Session",
    name: Annotated[str, typer.Argument(help="The name of the key to replace.", show_default=False)],
    keep_old: Annotated[
        float, typer.Option(min=0, max=24 * 365, metavar="HOURS", help="How long the old one goes on; 0: ends at once.")
    ] = 24,
) -> Text:
    """Make a new key of the same name and print it, this once; the old one goes on until everybody has the new one."""
    if keep_old != keep_old:
        raise typer.BadParameter("must be a number of hours", param_hint="--keep-old")
    key = service_keys.rotate(db, name, keep_old, COMMAND_LINE)
    return _shown_once(key, f"The old key {f'is valid for another {keep_old:g} h' if keep_old else 'has ended'}.")


def _shown_once(key: str, remark: str) -> Text:
    return Text(key).append(f"\nKeep it: it is not shown again. {remark}", style="dim")


@keys.command("revoke")
@in_transaction
def revoke_key(
    db: "Session",
    which: Annotated[
        str, typer.Argument(metavar="NAME_OR_PREFIX", help="See `smartstudy key list`.", show_default=False)
    ],
) -> str:
    """Let nobody in with a key any more, at once."""
    return service_keys.revoke(db, which, COMMAND_LINE)


@app.command("audit")
@in_transaction
def list_audit(
    db: "Session",
    limit: Annotated[int, typer.Option(min=1, max=2**31 - 1, help="How many, newest first.")] = 50,
    as_json: AsJson = False,
) -> RenderableType:
    """What was done that only admins may do: when, by whom, to what."""
    found = audit.newest(db, limit)
    if as_json:
        items = [audit_schemas.AuditEntryOut.model_validate(entry).model_dump(mode="json") for entry in found]
        return to_json({"items": items})
    return tables.audit(found) if found else "Nothing that only admins may do has been done yet."


@admins.command("create")
@in_transaction
def create_admin(
    db: "Session",
    email: Annotated[str, typer.Argument(help="The address to sign in with; nothing is sent there.")],
    name: Annotated[str | None, typer.Option(help="How to call the person, for a new account.")] = None,
) -> str:
    """Make somebody an admin.

    Who has an account keeps its password. For a new account the password is asked for; where nobody can be asked (no
    terminal) it is taken from ADMIN_PASSWORD, and without that one is made and printed, this once.
    """
    made = secrets.token_urlsafe(16)
    address = account_schemas.Registration(email=email, password=made, name=name).email
    is_admin = accounts.is_admin(db, address)
    if is_admin:
        return f"{address} is an admin already."
    if is_admin is False:
        accounts.make_admin(db, address)
        audit.record(db, COMMAND_LINE, "admin created", address, account="had one before")
        return f"{address} had an account and is an admin now; its password stays as it was."
    password, remark = _password(made)
    new = account_schemas.Registration(email=address, password=password, name=name)
    security.check_strength(new.password, new.email, new.name)
    accounts.register(db, new.email, new.name, security.hash_password(new.password), is_admin=True)
    audit.record(db, COMMAND_LINE, "admin created", new.email, account="made")
    return f"{address} has an account now and is an admin.{remark}"


def _password(made: str) -> tuple[str, str]:
    """The password of a new admin and what to say of it: typed, else from the environment, else the one made."""
    if _is_terminal():
        return typer.prompt("Password (8 characters or more)", hide_input=True, confirmation_prompt=True), ""
    if given := os.environ.get(PASSWORD):
        return given, f" The password is that of {PASSWORD}."
    return made, f" The password, shown this once: {made}"


def _is_terminal() -> bool:
    return sys.stdin.isatty()
