"""What a test run leaves on the machine, and how the next one takes it away when the run was killed.

A run has one folder for all that its tests make: temporary folders, PostgreSQL servers. The lock on it falls with the
run, and whatever the run starts carries the folder's name in its environment.
"""

import fcntl
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from app.core import embedded_postgres

PREFIX = f"smartstudy-tests-{os.geteuid()}-"
MARK = "SMARTSTUDY_TEST_RUN"  # the variable that what a run starts inherits
PLACE = "SMARTSTUDY_TEST_PLACE"  # where the machine has its temporary files; those of a run are in its folder
MEMORY = Path("/dev/shm")  # noqa: S108 — a database there is cloned in a third of the time
ENOUGH_MEMORY = 2 << 30  # bytes; a container has 64 MB there


def begin() -> Path:
    """Make the folder of this run; the lock on it is held until the process ends."""
    os.environ.setdefault(PLACE, tempfile.gettempdir())
    folder = _place() / f"{PREFIX}{secrets.token_hex(4)}"
    folder.mkdir()
    folder.chmod(0o1777)  # as the machine's own: some tests become another user
    fcntl.flock(os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600), fcntl.LOCK_EX)
    os.environ[MARK] = folder.name
    os.environ["TMPDIR"] = str(folder)
    tempfile.tempdir = None  # which asks again
    return folder


def end(folder: Path, *, keep_files: bool) -> None:
    """End the run's servers and take away what it made; with `keep_files` the next run does that."""
    _stop_servers(folder.name)
    shutil.rmtree(MEMORY / folder.name, ignore_errors=True)
    if not keep_files:
        _remove(folder.name)


def sweep() -> None:
    """Take away what other runs left that ended or were killed: processes, PostgreSQL servers, folders."""
    os.environ.setdefault(PLACE, tempfile.gettempdir())
    for name in sorted({folder.name for place in _places() for folder in place.glob(f"{PREFIX}*")}):
        if not _is_alive(name):
            _kill_what_it_started(name)
            _stop_servers(name)
            _remove(name)


def server_folder(process: str) -> Path:
    """Where the server of one of the run's processes keeps its data: in memory, if there is enough."""
    place = MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ENOUGH_MEMORY else _place()
    folder = place / os.environ[MARK]
    folder.mkdir(mode=0o711, exist_ok=True)
    return folder / f"server-{process}"


def _place() -> Path:
    return Path(os.environ[PLACE])


def _places() -> Iterator[Path]:
    yield _place()
    if MEMORY.is_dir():
        yield MEMORY


def _is_alive(name: str) -> bool:
    """Whether the process that made the folder still holds its lock."""
    try:
        lock = os.open(_place() / name / "lock", os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(lock)


def _kill_what_it_started(name: str) -> None:
    """Test workers, services, trainers, browsers; a PostgreSQL has no environment of ours and is stopped instead."""
    mark = f"{MARK}={name}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (process / "environ").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGKILL)


def _stop_servers(name: str) -> None:
    for cluster in _clusters(name):
        with suppress(embedded_postgres.EmbeddedPostgresError):
            embedded_postgres.stop(cluster.parent)


def _remove(name: str) -> None:
    for cluster in _clusters(name):
        if cluster.is_symlink():  # root's, where the account can get at it
            shutil.rmtree(cluster.resolve(), ignore_errors=True)
    for place in _places():
        shutil.rmtree(place / name, ignore_errors=True)


def _clusters(name: str) -> list[Path]:
    """The `postgres` in each data folder of the run, also of one that was being made."""
    return [
        found.with_name(kind)
        for place in _places()
        for kind in ("postgres", "postgres.new")
        for found in (place / name).rglob(kind)
        if found.is_symlink() or (found / "PG_VERSION").exists()
    ]
