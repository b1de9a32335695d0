"""Commands for tasks and students, and backups of all of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from app.cli.lazily import lazily
from app.cli.progress import bytes_progress, progress_bar
from app.cli.shared import File, SkipBad, Yes, end_on_sigterm, explained, in_transaction, say, skipped, usable_engine
from app.domain.actors import COMMAND_LINE

with lazily():
    from app.backup import archive, create, restore
    from app.core import database, settings
    from app.crud import attempts, audit, demonstration, erasures, imports, service_keys, spellings
    from app.domain import characters, file_check, interactions
    from app.domain import spellings as domain_spellings
    from app.ml.evaluation import sample
    from app.ml.serving import version_store
    from app.privacy import erasure

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from app.backup.manifest import Manifest

app = typer.Typer(rich_markup_mode="markdown")
Key = Annotated[
    str | None, typer.Option(metavar="NAME", help="The students of this service key, where it sees its own only.")
]
ROWS_AT_ONCE = 5_000  # between two looks at how far an import has come


@app.command("import")
@explained()
def import_file(
    file: File,
    skip_bad: SkipBad = False,
    check: Annotated[
        bool, typer.Option("--check", help="Only say what FILE holds and what is wrong with it; store nothing.")
    ] = False,
    key: Key = None,
) -> None:
    """Import finished tasks from a CSV file, all or nothing.

    Columns: student_id, item_id, topic, difficulty, correct, time_seconds, timestamp (UTC epoch seconds); more are
    ignored; `.gz` is unzipped. Student ids that are no UUIDs become stable ones (`smartstudy student-id`). A column
    `difficulty` that is empty throughout counts as medium, an empty `timestamp` as one task after another. Topics and
    items are one however capitalised, and called as they are known here. Importing the same file again changes
    nothing. A row that can't be used is named by its line, and nothing is imported.

    `--check` needs no database. It tells rows, students, topics and dates, and what is suspicious: times that seem to
    be milliseconds or minutes, answers that are all right or all wrong, columns named twice, rows that repeat another
    or are blank, ids that a spreadsheet has shortened. Its exit code is 1 where the import would refuse the file.
    """
    if check:
        _check(file, skip_bad)
    else:
        _import(file, skip_bad, key)


@in_transaction
def _import(db: "Session", file: Path, skip_bad: bool, key: str | None) -> str:
    school = service_keys.school_of(db, key) if key is not None else None
    with _reading(file, skip_bad, "Storing", spellings.every(db), school) as watched:
        added = imports.add(db, watched, school)
    remark = f"\n{skipped(watched.rows)}" if watched.rows.bad else ""
    return f"Imported {added:,} tasks; {watched.read - added:,} were there already.{remark}"


def _check(file: Path, skip_bad: bool) -> None:
    with _reading(file, True, "Summing up", domain_spellings.Spellings()) as watched:
        found = file_check.FileCheck(watched.rows)
        for row in watched:
            found.add(row)
    say(*found.told())
    for remark in (*found.remarks(), *(refused := found.refused())):
        say(remark, style="yellow")
    accepted = not refused or (skip_bad and watched.read > 0)
    say("Nothing was stored." if accepted else "Nothing was stored; an import would refuse this file.")
    if not accepted:
        raise typer.Exit(1)


@contextmanager
def _reading(
    file: Path, skip_bad: bool, then: str, spelt: "domain_spellings.Spellings", school: UUID | None = None
) -> "Iterator[_Watched]":
    with interactions.opened(file) as (text, raw), progress_bar() as progress:
        is_pipe = not raw.seekable()
        bar = progress.add_task(f"Reading {file.name}", total=None if is_pipe else file.stat().st_size, detail="")

        def show(read: int, step: str) -> None:
            done = None if is_pipe else raw.tell()
            progress.update(bar, description=step, completed=done, detail=f"{read:,} rows")

        yield _Watched(
            interactions.Interactions(text, skip_bad, spellings=spelt, school=school),
            show,
            f"Reading {file.name}",
            then,
        )


class _Watched:
    """Rows that say how many have been read."""

    def __init__(
        self, rows: "interactions.Interactions", show: Callable[[int, str], None], step: str, then: str
    ) -> None:
        self.rows, self._show, self._step, self._then = rows, show, step, then
        self.read = 0

    def __iter__(self) -> "Iterator[interactions.Interaction]":
        self.read = 0
        for row in self.rows:
            self.read += 1
            if self.read % ROWS_AT_ONCE == 0:
                self._show(self.read, self._step)
            yield row
        self._show(self.read, self._then)


@app.command("student-id")
@explained()
def print_student_id(
    text: Annotated[str, typer.Argument(help="A student as a school calls them, 1 to 200 characters.")],
    key: Key = None,
) -> None:
    """Print the UUID of a student whom a service key or an import names by any text of its own.

    A UUID is itself. Other text makes a UUIDv5 of `student`, the character U+001F and the text, without spaces around
    it and in NFC; the namespace is 8f6f2c1e-9d0b-5c6e-a3b7-51a7d5708c11, or the school's where `--key` names a key
    that sees its own students only.
    """
    named = characters.checked(text.strip())
    if not 1 <= len(named) <= 200:
        raise ValueError(f"A student's text has 1 to 200 characters; this one has {len(named)}.")
    school = None
    if key is not None:
        usable_engine()
        with database.new_session()() as db:
            school = service_keys.school_of(db, key)
    say(str(interactions.student_id(named, school)))


@app.command("sample")
@explained()
def sample_students(
    remove: Annotated[
        bool,
        typer.Option("--remove", help="Take all made-up students away again, those of the guided run and its key too."),
    ] = False,
    yes: Yes = False,
) -> None:
    """Load made-up students into an empty installation, to look around with: 40 who did 30 tasks each.

    They lead no suggestion of real students. The running service trains on them when it sees them, within seconds;
    `smartstudy train` does it now. `--remove` takes them away, with their tasks and all that was worked out from them;
    what real students did stays.
    """
    if remove:
        _remove_sample(yes)
    else:
        _load_sample()


@in_transaction
def _load_sample(db: "Session") -> str:
    return f"Loaded {sample.load(db):,} tasks of {sample.STUDENTS} made-up students."


def _remove_sample(yes: bool) -> None:
    usable_engine()
    with database.new_session().begin() as db:
        found = demonstration.found(db)
    if found is None:
        raise SystemExit("There are no made-up students.")
    if not yes:
        typer.confirm(f"Remove {found.students:,} made-up students with {_tasks(found.tasks)}?", abort=True)
    with database.new_session()() as db:
        erasure.remove_demonstration(db, COMMAND_LINE)
        pending, remain = erasures.pending(db), attempts.count(db)
    done = f"Removed {found.students:,} made-up students with {_tasks(found.tasks)}; {_tasks(remain)} that real ones"
    done += " finished stay."
    if pending:
        done += " The models in service know them until the next training: `smartstudy train` does it now."
    else:
        done += " No model in service knows them."
    say(done)


@app.command()
@explained()
def erase(
    student: Annotated[str, typer.Argument(help="The student's id, as service keys or an imported file name them.")],
    yes: Yes = False,
) -> None:
    """Erase all that is stored about a student, and their account if they have one. It can't be undone.

    Tasks, totals and what was worked out from them go at once; the next training begins anew without them.
    """
    student_id = UUID(bytes=interactions.student_uuid(student))
    usable_engine()
    with database.new_session().begin() as db:
        found = erasures.find(db, student_id)
    if not found.anything:
        raise SystemExit(f"Nothing is stored about the student {student}.")
    if not yes:
        account = f" and the account {found.email}" if found.email else ""
        question = f"Erase {_tasks(found.tasks)} of the student {student}{account}? It can't be undone"
        typer.confirm(question, abort=True)
    with database.new_session()() as db:
        erased = erasure.erase(db, student_id, COMMAND_LINE)
        pending = erasures.pending(db)
    account = ", and the account" if erased.account else ""
    done = f"Erased {_tasks(erased.tasks)} ({erased.completed:,} completed) of the student {student}, with all that"
    done += f" was worked out from them{account}."
    if pending:
        done += " The models in service learn of it in the next training: `smartstudy train` does it now."
    elif erased.folders:
        done += " Too few finished tasks remain to train on: LNIRT fitted to those answers."
    say(done)


def _tasks(n: int) -> str:
    return f"{n:,} task" if n == 1 else f"{n:,} tasks"


@app.command("backup")
@explained()
def write_backup(
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
    engine = usable_engine()
    end_on_sigterm()
    secret = _secret_file()
    key = secret.read_bytes() if secret and secret.exists() else None
    with bytes_progress(f"Backing up to {file.name}") as (show, _):
        manifest = create.create(engine, version_store.version_store(), key, file, show, force)
        _record("backed up", file)
        with archive.checked(file, lambda _: None):
            pass  # read back: what exits with 0 can be restored
    say(f"Backed up {_contents(manifest)} to {file} ({file.stat().st_size / 1e6:,.1f} MB).")
    kept_key = "the key that tokens are signed with and " if manifest.secret else ""
    warnings = [f"It holds {kept_key}the hashes of passwords and service keys: keep it as safe as the database itself."]
    if manifest.left_out:
        named = ", ".join(manifest.left_out)
        warnings.append(
            f"Left out, for their files are missing or damaged: {named}. The models in service may be affected."
        )
    say(*warnings, style="yellow")


@app.command("restore")
@explained()
def restore_backup(
    file: File,
    replace: Annotated[
        bool, typer.Option("--replace", help="Even if the database holds something: it is lost.")
    ] = False,
    yes: Yes = False,
) -> None:
    """Put a backup that `smartstudy backup` made into an empty database, all of it or nothing.

    The service must not run on it. FILE is checked to the last byte before anything is changed; a backup of an earlier
    SmartStudy is migrated, one of a later is refused. Model files go to MODEL_DIR and to
    the store that MODEL_URL names, the key that tokens are signed with
    to DATA_DIR unless SECRET_KEY gives it. Restore only files that you trust: who can write one, can make themselves an
    admin in it.
    """
    end_on_sigterm()
    with bytes_progress(f"Restoring {file.name}") as (show, pause), archive.checked(file, show) as opened:
        manifest = opened.manifest
        restore.refuse_newer(manifest)
        engine = database.engine_for(database.database_url())
        lost = restore.what_is_there(engine)
        engine.dispose()  # nobody may be connected, nor may we
        pause()
        if lost is not None:
            _agree(lost, manifest, replace, yes)
        restore.restore(engine, version_store.version_store(), _secret_file(), opened, replace)
        engine.dispose()
        _record("restored", file)
    say(f"Restored {_contents(manifest)}, as of {manifest.made_at:%Y-%m-%d %H:%M} UTC.")


def _agree(lost: str, manifest: "Manifest", replace: bool, yes: bool) -> None:
    """Go on only if a person wants what is there to be lost."""
    if not replace:
        raise restore.NotRestored(
            f"The database holds {lost}. --replace puts the backup in their place; they are lost then."
        )
    if not yes:
        question = f"The database holds {lost}; they are lost when the backup of {manifest.made_at:%Y-%m-%d %H:%M} UTC"
        typer.confirm(f"{question} ({_contents(manifest)}) takes their place. Go on?", abort=True)


def _contents(manifest: "Manifest") -> str:
    tasks, accounts = manifest.rows("practice_tasks"), manifest.rows("users")
    return f"{tasks:,} tasks, {accounts:,} accounts and the files of {len(manifest.models):,} model versions"


def _secret_file() -> Path | None:
    """Where the key that tokens are signed with is kept; none where SECRET_KEY gives it."""
    return None if settings.settings().secret_key else settings.settings().data_dir / "secret_key"


def _record(act: str, file: Path) -> None:
    with database.new_session().begin() as db:
        audit.record(db, COMMAND_LINE, act, file.name)
