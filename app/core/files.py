"""Files that are there whole, and still there after a power cut."""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Make what was written to this file, or renamed in this folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_private(path: Path, text: str) -> None:
    """Write a 0600 file whole: it is the old or the new, and on the disk before we go on."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    sync(new)
    new.replace(path)
    sync(path.parent)
