"""Model files: a version is written beside, moved into place whole, and checked before anything opens it."""

import hashlib
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from app.core.files import make_private, make_private_below, sync

VERSIONS = "versions"
HELD = ".backup-"  # what the folder's name begins with in which a backup holds versions
ABANDONED_SECONDS = 86_400.0
SHOWN = ("correctness_model.keras", "time_model.keras", "metadata.json")  # linked at the top of MODEL_DIR


class DamagedFiles(RuntimeError):
    """The files of a version are not those that were published."""


def place(name: str) -> str:
    """Where a version of this name lies, below MODEL_DIR."""
    return f"{VERSIONS}/{name}"


def staging_place() -> str:
    """A place below MODEL_DIR that nobody looks into, to write a version at."""
    return place(f".staging-{uuid4().hex}")


@contextmanager
def staged(model_dir: Path, staging: str) -> Iterator[Path]:
    """A folder to write a version into; what is still there at the end was not published and goes."""
    folder = model_dir / staging
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700)
    keep_private(model_dir)
    _sweep(folder.parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def keep_private(model_dir: Path) -> None:
    """Let nobody but the owner read the models, those of earlier releases neither: they hold what students did.

    MODEL_DIR itself stays as it is where something else lies in it, which others may have to reach.
    """
    if not (model_dir / VERSIONS).is_dir():
        return
    make_private_below(model_dir / VERSIONS)
    ours = [file for file in model_dir.iterdir() if file.name.startswith(".") or file.name in (VERSIONS, *SHOWN)]
    for file in ours:
        make_private(file)
    if len(ours) == len(list(model_dir.iterdir())):
        make_private(model_dir)


def _sweep(versions: Path) -> None:
    """Remove what killed runs left half done, and killed backups held: who was erased may be in it. Younger ones may be
    at work, for another database."""
    for folder in (*versions.glob(".staging-*"), *versions.parent.glob(f"{HELD}*")):
        if is_abandoned(folder):
            shutil.rmtree(folder, ignore_errors=True)


def is_abandoned(folder: Path) -> bool:
    """Whether nobody has written into it for a day."""
    with suppress(FileNotFoundError):
        return time.time() - folder.stat().st_mtime > ABANDONED_SECONDS
    return False


def settle(finished: Path, model_dir: Path, folder: str) -> str:
    """Move a finished folder into place, on disk for good and its owner's only."""
    make_private_below(finished)
    for file in finished.iterdir():
        sync(file)
    sync(finished)
    finished.rename(model_dir / folder)
    sync((model_dir / folder).parent)
    return folder


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of each file, by name."""
    return {file.name: sha256(file) for file in sorted(folder.iterdir())}


def verify(folder: Path, files: Mapping[str, str]) -> None:
    """Raise DamagedFiles, naming the file, unless every file is there as it was published."""
    for name, expected in files.items():
        file = folder / name
        if not file.is_file():
            raise DamagedFiles(f"{file.name} is missing from {folder.name}")
        if sha256(file) != expected:
            raise DamagedFiles(f"{file.name} in {folder.name} is not the file that was published")


def show(model_dir: Path, folder: str) -> None:
    """Point the well-known names at this version, metadata.json last; nothing to do where they do."""
    metadata = model_dir / SHOWN[-1]
    if metadata.is_symlink() and metadata.readlink() == Path(folder) / SHOWN[-1]:
        return
    for name in SHOWN:
        link = model_dir / f".{name}-{uuid4().hex}"
        link.symlink_to(Path(folder) / name)
        link.replace(model_dir / name)


def remove(model_dir: Path, folder: str) -> bool:
    """Delete the folder; whether it is gone."""
    shutil.rmtree(model_dir / folder, ignore_errors=True)
    return not (model_dir / folder).exists()


def sha256(file: Path) -> str:
    """Of its content, hexadecimal."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
