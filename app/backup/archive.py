"""The file: a ZIP whose last 64 characters are the SHA-256 of everything before them.

Nothing is ever unpacked under a name that the file gives: its members are read one by one, those that its manifest
lists and no others.
"""

import fcntl
import hashlib
import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from app.backup.manifest import MANIFEST, Manifest, Member
from app.core.files import sync

MARK = b"SmartStudy backup, SHA-256 "
DIGEST = 64  # characters
PIECE = 1 << 20  # bytes read at once
MANIFEST_BYTES = 64 << 20
Progress = Callable[[int], None]  # is told of bytes that were done


class NoBackup(ValueError):
    """The file is not a whole backup."""


class Counted:
    """A file that knows the size and the hash of what was read from it or written to it."""

    def __init__(self, file: IO[bytes], progress: Progress) -> None:
        self._file, self._progress = file, progress
        self._size, self._hash = 0, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self._file.write(data)
        self._count(data)
        return len(data)

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._count(data)
        return data

    def _count(self, data: bytes) -> None:
        self._size += len(data)
        self._hash.update(data)
        self._progress(len(data))

    def member(self) -> Member:
        return Member(size=self._size, sha256=self._hash.hexdigest())


class Writer:
    """A backup in the making; it gets its name when it is whole."""

    def __init__(self, file: IO[bytes], progress: Progress) -> None:
        self._zip = zipfile.ZipFile(file, "w", allowZip64=True)
        self._progress = progress

    @contextmanager
    def member(self, name: str, compress: bool = True) -> Iterator[Counted]:
        info = zipfile.ZipInfo(name)
        info.compress_type = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
        info._compresslevel = 1  # type: ignore[attr-defined]  # public from Python 3.13 on; others take 4 times as long
        info.external_attr = (stat.S_IFREG | 0o600) << 16
        with self._zip.open(info, "w", force_zip64=True) as file:
            yield Counted(file, self._progress)

    def finish(self, manifest: Manifest) -> None:
        self._zip.writestr(MANIFEST, manifest.model_dump_json(indent=1))
        self._zip.comment = MARK + b"0" * DIGEST
        self._zip.close()

    def give_up(self) -> None:
        with suppress(Exception):  # it complains once more that it can't write
            self._zip.close()


@contextmanager
def new_file(path: Path, force: bool, progress: Progress) -> Iterator[Writer]:
    """Write a backup: at the end it is there whole and on disk for good, or there is nothing.

    Raises:
        FileExistsError: there is such a file already.
    """
    draft = path.with_name(f".{path.name}.part")  # one name: what a killed backup left is used up by the next
    with os.fdopen(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "w+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FileExistsError(f"Another backup is being written to {path} just now.") from None
        try:
            os.fchmod(file.fileno(), 0o600)
            file.truncate(0)
            writer = Writer(file, progress)
            try:
                yield writer
            except BaseException:
                writer.give_up()
                raise
            _seal(file)
            _name(draft, path, force)
        finally:
            draft.unlink(missing_ok=True)
    sync(path.parent)


def refuse_to_overwrite(path: Path) -> None:
    if os.path.lexists(path):
        raise FileExistsError(f"{path} is there already: choose another name, or overwrite it with --force.")


def _seal(file: IO[bytes]) -> None:
    file.flush()
    size = file.seek(0, os.SEEK_END)
    digest = _digest(file, size - DIGEST, lambda _: None)
    file.seek(size - DIGEST)
    file.write(digest)
    file.flush()
    os.fsync(file.fileno())


def _digest(file: IO[bytes], size: int, progress: Progress) -> bytes:
    """SHA-256 of the first `size` bytes, hexadecimal."""
    found = hashlib.sha256()
    file.seek(0)
    while size and (piece := file.read(min(PIECE, size))):
        found.update(piece)
        size -= len(piece)
        progress(len(piece))
    return found.hexdigest().encode()


def _name(draft: Path, path: Path, force: bool) -> None:
    if not force:
        refuse_to_overwrite(path)
        with suppress(PermissionError, NotImplementedError):
            os.link(draft, path)  # unlike a rename, never replaces one that came meanwhile
            return
    draft.replace(path)


class Archive:
    """A backup whose seal was checked, held open: what is read later is what was checked."""

    def __init__(self, zipped: zipfile.ZipFile, progress: Progress) -> None:
        self._zip, self._progress = zipped, progress
        self.manifest = _manifest(zipped)
        self._members = self.manifest.members()
        sizes = {name: member.size for name, member in self._members.items()}
        there = [info for info in zipped.infolist() if info.filename != MANIFEST]
        if sorted((info.filename, info.file_size) for info in there) != sorted(sizes.items()):
            raise NoBackup("the files in it, or their sizes, are not those that its manifest lists.")
        if any(info.flag_bits & 1 for info in there):
            raise NoBackup("a file in it is encrypted.")

    @contextmanager
    def open(self, name: str) -> Iterator[Counted]:
        """A member, to be read to its end.

        Raises:
            NoBackup: it was not what the manifest says.
        """
        with self._zip.open(name) as file:
            counted = Counted(file, self._progress)
            yield counted
        expected, found = self._members[name], counted.member()
        if (found.size, found.sha256) != (expected.size, expected.sha256):
            raise NoBackup(f"{name} in it is not what its manifest says.")


@contextmanager
def checked(path: Path, progress: Progress) -> Iterator[Archive]:
    """Open a backup. `progress` is told of each byte twice: of the file, and of what is in it.

    Raises:
        NoBackup: it is foreign, cut short or damaged, or holds what no backup holds.
    """
    with path.open("rb") as file:
        _check_seal(path, file, progress)
        try:
            with zipfile.ZipFile(file) as zipped:
                yield Archive(zipped, progress)
        except (zipfile.BadZipFile, zlib.error, NotImplementedError) as why:
            raise NoBackup(f"{path} is damaged: {why}") from None
        except NoBackup as why:
            raise NoBackup(f"{path} is not a backup that can be restored: {why}") from None


def _check_seal(path: Path, file: IO[bytes], progress: Progress) -> None:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - DIGEST - len(MARK), 0))
    end = file.read()
    if not end.startswith(MARK) or len(end) != len(MARK) + DIGEST:
        raise NoBackup(f"{path} is not a whole backup of SmartStudy: it is another kind of file, or was cut short.")
    if _digest(file, size - DIGEST, progress) != end[len(MARK) :]:
        raise NoBackup(f"{path} is damaged: it is not what `smartstudy backup` wrote.")


def _manifest(zipped: zipfile.ZipFile) -> Manifest:
    if zipped.namelist().count(MANIFEST) != 1:
        raise NoBackup("it has no manifest, or two.")
    if zipped.getinfo(MANIFEST).file_size > MANIFEST_BYTES:
        raise NoBackup("its manifest is too large.")
    try:
        return Manifest.model_validate_json(zipped.read(MANIFEST))
    except ValidationError as why:
        first = why.errors()[0]
        raise NoBackup(f"its manifest says {'.'.join(map(str, first['loc']))}: {first['msg']}.") from None
