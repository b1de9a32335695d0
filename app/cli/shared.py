"""What commands share: arguments, the console, how errors are told, and the database that most of them work on."""

import csv
import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec

import typer
from rich.console import Console, RenderableType

from app.cli.lazily import lazily
from app.domain.errors import AppError
from app.domain.kinds import KINDS

with lazily():
    from app.core import database
    from app.core.db import embedded_postgres, migrations, outages, preflight

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlalchemy.orm import Session

    from app.domain.interactions import Interactions

Parameters = ParamSpec("Parameters")
console = Console()


def _known_kind(name: str | None) -> str | None:
    if name is not None and name not in KINDS:
        raise typer.BadParameter(f"there is no kind {name!r}; there are {', '.join(KINDS)}")
    return name


File = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, show_default=False)]
KindName = Annotated[
    str | None,
    typer.Option(
        "--kind", callback=_known_kind, help=f"{', '.join(KINDS)}; without it those that the setting KINDS names."
    ),
]
NetworkName = Annotated[
    str | None,
    typer.Option(
        "--kind",
        callback=_known_kind,
        help="A network, such as embedding_v2; the one that predicted without it.",
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
Yes = Annotated[bool, typer.Option("--yes", help="Don't ask.")]


def say(*lines: RenderableType, style: str | None = None) -> None:
    """Print what a command has to say, each line as it is: nothing in it is markup, and none is broken."""
    console.print(*lines, sep="\n", style=style, highlight=False, markup=False, soft_wrap=True)


def to_json(found: Any) -> str:
    return json.dumps(found, indent=2, allow_nan=False)


@contextmanager
def explained() -> Iterator[None]:
    """Tells what a person can mend in one line, without a traceback."""
    try:
        yield
    except Exception as error:
        if (sentence := _sentence(error)) is None:
            raise
        raise SystemExit(sentence) from None


def _sentence(error: Exception) -> str | None:
    """What to say of an error; None where it is a fault of ours."""
    from asyncpg import PostgresError
    from psycopg2 import Error, OperationalError
    from pydantic import ValidationError
    from sqlalchemy.exc import DBAPIError

    if isinstance(error, DBAPIError | Error | PostgresError):
        why = outages.outage(error)
        if why is None and not isinstance(error, OperationalError | PostgresError):
            return None
        return f"{outages.meaning(error)}: {outages.reason(error)}"
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg'].removeprefix('Value error, ')}"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'A file'}: {error.strerror}."
    expected = (migrations.SchemaMismatch, preflight.UnfitSurroundings, embedded_postgres.EmbeddedPostgresError)
    return str(error) if isinstance(error, (AppError, ValueError, OSError, EOFError, csv.Error, *expected)) else None


def usable_engine() -> "Engine":
    """The database, up and at the schema this code needs."""
    engine = database.engine()
    migrations.check(engine)
    return engine


def in_transaction(
    work: "Callable[Concatenate[Session, Parameters], RenderableType]",
) -> Callable[Parameters, None]:
    """Make a command of work on the database: one transaction, and its result is said when that is committed."""

    @wraps(work)
    @explained()
    def command(*args: Parameters.args, **options: Parameters.kwargs) -> None:
        usable_engine()
        with database.new_session().begin() as db:
            result = work(db, *args, **options)
        say(result)

    session, *given = signature(work).parameters.values()  # Typer must not take the session for an argument
    command.__signature__ = signature(work).replace(parameters=given)  # type: ignore[attr-defined]
    command.__annotations__ = {name: of for name, of in work.__annotations__.items() if name != session.name}
    return command


def skipped(rows: "Interactions") -> str:
    return f"Skipped {rows.bad:,} rows that can't be used, the first: {rows.first_bad}"


def check_outputs(file: Path, *outputs: Path | None) -> None:
    """Raises ValueError, before hours of work and not after, where an output has no folder or is the file to read."""
    for each in outputs:
        if each and not each.parent.is_dir():
            raise ValueError(f"There is no folder {each.parent} to write {each.name} to.")
        if each and each.exists() and each.samefile(file):
            raise ValueError(f"{each} is the file to read; write to another one.")


def end_on_sigterm() -> None:
    """By the front door, so that nothing half done is left lying about."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
