"""Commands for tasks and students, and backups of all of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from app.cli.progress_view import progress_bar
from app.cli.shared import SHOW_AFTER_SECONDS, File, SkipBad, audited, console, end_on_sigterm, explained, usable_engine
from app.domain.actors import COMMAND_LINE

if TYPE_CHECKING:
    from app.domain.interactions import Interaction, Interactions


app = typer.Typer(rich_markup_mode="markdown")


@app.command("import")
def import_file(file: File, skip_bad: SkipBad = False) -> None:
    """Import finished tasks from a CSV file, all or nothing.

    Columns: student_id, item_id, topic, difficulty, correct, time_seconds, timestamp (UTC epoch seconds); more are
    ignored; `.gz` is unzipped. Student ids that are no UUIDs become stable ones. A column `difficulty` that is empty
    throughout counts as medium, an empty `timestamp` as one task after another. Importing the same file again changes
    nothing. A row that can't be used is named by its line, and nothing is imported.
    """
    from app.core.database import new_session
    from app.crud import imports
    from app.domain.interactions import Interactions, opened

    usable_engine()
    with explained(), opened(file) as (text, raw), new_session().begin() as db, progress_bar() as progress:
        shown = progress.add_task(f"Reading {file.name}", total=file.stat().st_size, detail="")
        interactions = Interactions(text, skip_bad)

        def say(read: int, step: str) -> None:
            progress.update(shown, description=step, completed=raw.tell(), detail=f"{read:,} rows")

        watched = _Watched(interactions, say, f"Reading {file.name}")
        added = imports.add(db, watched)
    console.print(f"Imported {added:,} tasks; {watched.read - added:,} were there already.")
    if interactions.bad:
        console.print(f"Skipped {interactions.bad:,} rows that can't be used, the first: {interactions.first_bad}")


@app.command()
def sample() -> None:
    """Load made-up students into an empty installation, to look around with: 40 who did 30 tasks each.

    The running service trains on them when it sees them, within seconds; `smartstudy train` does it now.
    """
    from app.core.database import new_session
    from app.ml.evaluation import sample as made_up

    usable_engine()
    with explained(), new_session().begin() as db:
        added = made_up.load(db)
    console.print(f"Loaded {added:,} tasks of {made_up.STUDENTS} made-up students.")


@app.command()
def erase(
    student: Annotated[str, typer.Argument(help="The student's id, as service keys or an imported file name them.")],
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Erase all that is stored about a student, and their account if they have one. It can't be undone.

    Tasks, totals and what was worked out from them go at once; the next training begins anew without them.
    """
    from app.cli import erasing_view
    from app.core.database import new_session
    from app.crud import erasures
    from app.domain.interactions import student_uuid
    from app.privacy.erasure import erase as erase_all

    student_id = UUID(bytes=student_uuid(student))
    usable_engine()
    with explained():
        with new_session().begin() as db:
            found = erasures.find(db, student_id)
        if not found.anything:
            raise SystemExit(f"Nothing is stored about the student {student}.")
        if not yes:
            typer.confirm(erasing_view.question(student, found), abort=True)
        with new_session()() as db:
            erased = erase_all(db, student_id, COMMAND_LINE)
            said = erasing_view.done(student, erased, erasures.pending(db))
    console.print(said, highlight=False, markup=False, soft_wrap=True)


@app.command()
def backup(
    file: Annotated[
        Path, typer.Argument(dir_okay=False, show_default=False, help="Where to; it must not be there yet.")
    ],
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")] = False,
) -> None:
    """Write the database and the files of all models that are kept into one FILE, while the service goes on.

    Everything is of one moment, also in the middle of a training. FILE appears when it is whole and on the disk; only
    its owner can read it (0600), for it holds secrets: password hashes and, unless SECRET_KEY gives it, the key that
    tokens are signed with. `smartstudy restore FILE` is the way back.
    """
    from app.cli import backup_view

    usable_engine()
    end_on_sigterm()
    with explained(), _bytes_progress(f"Backing up to {file.name}") as (say, _):
        done = backup_view.back_up(file, force, say)
        audited("backed up", file)
        warnings = backup_view.warnings(file)
    console.print(done, soft_wrap=True, highlight=False, markup=False)
    for warning in warnings:
        console.print(warning, soft_wrap=True, highlight=False, markup=False, style="yellow")


@app.command()
def restore(
    file: File,
    replace: Annotated[
        bool, typer.Option("--replace", help="Even if the database holds something: it is lost.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Put a backup that `smartstudy backup` made into an empty database, all of it or nothing.

    The service must not run on it. FILE is checked to the last byte before anything is changed; a backup of an earlier
    SmartStudy is migrated, one of a later is refused. Model files go to MODEL_DIR, the key that tokens are signed with
    to DATA_DIR unless SECRET_KEY gives it. Restore only files that you trust: who can write one, can make themselves an
    admin in it.
    """
    from app.cli import backup_view

    end_on_sigterm()
    with explained(), _bytes_progress(f"Restoring {file.name}") as (say, pause):
        done = backup_view.restore(file, replace, yes, say, pause)
        audited("restored", file)
    console.print(done, soft_wrap=True, highlight=False, markup=False)


class _Watched:
    """Rows that say how many have been read."""

    def __init__(self, rows: "Interactions", say: Callable[[int, str], None], step: str) -> None:
        self._rows, self._say, self._step = rows, say, step
        self.read = 0

    def __iter__(self) -> "Iterator[Interaction]":
        self.read = 0
        for row in self._rows:
            self.read += 1
            if self.read % 5000 == 0:
                self._say(self.read, self._step)
            yield row
        self._say(self.read, "Storing")


@contextmanager
def _bytes_progress(what: str) -> Iterator[tuple[Callable[[int], None], Callable[[], None]]]:
    """To be told of bytes done, and to be stopped for a question; shown once it takes long enough to wonder."""
    from time import monotonic

    progress, started, done = progress_bar(), monotonic(), 0
    shown = progress.add_task(what, total=None, detail="")

    def say(more: int) -> None:
        nonlocal done
        done += more
        if not progress.live.is_started and monotonic() - started > SHOW_AFTER_SECONDS:
            progress.start()
        progress.update(shown, detail=f"{done / 1e6:,.0f} MB")

    def pause() -> None:
        if progress.live.is_started:  # else it would print an empty line
            progress.stop()

    try:
        yield say, pause
    finally:
        pause()
