"""`smartstudy audit`, in the terminal."""

import json

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from app.crud.audit import Entry
from app.schemas.audit import AuditEntryOut

NOTHING = "Nothing that only admins may do has been done yet."


def table(found: list[Entry]) -> Table:
    """Newest first."""
    shown = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("at", "who", "what", "to what", "from"):
        shown.add_column(column, overflow="fold")
    for entry in found:
        at = entry.at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        shown.add_row(at, *map(escape, (entry.actor, entry.act, entry.subject or "-", entry.address or "-")))
    return shown


def as_json(found: list[Entry]) -> str:
    items = [AuditEntryOut.model_validate(entry).model_dump(mode="json") for entry in found]
    return json.dumps({"items": items}, indent=2)
