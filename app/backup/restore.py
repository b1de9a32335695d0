"""Restoring a backup: all of it or nothing, and only where nobody is at work and nothing is lost unasked."""

import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO
from uuid import uuid4

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session

from app.backup.archive import PIECE, Archive, NoBackup
from app.backup.manifest import SECRET, FileName, Folder, Manifest, Model, Table, of_model, of_table
from app.core.db import migrations
from app.core.db.migrations import SchemaMismatch
from app.core.db.outages import code_of
from app.core.files import make_private_below, sync
from app.crud import model_versions, tables, training_runs
from app.ml.serving import artifacts
from app.ml.serving.version_store import VersionStore

DISCONNECT_SECONDS = 3.0  # PostgreSQL may need a moment to see that a service has gone
TABLE_IS_THERE = "42P07"
STAGING = re.compile(r"versions/\.staging-[^/]*")  # a folder in which a run was at work
FOLDER, FILE_NAME = TypeAdapter(Folder), TypeAdapter(FileName)


class NotRestored(ValueError):
    """The backup can't be restored here."""


def refuse_newer(manifest: Manifest) -> None:
    if manifest.revision > migrations.REVISION:
        raise SchemaMismatch(
            f"The backup was made at revision {manifest.revision}, which is newer than this code "
            f"({migrations.REVISION}): install the SmartStudy that made it, or a later one."
        )


def what_is_there(engine: Engine) -> str | None:
    """What a restore would replace, in words; none where nothing happened yet."""
    with engine.connect() as connection:
        found = migrations.revision_of(connection)
        if found is not None and found > migrations.REVISION:
            raise SchemaMismatch(
                f"The database stands at revision {found}, which is newer than this code ({migrations.REVISION}): with "
                f"the release it is of, run `alembic downgrade {migrations.REVISION}` first, or take an empty one."
            )
        if not tables.holds_anything(connection):
            return None
        n = {name: tables.count(connection, name) for name in tables.present(connection) if name in tables.COUNTED}
    return (
        f"{n.get('practice_tasks', 0):,} tasks, {n.get('users', 0):,} accounts and "
        f"{n.get('model_versions', 0):,} model versions"
    )


def restore(
    engine: Engine, store: VersionStore, secret_path: Path | None, archive: Archive, replace: bool = False
) -> None:
    """Put everything that the backup holds into this database and this store, and migrate it to this code."""
    manifest = archive.manifest
    refuse_newer(manifest)
    store.begin()
    with _staging(store.model_dir) as staging, _drafted(secret_path, archive) as publish_secret, ExitStack() as undo:
        for model in manifest.models:
            _unpack(archive, model, staging)
        with engine.connect() as connection, connection.begin():
            before = _make_room(connection, replace)
            _load(connection, archive)
            _settle(connection, manifest)
            for model in manifest.models:
                _place(model, staging, store.model_dir, undo)
                store.publish(store.model_dir / model.folder, model.folder, mend=True)
            sync(store.model_dir / artifacts.VERSIONS)
        undo.pop_all()  # the database has come along
        _tidy(store, before - {model.folder for model in manifest.models})
        publish_secret()


def _make_room(connection: Connection, replace: bool) -> set[str]:
    """Take away what is there; the folders of the versions that were."""
    _alone(connection)
    if tables.holds_anything(connection) and not replace:
        raise NotRestored("The database is not empty: --replace puts the backup in the place of what it holds.")
    if migrations.revision_of(connection) is None:
        return set()
    with Session(connection) as db:
        folders = {version.folder for version in model_versions.kept(db)}
    tables.empty(connection)
    migrations.remove(connection)
    return folders


def _alone(connection: Connection) -> None:
    deadline = time.monotonic() + DISCONNECT_SECONDS
    while others := tables.others_connected(connection):
        if time.monotonic() > deadline:
            raise NotRestored(
                f"The database is in use ({others} connections): stop the service and whatever else works with it."
            )
        time.sleep(0.1)
        connection.execute(text("SELECT pg_stat_clear_snapshot()"))


def _load(connection: Connection, archive: Archive) -> None:
    """The tables as they were at the backup's revision, with what was in them."""
    try:
        migrations.upgrade(connection, archive.manifest.revision)
    except DatabaseError as why:
        if code_of(why) != TABLE_IS_THERE:
            raise
        raise NotRestored("The database holds tables of somebody else's with the names of ours.") from None
    if {table.name for table in archive.manifest.tables} != set(tables.present(connection)):
        raise NoBackup("The backup does not hold the tables of its revision.")
    for table in archive.manifest.tables:
        _load_table(connection, archive, table)
    numbered = tables.numbered(connection)
    for number in archive.manifest.numbers:
        if (number.table, number.column) not in numbered:
            raise NoBackup(f"The backup counts {number.table}.{number.column}, which is not counted.")
        tables.go_on_after(connection, number.table, number.column, number.last)


def _load_table(connection: Connection, archive: Archive, table: Table) -> None:
    if sorted(table.columns) != sorted(tables.columns(connection, table.name)):
        raise NoBackup(f"The table {table.name} of the backup has other columns than its revision.")
    with archive.open(of_table(table.name)) as file:
        copied = tables.copy_in(connection, table.name, table.columns, file)
    if copied != table.rows:
        raise NoBackup(f"The table {table.name} came to {copied} rows instead of {table.rows}.")


def _settle(connection: Connection, manifest: Manifest) -> None:
    """Up to this code, with nothing that only was so at the moment of the backup, and no path that leads elsewhere."""
    migrations.upgrade(connection)
    with Session(connection) as db:
        training_runs.close_all(db, "The backup was made in the middle of the run.")
        kept = model_versions.kept(db)
        at_work = [folder for folder in training_runs.folders(db) if not STAGING.fullmatch(folder)]
        _check_places([*model_versions.folders(db), *at_work], [name for each in kept for name in each.files])
        there = {model.folder: model.hashes() for model in manifest.models}
        for version in kept:
            if version.folder not in manifest.left_out and there.get(version.folder) != dict(version.files):
                raise NoBackup(f"The backup does not hold the files of version {version.id}.")
        model_versions.mark_gone(db, manifest.left_out)
        db.flush()


def _check_places(folders: Sequence[str], names: Sequence[str]) -> None:
    try:
        for folder in folders:
            FOLDER.validate_python(folder)
        for name in names:
            FILE_NAME.validate_python(name)
    except ValidationError as why:
        raise NoBackup(f"The backup names a place where no model belongs: {why.errors()[0]['input']!r}.") from None


# Files: unpacked beside their place, moved there last.


@contextmanager
def _staging(model_dir: Path) -> Iterator[Path]:
    (model_dir / artifacts.VERSIONS).mkdir(parents=True, exist_ok=True)
    artifacts.keep_private(model_dir)
    folder = model_dir / f".restore-{uuid4().hex}"
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unpack(archive: Archive, model: Model, staging: Path) -> None:
    folder = staging / Path(model.folder).name
    folder.mkdir()
    for name in model.files:
        with (folder / name).open("xb") as target:
            _write_member(archive, of_model(model.folder, name), target)


def _write_member(archive: Archive, name: str, target: IO[bytes]) -> None:
    """All of it, on the disk for good."""
    with archive.open(name) as source:
        shutil.copyfileobj(source, target, PIECE)
    target.flush()
    os.fsync(target.fileno())


def _place(model: Model, staging: Path, model_dir: Path, undo: ExitStack) -> None:
    """Put a version where it belongs, and what was there aside."""
    target = model_dir / model.folder
    if _is_there(target, model):
        return
    if os.path.lexists(target):
        old = staging / f"old-{target.name}"
        target.rename(old)
        undo.callback(old.rename, target)
    undo.callback(shutil.rmtree, target, ignore_errors=True)
    make_private_below(staging / target.name)
    (staging / target.name).rename(target)


def _is_there(place: Path, model: Model) -> bool:
    try:
        artifacts.verify(place, model.hashes())
    except (artifacts.DamagedFiles, OSError):
        return False
    return not place.is_symlink()


def _tidy(store: VersionStore, gone: set[str]) -> None:
    """The versions of the database that was replaced."""
    for folder in gone:
        try:
            store.remove(FOLDER.validate_python(folder))
        except ValidationError:
            continue


@contextmanager
def _drafted(path: Path | None, archive: Archive) -> Iterator[Callable[[], None]]:
    """The key that tokens are signed with, beside its place; it goes there when the database has come along."""
    if path is None or archive.manifest.secret is None:
        yield lambda: None
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}-{secrets.token_hex(8)}")

    def publish() -> None:
        draft.replace(path)
        sync(path.parent)

    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as target:
            _write_member(archive, SECRET, target)
        yield publish
    finally:
        draft.unlink(missing_ok=True)
