"""`smartstudy key list`, in the terminal."""

import json
from datetime import datetime

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from app.crud.service_keys import Key

NOTHING = "There is no service key yet; `smartstudy key create NAME` makes one."


def table(found: list[Key]) -> Table:
    shown = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("name", "prefix", "created", "state"):
        shown.add_column(column, overflow="fold")
    for key in found:
        shown.add_row(escape(key.name), escape(key.prefix), moment(key.created_at), state(key))
    return shown


def as_json(found: list[Key]) -> str:
    items = [
        {
            "name": key.name,
            "prefix": key.prefix,
            "created_at": key.created_at.isoformat(),
            "revoked_at": key.revoked_at and key.revoked_at.isoformat(),
            "state": key.state,
        }
        for key in found
    ]
    return json.dumps({"items": items}, indent=2)


def state(key: Key) -> str:
    if key.revoked_at is None:
        return "in use"
    return f"{'ends at' if key.state == 'ends' else 'revoked'} {moment(key.revoked_at)}"


def moment(at: datetime) -> str:
    return at.astimezone().strftime("%Y-%m-%d %H:%M")
