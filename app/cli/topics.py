"""Commands for topics: what admins decide about them, from the command line."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import TypeAdapter
from rich.console import RenderableType

from app.cli.lazily import lazily
from app.cli.shared import AsJson, in_transaction, to_json
from app.domain.actors import COMMAND_LINE

with lazily():
    from app.cli import tables
    from app.crud import topics
    from app.domain import fields

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

app = typer.Typer(rich_markup_mode="markdown")
topic_app = typer.Typer(no_args_is_help=True, help="Topics: which are suggested to others, and what they are called.")
app.add_typer(topic_app, name="topic")
Name = Annotated[str, typer.Argument(metavar="TOPIC", help="As `smartstudy topic list` has it.", show_default=False)]


@topic_app.command("list")
@in_transaction
def list_topics(
    db: "Session",
    search: Annotated[str, typer.Option(help="Only those whose name holds this.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=2**31 - 1, help="How many.")] = 50,
    as_json: AsJson = False,
) -> RenderableType:
    """Topics that somebody has written, those with most students first, and what was decided of them."""
    found = topics.listed(db, search=_stored(search) if search else "", limit=limit)
    if as_json:
        return to_json({"items": [asdict(topic) for topic in found]})
    return tables.topics(found) if found else "There is no such topic."


@topic_app.command("rename")
@in_transaction
def rename(
    db: "Session", topic: Name, to: Annotated[str, typer.Argument(help="Its new name.", show_default=False)]
) -> str:
    """Call a topic something else, in everybody's tasks and exam plans."""
    new: str = TypeAdapter(fields.Text200).validate_python(to)
    return topics.rename(db, _stored(topic), new, COMMAND_LINE).message


@topic_app.command("merge")
@in_transaction
def merge(
    db: "Session",
    topic: Name,
    into: Annotated[str, typer.Argument(help="The topic it becomes part of.", show_default=False)],
) -> str:
    """Make a topic part of another one, for everybody; it can't be undone. The next training learns the merged one."""
    return topics.merge(db, _stored(topic), _stored(into), COMMAND_LINE).message


@topic_app.command("approve")
@in_transaction
def approve(db: "Session", topic: Name) -> str:
    """Let a topic be suggested to everybody, as soon as one student practises it."""
    return topics.approve(db, _stored(topic), COMMAND_LINE).message


@topic_app.command("hide")
@in_transaction
def hide(db: "Session", topic: Name) -> str:
    """Let a topic be suggested to nobody who does not practise it."""
    return topics.hide(db, _stored(topic), COMMAND_LINE).message


@topic_app.command("show")
@in_transaction
def show(db: "Session", topic: Name) -> str:
    """Forget what was decided: a topic is suggested if enough established students practise it."""
    return topics.show(db, _stored(topic), COMMAND_LINE).message


def _stored(name: str) -> str:
    """The name as topics are looked up; raises ValueError."""
    found: str = TypeAdapter(fields.StoredText).validate_python(name)
    return found
