"""Files that are there whole, still there after a power cut, and nobody else's to read."""

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TextIO


def sync(path: Path) -> None:
    """Make what was written to this file, or renamed in this folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_private(path: Path) -> None:
    """Take all rights from everybody but the owner of this file or folder, if it is ours; links stay as they are."""
    with suppress(FileNotFoundError, PermissionError):  # of a version that just goes; of another account
        mode = path.lstat().st_mode
        if not stat.S_ISLNK(mode) and mode & (stat.S_IRWXG | stat.S_IRWXO):
            path.chmod(stat.S_IMODE(mode) & stat.S_IRWXU)


def close_folder(folder: Path, *files: str) -> None:
    """Let only the owner read and change what lies in a folder and these files of it; who passes through it still may.

    A folder that everybody shares, such as /tmp, stays as it is.
    """
    with suppress(FileNotFoundError, PermissionError):
        mode = stat.S_IMODE(folder.stat().st_mode)
        if mode & 0o066 and not mode & stat.S_ISVTX:
            folder.chmod(mode & ~0o066)
    for name in files:
        make_private(folder / name)


def make_private_below(folder: Path) -> None:
    """Do so with a folder and all that is in it."""
    make_private(folder)
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            make_private(Path(place, name))


def open_private(path: Path) -> TextIO:
    """Open a text to write that is its owner's only, new or not; its line ends stay as they are written."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    file = os.fdopen(descriptor, "w", newline="", encoding="utf-8")
    if path.is_file():  # not /dev/stdout
        make_private(path)
    return file


def write_private(path: Path, text: str) -> None:
    """Write a 0600 file whole: it is the old or the new, and on the disk before we go on."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    sync(new)
    new.replace(path)
    sync(path.parent)
