"""Making a backup: all tables and models of one moment, while the service goes on."""

import io
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO
from uuid import uuid4

from sqlalchemy import Connection, Engine, text
from sqlalchemy.orm import Session

from app.backup.archive import PIECE, Progress, Writer, new_file, refuse_to_overwrite
from app.backup.manifest import SECRET, Manifest, Member, Model, Number, Table, of_model, of_table
from app.core.db import migrations
from app.core.db.migrations import SchemaMismatch
from app.crud import model_versions, serving_changes, tables
from app.crud.model_versions import KeptFiles
from app.ml.serving import artifacts
from app.ml.serving.version_store import VersionStore


def create(
    engine: Engine, store: VersionStore, secret: bytes | None, path: Path, progress: Progress, force: bool = False
) -> Manifest:
    """Write the backup; what is in it."""
    if not force:
        refuse_to_overwrite(path)
    with new_file(path, force, progress) as writer, _moment(engine, store) as (connection, kept, folder):
        revision = migrations.revision_of(connection)
        if revision is None:
            raise SchemaMismatch("The database is empty: there is nothing to back up.")
        numbers = [
            Number(table=table, column=column, last=tables.last_number(connection, table, column))
            for table, column in tables.numbered(connection)
        ]
        saved = [_table(connection, writer, name) for name in tables.present(connection)]
        models, left_out = _models(writer, kept, folder)
        manifest = Manifest(
            made_at=datetime.now(UTC),
            revision=revision,
            tables=saved,
            numbers=numbers,
            models=models,
            left_out=left_out,
            secret=_copied(writer, SECRET, io.BytesIO(secret)) if secret else None,
        )
        writer.finish(manifest)
        return manifest


@contextmanager
def _moment(engine: Engine, store: VersionStore) -> Iterator[tuple[Connection, Sequence[KeptFiles], Path]]:
    """A transaction that sees one moment, the versions kept then, and a folder in which their files stay.

    Who publishes removes the files of older versions: it has to wait until we hold them too, which takes milliseconds,
    for those that lie elsewhere are fetched before; what was published meanwhile, then.
    """
    with Session(engine) as db:
        here = {} if store.is_here else {each.folder: _fetched(store, each) for each in model_versions.kept(db)}
    with engine.connect() as connection, _held(store.model_dir) as folder, Session(connection) as db:
        with engine.begin() as turn:
            serving_changes.hold_off(turn)
            connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
            kept = model_versions.kept(db)
            for version in kept:
                if version.folder not in here and not store.is_here:
                    here[version.folder] = _fetched(store, version)
                place = here.get(version.folder) or (store.model_dir / version.folder)
                _hold(place, folder / version.folder)
        yield connection, kept, folder


def _fetched(store: VersionStore, version: KeptFiles) -> Path | None:
    """Where its files are on this machine; none where they are lost. Raises StoreAway where that can't be told."""
    with suppress(artifacts.DamagedFiles, OSError):
        return store.fetched(version)
    return None


@contextmanager
def _held(model_dir: Path) -> Iterator[Path]:
    model_dir.mkdir(parents=True, exist_ok=True)
    for left in model_dir.glob(f"{artifacts.HELD}*"):  # by one that was killed
        if artifacts.is_abandoned(left):
            shutil.rmtree(left, ignore_errors=True)
    folder = model_dir / f"{artifacts.HELD}{uuid4().hex}"
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _hold(source: Path, target: Path) -> None:
    """A second name for each file; a copy where the file system has none to give."""
    if not source.is_dir():
        return
    target.mkdir(parents=True)
    for file in source.iterdir():
        if file.is_file() and not file.is_symlink():
            try:
                os.link(file, target / file.name)
            except OSError:
                shutil.copy2(file, target / file.name)


def _table(connection: Connection, writer: Writer, name: str) -> Table:
    columns = tables.columns(connection, name)
    with writer.member(of_table(name)) as file:
        rows = tables.copy_out(connection, name, columns, file)
    return Table(name=name, columns=columns, rows=rows, **dict(file.member()))


def _models(writer: Writer, kept: Sequence[KeptFiles], folder: Path) -> tuple[list[Model], list[str]]:
    """The files of each version; a version whose files are not what was published is left out, and named."""
    models, left_out = [], []
    for version in kept:
        try:
            artifacts.verify(folder / version.folder, version.files)
        except (artifacts.DamagedFiles, OSError):
            left_out.append(version.folder)
            continue
        files = {}
        for name in version.files:
            with (folder / version.folder / name).open("rb") as source:
                files[name] = _copied(writer, of_model(version.folder, name), source, compress=False)
        models.append(Model(folder=version.folder, files=files))
    return models, left_out


def _copied(writer: Writer, name: str, source: IO[bytes], compress: bool = True) -> Member:
    with writer.member(name, compress) as file:
        shutil.copyfileobj(source, file, PIECE)
    return file.member()
