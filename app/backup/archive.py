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
from typing import IO, Any

from pydantic import ValidationError

from app.backup.manifest import MANIFEST, Manifest, Member, of_table
from app.core.files import sync

MARK = b"SmartStudy backup, SHA-256 "
DIGEST = 64
PIECE = 1 << 20
MANIFEST_BYTES = 64 << 20
Say = Callable[[int], None]  # bytes done


class NoBackup(ValueError):
    """The file is not a whole backup."""


class Tally:
    """Passes on what is written, and knows its size, hash and lines."""

    def __init__(self, into: IO[bytes], say: Say) -> None:
        self._into, self._say = into, say
        self._hash = hashlib.sha256()
        self.size = self.lines = 0

    def write(self, data: bytes) -> int:
        self._into.write(data)
        self._hash.update(data)
        self.size += len(data)
        self.lines += data.count(b"\n")
        self._say(len(data))
        return len(data)

    def facts(self) -> dict[str, Any]:
        return {"size": self.size, "sha256": self._hash.hexdigest()}


class Writer:
    """A backup in the making; it gets its name when it is whole."""

    def __init__(self, file: IO[bytes], say: Say) -> None:
        self._zip = zipfile.ZipFile(file, "w", allowZip64=True)
        self._say = say

    @contextmanager
    def member(self, name: str, squeeze: bool = True) -> Iterator[Tally]:
        info = zipfile.ZipInfo(name)
        info.compress_type = zipfile.ZIP_DEFLATED if squeeze else zipfile.ZIP_STORED
        info._compresslevel = 1  # type: ignore[attr-defined]  # public from Python 3.13 on; others take 4 times as long
        info.external_attr = (stat.S_IFREG | 0o600) << 16
        with self._zip.open(info, "w", force_zip64=True) as into:
            yield Tally(into, self._say)

    def finish(self, manifest: Manifest) -> None:
        self._zip.writestr(MANIFEST, manifest.model_dump_json(indent=1))
        self._zip.comment = MARK + b"0" * DIGEST
        self._zip.close()

    def give_up(self) -> None:
        with suppress(Exception):  # it complains once more that it can't write
            self._zip.close()


@contextmanager
def new_file(path: Path, force: bool, say: Say) -> Iterator[Writer]:
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
            writer = Writer(file, say)
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


def _digest(file: IO[bytes], size: int, say: Say) -> bytes:
    found = hashlib.sha256()
    file.seek(0)
    while size and (piece := file.read(min(PIECE, size))):
        found.update(piece)
        size -= len(piece)
        say(len(piece))
    return found.hexdigest().encode()


def _name(draft: Path, path: Path, force: bool) -> None:
    if not force:
        refuse_to_overwrite(path)
        with suppress(PermissionError, NotImplementedError):
            os.link(draft, path)  # unlike a rename, never replaces one that came meanwhile
            return
    draft.replace(path)


class Archive:
    """A backup that was checked, byte by byte, and is held open: what is read later is what was checked."""

    def __init__(self, zipped: zipfile.ZipFile, manifest: Manifest) -> None:
        self._zip, self.manifest = zipped, manifest

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        with self._zip.open(name) as file:
            yield file


@contextmanager
def checked(path: Path, say: Say) -> Iterator[Archive]:
    """Open a backup. `say` is told of each byte twice: of the file, and of what is in it.

    Raises:
        NoBackup: it is foreign, cut short or damaged, or holds what no backup holds.
    """
    with path.open("rb") as file:
        _check_seal(path, file, say)
        try:
            with zipfile.ZipFile(file) as zipped:
                manifest = _manifest(zipped)
                _check_names(zipped, manifest)
                for name, member in manifest.members().items():
                    _check_member(zipped, name, member, say)
                archive = Archive(zipped, manifest)
                yield archive
        except (zipfile.BadZipFile, zlib.error, KeyError, NotImplementedError) as why:
            raise NoBackup(f"{path} is damaged: {why}") from None
        except NoBackup as why:
            raise NoBackup(f"{path} is not a backup that can be restored: {why}") from None


def _check_seal(path: Path, file: IO[bytes], say: Say) -> None:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - DIGEST - len(MARK), 0))
    end = file.read()
    if not end.startswith(MARK) or len(end) != len(MARK) + DIGEST:
        raise NoBackup(f"{path} is not a whole backup of SmartStudy: it is another kind of file, or was cut short.")
    if _digest(file, size - DIGEST, say) != end[len(MARK) :]:
        raise NoBackup(f"{path} is damaged: it is not what `smartstudy backup` wrote.")


def _manifest(zipped: zipfile.ZipFile) -> Manifest:
    if zipped.getinfo(MANIFEST).file_size > MANIFEST_BYTES:
        raise NoBackup("its manifest is too large.")
    try:
        return Manifest.model_validate_json(zipped.read(MANIFEST))
    except ValidationError as why:
        first = why.errors()[0]
        raise NoBackup(f"its manifest says {'.'.join(map(str, first['loc']))}: {first['msg']}.") from None


def _check_names(zipped: zipfile.ZipFile, manifest: Manifest) -> None:
    """Exactly the files that the manifest lists, each once and each a plain file."""
    names = [info.filename for info in zipped.infolist()]
    if sorted(names) != sorted([*manifest.members(), MANIFEST]):
        raise NoBackup("the files in it are not those that its manifest lists.")
    for info in zipped.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG) or info.flag_bits & 1:
            raise NoBackup(f"{info.filename!r} in it is no plain file.")


def _check_member(zipped: zipfile.ZipFile, name: str, member: Member, say: Say) -> None:
    if zipped.getinfo(name).file_size != member.size:
        raise NoBackup(f"{name} in it has another size than its manifest says.")
    found, lines = hashlib.sha256(), 0
    with zipped.open(name) as file:
        while piece := file.read(PIECE):
            found.update(piece)
            lines += piece.count(b"\n")
            say(len(piece))
    rows = getattr(member, "rows", lines)
    if found.hexdigest() != member.sha256 or (name.startswith(of_table("")[:7]) and rows != lines):
        raise NoBackup(f"{name} in it is not what its manifest says.")
