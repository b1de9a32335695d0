"""Commands for service keys, admins and the audit log."""

from typing import Annotated

import typer

from app.cli.shared import AsJson, console, explained, usable_engine
from app.domain.actors import COMMAND_LINE

app = typer.Typer(rich_markup_mode="markdown")
keys = typer.Typer(no_args_is_help=True, help="Service keys: how a school's own back end calls.")
app.add_typer(keys, name="key")
admins = typer.Typer(no_args_is_help=True, help="Admins: who may see and change which model serves.")
app.add_typer(admins, name="admin")


@keys.command("create")
def create_key(name: Annotated[str, typer.Argument(help="Whose key it is, such as the school's name.")]) -> None:
    """Make a service key and print it, this once: only its hash is stored."""
    from app.core.database import new_session
    from app.crud import service_keys

    usable_engine()
    with explained(), new_session().begin() as db:
        key = service_keys.create(db, name, COMMAND_LINE)
    print(key)
    console.print("Keep it: it is not shown again. Send it as `Authorization: Bearer KEY`.", style="dim")


@keys.command("list")
def list_keys(as_json: AsJson = False) -> None:
    """All service keys, newest first: whose, how each begins, whether it is in use."""
    from app.cli import keys_view
    from app.core.database import new_session
    from app.crud import service_keys

    usable_engine()
    with explained(), new_session().begin() as db:
        found = service_keys.listed(db)
    if as_json:
        print(keys_view.as_json(found))
    else:
        console.print(keys_view.table(found) if found else keys_view.NOTHING)


@keys.command("rotate")
def rotate_key(
    name: Annotated[str, typer.Argument(help="The name of the key to replace.", show_default=False)],
    keep_old: Annotated[
        float, typer.Option(min=0, max=24 * 365, metavar="HOURS", help="How long the old one goes on; 0: ends at once.")
    ] = 24,
) -> None:
    """Make a new key of the same name and print it, this once; the old one goes on until everybody has the new one."""
    from app.core.database import new_session
    from app.crud import service_keys

    if keep_old != keep_old:
        raise typer.BadParameter("must be a number of hours", param_hint="--keep-old")
    usable_engine()
    with explained(), new_session().begin() as db:
        key = service_keys.rotate(db, name, keep_old, COMMAND_LINE)
    print(key)
    old = f"is valid for another {keep_old:g} h" if keep_old else "has ended"
    console.print(f"Keep it: it is not shown again. The old key {old}.", style="dim")


@keys.command("revoke")
def revoke_key(
    which: Annotated[
        str, typer.Argument(metavar="NAME_OR_PREFIX", help="See `smartstudy key list`.", show_default=False)
    ],
) -> None:
    """Let nobody in with a key any more, at once."""
    from app.core.database import new_session
    from app.crud import service_keys

    usable_engine()
    with explained(), new_session().begin() as db:
        said = service_keys.revoke(db, which, COMMAND_LINE)
    console.print(said, highlight=False, markup=False, soft_wrap=True)


@app.command()
def audit(
    limit: Annotated[int, typer.Option(min=1, max=2**31 - 1, help="How many, newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """What was done that only admins may do: when, by whom, to what."""
    from app.cli import audit_view
    from app.core.database import new_session
    from app.crud import audit as entries

    usable_engine()
    with explained(), new_session().begin() as db:
        found = entries.newest(db, limit)
    if as_json:
        print(audit_view.as_json(found))
    else:
        console.print(audit_view.table(found) if found else audit_view.NOTHING)


@admins.command("create")
def create_admin(
    email: Annotated[str, typer.Argument(help="The address to sign in with; nothing is sent there.")],
    name: Annotated[str | None, typer.Option(help="How to call the person, for a new account.")] = None,
) -> None:
    """Make somebody an admin.

    Who has an account keeps its password. For a new account the password is asked for; where nobody can be asked (no
    terminal) it is taken from ADMIN_PASSWORD, and without that one is made and printed, this once.
    """
    from app.cli import admin_accounts
    from app.core.database import new_session

    usable_engine()
    with explained(), new_session().begin() as db:
        said = admin_accounts.create(db, email, name)
    console.print(said, highlight=False, markup=False, soft_wrap=True)
