"""Where versions lie for good, and how each machine comes to their files: nothing is shared but the store."""

import hashlib
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote, urlsplit

from app.core.files import make_private_below, sync
from app.core.settings import settings
from app.domain.errors import StoreAway
from app.ml.serving import artifacts
from app.ml.serving.artifacts import DamagedFiles

if TYPE_CHECKING:
    from app.core.object_store import ObjectStore

CHECK_SECONDS = 5.0  # for which it holds whether the store can be asked
PATIENCE_SECONDS = 1.0  # that who asks waits for the first check, and for one where the last had a problem
log = logging.getLogger("smartstudy.serving")


class WithFiles(Protocol):
    """A version, as its row has it."""

    @property
    def folder(self) -> str: ...

    @property
    def files(self) -> Mapping[str, str]: ...


class VersionStore:
    """The files of all versions, at MODEL_URL; MODEL_DIR holds those that this machine has fetched.

    Where MODEL_URL names MODEL_DIR itself, as it does by default, nothing is fetched or copied.
    """

    def __init__(self, model_dir: Path, url: str = "") -> None:
        self.model_dir, self.url = model_dir, url or model_dir.absolute().as_uri()
        at = urlsplit(self.url)
        self.folder = Path(unquote(at.path)) if at.scheme == "file" else None  # that a file URL names
        self.is_here = self.folder is not None and self.folder.resolve() == model_dir.resolve()
        self._places = [model_dir]
        self._problem: str | None = None
        self._checked_again_at = 0.0
        self._checking = threading.Thread()  # that has not begun

    def fetched(self, version: WithFiles) -> Path:
        """Return the folder of this machine that holds the version's files, just as they were published.

        Raises:
            DamagedFiles: one is missing, or is not what was published, and in the store too.
            StoreAway: they are not all here, and the store can't be asked.
        """
        for place in self._places:
            try:
                artifacts.verify(place / version.folder, version.files)
            except (DamagedFiles, OSError) as why:
                if self.is_here:
                    raise
                if (place / version.folder).exists():
                    log.warning("%s; it is fetched anew", why)
            else:
                return place / version.folder
        try:
            return self._fetched_into(self._places[-1], version)
        except OSError as why:  # full, or not to be written
            log.warning("%s can't keep %s, a temporary folder does: %s", self._places[-1], version.folder, why)
            self._places = [self.model_dir, Path(self._spare.name)]
            return self._fetched_into(self._places[-1], version)

    def read(self, version: WithFiles, name: str) -> bytes:
        """Return one file of a version, which need not be fetched for it.

        Raises:
            FileNotFoundError: there is none.
            StoreAway: it is not here, and the store can't be asked.
        """
        file = self.model_dir / version.folder / name
        return file.read_bytes() if self.is_here or file.is_file() else b"".join(self._read(_key(version, name)))

    def begin(self) -> None:
        """Make the folder that a file URL names, before there is any version; a bucket has to be there. Later one that
        is missing is a store that is away: to make it anew would lose what comes back."""
        if self.folder:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def publish(self, place: Path, folder: str, *, mend: bool = False) -> bool:
        """Put the files of a finished folder into the store, each only where there is none of that name, and read them
        again: whatever it answers, it may keep nothing or half.

        Whether any was missing, or another one that was to be replaced.

        Raises:
            DamagedFiles: there is another one of that name, and `mend` does not say to replace it; or what is there
                is not what was written.
            StoreAway: it can't be asked.
        """
        if self.is_here:
            return False
        written = False
        for file in sorted(place.iterdir()):
            written = self._put(f"{folder}/{file.name}", file, mend) or written
        if self.folder:  # a bucket does so by itself
            versions = self.folder / artifacts.VERSIONS
            make_private_below(versions)
            for each in (*(self.folder / folder).iterdir(), self.folder / folder, versions):
                sync(each)
        return written

    def remove(self, folder: str) -> bool:
        """Delete a version's files, here and in the store; whether they are gone."""
        gone = artifacts.remove(self.model_dir, folder)
        if self.is_here:
            return gone
        if self.folder:
            return artifacts.remove(self.folder, folder) and gone
        try:
            self._store.delete(folder)
        except StoreAway as why:
            log.warning("%s stays for now: %s", folder, why)
            return False
        return gone

    def sweep(self, known: Mapping[str, bool]) -> None:
        """Delete what this machine has fetched and nobody needs any more. `known` says of each version's folder
        whether it is kept; what no version names may be about to become one, until it is a day old."""
        if self.is_here:
            return
        for place in self._places:
            for folder in (place / artifacts.VERSIONS).glob("*"):
                is_kept = known.get(artifacts.place(folder.name))
                if is_kept is False or (is_kept is None and artifacts.is_abandoned(folder)):
                    artifacts.remove(place, artifacts.place(folder.name))

    def remove_gone(self, known: Mapping[str, bool]) -> None:
        """Delete from the store what lies there of versions that are not kept any more. What no version names stays."""
        there = self.folder / artifacts.VERSIONS if self.folder else None
        found = (
            [artifacts.place(each.name) for each in there.glob("*")]
            if there
            else self._store.folders(artifacts.VERSIONS)
        )
        for folder in found:
            if known.get(folder) is False:
                self.remove(folder)

    def problem(self) -> str | None:
        """Say why the store can't be asked, as far as is known; nobody waits for one that hangs."""
        if not self.is_here and time.monotonic() >= self._checked_again_at and not self._checking.is_alive():
            self._checking = threading.Thread(target=self._check, daemon=True, name="store-check")
            self._checking.start()
            if self._problem or not self._checked_again_at:  # it may be over by now; or asked for the first time
                self._checking.join(PATIENCE_SECONDS)
        return self._problem

    def _check(self) -> None:
        before = self._problem
        try:
            self._store.check()
            self._problem = None
        except StoreAway as why:
            self._problem = str(why)
        if self._problem != before:  # /readyz does not say where it lies
            log.warning("%s", self._problem or "The store of the models can be used again.")
        self._checked_again_at = time.monotonic() + CHECK_SECONDS

    @cached_property
    def _store(self) -> "ObjectStore":
        from app.core.object_store import ObjectStore  # 20-60 ms and 7 MB, for who needs it

        return ObjectStore(self.url)

    @cached_property
    def _spare(self) -> "TemporaryDirectory[str]":
        """For what MODEL_DIR does not take; it goes with this process."""
        return TemporaryDirectory(prefix="smartstudy-models-")

    def _put(self, key: str, file: Path, mend: bool) -> bool:
        """Whether it was written: it is there now, just as it is here."""
        expected = artifacts.sha256(file)
        try:
            written = self._store.create(key, file)
            found = self._hash(key)
            if found != expected and mend and not written:
                self._store.replace(key, file)
                written, found = True, self._hash(key)
        except FileNotFoundError:  # the store says so too where two writes meet, of which none was done
            raise self._store.unusable(f"it says that {key} is there, and does not find it") from None
        if found != expected:
            what = "is not what was written there" if written else "is there already, and another file"
            raise DamagedFiles(f"{key} {what}")
        return written

    def _fetched_into(self, place: Path, version: WithFiles) -> Path:
        with artifacts.staged(place, artifacts.staging_place()) as staging:
            beside = staging / Path(version.folder).name
            beside.mkdir()
            for name in version.files:
                self._download(_key(version, name), beside / name)
            artifacts.verify(beside, version.files)
            try:
                artifacts.settle(beside, place, version.folder)
            except OSError:
                try:
                    artifacts.verify(place / version.folder, version.files)  # another process was quicker
                except DamagedFiles:
                    artifacts.remove(place, version.folder)
                    artifacts.settle(beside, place, version.folder)
        return place / version.folder

    def _download(self, key: str, to: Path) -> None:
        with to.open("xb") as file:
            try:
                for piece in self._read(key):
                    file.write(piece)
            except FileNotFoundError:
                raise DamagedFiles(f"{key} is missing from the store") from None

    def _read(self, key: str) -> Iterator[bytes]:
        """Yield the pieces of a file; one is missing only where the store itself is there."""
        try:
            yield from self._store.read(key)
        except FileNotFoundError:
            self._store.check()  # a bucket or folder that is not there has no files either
            raise

    def _hash(self, key: str) -> str:
        found = hashlib.sha256()
        for piece in self._store.read(key):
            found.update(piece)
        return found.hexdigest()


def _key(version: WithFiles, name: str) -> str:
    return f"{version.folder}/{name}"


@lru_cache
def version_store() -> VersionStore:
    """Return the one that the settings of this process name."""
    return VersionStore(settings().model_dir, settings().model_url)
