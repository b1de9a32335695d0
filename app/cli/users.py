"""Commands for accounts: who has one, lost passwords, and who may not sign in any more."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import RenderableType
from rich.text import Text

from app.cli.lazily import lazily
from app.cli.shared import AsJson, in_transaction, to_json
from app.domain.actors import COMMAND_LINE

with lazily():
    from app.cli import tables
    from app.core import settings
    from app.core.http import public_address
    from app.crud import password_links, users
    from app.schemas import users as user_schemas

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

app = typer.Typer(rich_markup_mode="markdown")
user_app = typer.Typer(no_args_is_help=True, help="Accounts: who has one, lost passwords, who may sign in.")
app.add_typer(user_app, name="user")
Which = Annotated[
    str, typer.Argument(metavar="EMAIL", help="The address they sign in with, or the account's id.", show_default=False)
]


@user_app.command("list")
@in_transaction
def list_users(
    db: "Session",
    search: Annotated[str, typer.Option(help="Only those whose address or name holds this.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=2**31 - 1, help="How many, newest first.")] = 50,
    as_json: AsJson = False,
) -> RenderableType:
    """All accounts, newest first: since when, last signed in, finished tasks, whether an admin or disabled."""
    found = users.listed(db, search=search.replace("\x00", ""), limit=limit)
    if as_json:
        told = [user_schemas.UserOut.model_validate(each).model_dump(mode="json") for each in found]
        return to_json({"items": told})
    return tables.users(found) if found else "There is no such account."


@user_app.command("reset-password")
@in_transaction
def reset_password(db: "Session", which: Which) -> Text:
    """Print a link by which somebody sets a new password, once; hand it over yourself, for no mail is sent.

    It is good for 24 hours and ends the links made before. The old password holds until a new one is set; with that
    every browser and token of the account ends. PUBLIC_URL is what the link begins with.
    """
    token, _ = users.password_link(db, users.named(db, which), COMMAND_LINE)
    address = public_address.of_this_machine()
    remark = f"It works once, for {password_links.HOURS} hours: whoever has it can sign in as them."
    if not address:
        remark += " Put the address of the service before it; PUBLIC_URL does that by itself."
    elif not settings.settings().public_url:
        remark += " It leads to this machine only; set PUBLIC_URL to the address that others reach the service by."
    return Text(f"{address}{public_address.LINK}{token}").append(f"\n{remark}", style="dim")


@user_app.command("disable")
@in_transaction
def disable(db: "Session", which: Which) -> str:
    """Let an account sign in no more: browsers and tokens end at once, its data stays. Not the last admin's."""
    found = users.disable(db, users.named(db, which), COMMAND_LINE)
    return f"{found.email} is disabled: signed out everywhere, and can't sign in any more. Its data stays."


@user_app.command("enable")
@in_transaction
def enable(db: "Session", which: Which) -> str:
    """Let a disabled account sign in again, with the password it had."""
    return f"{users.enable(db, users.named(db, which), COMMAND_LINE).email} may sign in."
