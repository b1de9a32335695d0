"""What several commands share: arguments, the console, and how errors are told."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from app.domain.actors import COMMAND_LINE
from app.domain.kinds import KINDS

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from app.domain.attempts import Attempts


console = Console()
SHOW_AFTER_SECONDS = 2.0

File = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, show_default=False)]
KindName = Annotated[
    str | None,
    typer.Option(
        "--kind",
        help=f"{', '.join(KINDS)}; without it those that the setting KINDS names.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]
JsonFile = Annotated[Path | None, typer.Option("--json", dir_okay=False, help="Write the figures here too.")]
RowsFile = Annotated[
    Path | None,
    typer.Option(
        "--rows", dir_okay=False, help="Write a CSV with a row per prediction and what happened here; `.gz` is zipped."
    ),
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Skip rows that can't be used, and count them.")]


def audited(act: str, file: Path) -> None:
    from app.core.database import new_session
    from app.crud import audit

    with new_session().begin() as db:
        audit.record(db, COMMAND_LINE, act, file.name)


def usable_engine() -> "Engine":
    """The database, up and at the schema this code needs."""
    from app.core.database import engine
    from app.core.db import migrations

    with explained():
        made = engine()
        migrations.check(made)
        return made


@contextmanager
def explained() -> Iterator[None]:
    """What a person can mend is one line, not a traceback."""
    import csv

    import psycopg2
    from sqlalchemy.exc import DBAPIError

    from app.core.db.embedded_postgres import EmbeddedPostgresError
    from app.core.db.migrations import SchemaMismatch
    from app.core.db.outages import code_of, outage, reason
    from app.domain.errors import AppError

    try:
        yield
    except (DBAPIError, psycopg2.Error) as error:
        why = outage(error)
        if why is None and not isinstance(error, psycopg2.OperationalError):
            raise
        said = why.detail.split(".")[0] if why and code_of(error) else "The database does not answer"
        raise SystemExit(f"{said}: {reason(error)}") from None
    except (AppError, SchemaMismatch, EmbeddedPostgresError, ValueError, OSError, EOFError, csv.Error) as error:
        raise SystemExit(str(error)) from None


def check_outputs(file: Path, *outputs: Path | None) -> None:
    """Raises ValueError, before hours of work and not after, where an output has no folder or is the file to read."""
    for each in outputs:
        if each and not each.parent.is_dir():
            raise ValueError(f"There is no folder {each.parent} to write {each.name} to.")
        if each and each.exists() and each.samefile(file):
            raise ValueError(f"{each} is the file to read; write to another one.")


def write_json(file: Path | None, facts: Any) -> None:
    if file:
        file.write_text(json.dumps(facts, indent=2, allow_nan=False) + "\n")


def attempts_in(file: Path, skip_bad: bool) -> "Attempts":
    """The tasks of a CSV file in the common form."""
    from app.domain.interactions import Interactions, attempts_of, opened

    with opened(file) as (text, _):
        interactions = Interactions(text, skip_bad)
        data = attempts_of(interactions)
    if interactions.bad:
        console.print(f"Skipped {interactions.bad:,} rows that can't be used, the first: {interactions.first_bad}")
    return data


def end_on_sigterm() -> None:
    """By the front door, so that nothing half done is left lying about."""
    import signal

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
