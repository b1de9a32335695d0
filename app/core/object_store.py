"""A store of files that every machine reaches by the same URL: a folder, or a bucket at S3, Google or Azure."""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import obstore
from dotenv import dotenv_values
from obstore.exceptions import AlreadyExistsError, BaseError, GenericError
from obstore.store import LocalStore, from_url

from app.core.settings import env_file
from app.domain.errors import StoreAway

OWN_VARIABLES = ("AWS_", "GOOGLE_", "AZURE_")  # how those begin that the stores read themselves
# Who waits is told soon: of a store that is away after two seconds, of one that hangs after ten. Large files may take
# their time.
CLIENT: Any = {"connect_timeout": "2s", "read_timeout": "10s", "timeout": "300s", "allow_http": True}
RETRY: Any = {
    "max_retries": 1,
    "retry_timeout": timedelta(seconds=10),
    "backoff": {"init_backoff": timedelta(milliseconds=200), "max_backoff": timedelta(seconds=1), "base": 2},
}
PANIC = "PanicException"  # of the library's Rust: no Exception, and not to be imported; a line break in a key is enough
MACHINES_ROLE = "://169.254.169.254/"  # is asked for keys where no variable has any
NO_KEYS = (
    "no variable has keys for it (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, GOOGLE_APPLICATION_CREDENTIALS or "
    "AZURE_STORAGE_ACCOUNT_KEY), and this machine has no role that does"
)
AWAY_SECONDS = 5.0  # for which a store that did not answer is not asked again


class ObjectStore:
    """Files by their keys. Whatever is asked of it raises StoreAway where it can't be asked."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._opened: Any = None
        self._away: str | None = None
        self._asked_again_at = 0.0

    def create(self, key: str, file: Path | bytes) -> bool:
        """Write a file, whole or not at all; False where there is one of that name, which stays as it is."""
        with self._asking() as store:
            try:
                obstore.put(store, key, file, mode="create")
            except AlreadyExistsError:
                return False
            except FileNotFoundError as why:
                raise GenericError(str(why)) from why  # a bucket that is not there
            except GenericError as why:
                if "501 Not Implemented" in str(why):
                    raise GenericError("it has to know conditional writes (If-None-Match: *), and does not") from why
                raise
        return True

    def read(self, key: str) -> Iterator[bytes]:
        """Yield the pieces of a file. Raises FileNotFoundError where there is none."""
        with self._asking() as store:
            for piece in obstore.get(store, key).stream():
                yield bytes(piece)

    def replace(self, key: str, file: Path) -> None:
        """Write a file, whole or not at all, in the place of one of that name."""
        with self._asking() as store:
            obstore.put(store, key, file)

    def delete(self, prefix: str) -> None:
        """Delete every file below this prefix."""
        with self._asking() as store:
            obstore.delete(store, [each["path"] for page in obstore.list(store, prefix) for each in page])

    def folders(self, prefix: str) -> list[str]:
        """List the folders right below this one."""
        with self._asking() as store:
            return list(obstore.list_with_delimiter(store, prefix)["common_prefixes"])

    def check(self) -> None:
        """Ask for nothing in particular."""
        with self._asking() as store:
            next(iter(obstore.list(store, chunk_size=1)), None)

    @contextmanager
    def _asking(self) -> Iterator[Any]:
        """Yield the store; one that did not answer isn't asked again at once, so that nobody waits for it twice."""
        if self._away and time.monotonic() < self._asked_again_at:
            raise StoreAway(self._away)
        try:
            store = self._opened or _opened(self.url)
            if not isinstance(store, LocalStore):  # opening it tells of a folder that is not there; writing makes one
                self._opened = store
            yield store
        except BaseException as why:
            if not isinstance(why, BaseError | ValueError) and type(why).__name__ != PANIC:
                raise
            away = self.unusable(_sentence(why))
            self._away = str(away)
            self._asked_again_at = time.monotonic() + AWAY_SECONDS
            raise away from why
        self._away = None

    def unusable(self, why: str) -> StoreAway:
        """What to raise where it can't be asked."""
        return StoreAway(f"The store of the models, {self.url}, can't be used: {why}.")


def _opened(url: str) -> Any:
    at = urlsplit(url)
    if at.scheme == "file":
        if not Path(unquote(at.path)).is_dir():
            raise GenericError("there is no such folder")
        return LocalStore(unquote(at.path))
    if file := env_file():  # where our own settings may stand too
        for name, value in dotenv_values(file).items():
            if name.startswith(OWN_VARIABLES) and value:
                os.environ.setdefault(name, value)
    return from_url(url, client_options=CLIENT, retry_config=RETRY)


def _sentence(why: BaseException) -> str:
    """Shorten what a store says: no trace, no markup, nothing of an address that may be a key, the same every time."""
    if type(why).__name__ == PANIC:
        said = "what the variables of the store hold, such as its address or a key, has characters that can't be there"
        return f"{said} ({' '.join(str(why).split())})"
    said = str(why).partition("\n\nDebug source")[0]
    if MACHINES_ROLE in said:
        return NO_KEYS
    said = re.sub(r"(?<=://)[^/\s@]*@", "", said)
    said = re.sub(r" in [\d.]+\w?s(, after \d+ retries, max_retries: \d+, retry_timeout: \w+)?", "", said)
    said = re.sub(r"<\?xml.*<Code>(.*?)</Code>.*?<Message>(.*?)</Message>.*", r"\1, \2", said, flags=re.DOTALL)
    said = re.sub(r"\s*RequestId:.*", "", said, flags=re.DOTALL)  # Azure's, with the time: another one for each request
    return re.sub(r"\?\S+", "", " ".join(said.split()))[:500].rstrip(".")
