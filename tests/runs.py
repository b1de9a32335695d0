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
from contextlib import suppress
from pathlib import Path

from app.core.db import embedded_postgres

PREFIX = f"smartstudy-tests-{os.geteuid()}-"
MARK = "SMARTSTUDY_TEST_RUN"  # the variable that what a run starts inherits
DISK = Path(os.environ.get("SMARTSTUDY_TEST_DISK", tempfile.gettempdir()))  # a run's TMPDIR is its own folder
MEMORY = Path("/dev/shm")  # noqa: S108 — a database there is cloned in a third of the time
ENOUGH_MEMORY = 6 << 30  # bytes; a container has 64 MB there


def begin() -> Path:
    """Make the folder of this run; the lock on it is held until the process ends."""
    enough = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ENOUGH_MEMORY
    folder = (MEMORY if enough else DISK) / f"{PREFIX}{secrets.token_hex(4)}"
    folder.mkdir()
    folder.chmod(0o1777)  # as the machine's own: some tests become another user
    fcntl.flock(os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600), fcntl.LOCK_EX)
    os.environ[MARK] = folder.name
    os.environ |= {"SMARTSTUDY_TEST_DISK": str(DISK), "TMPDIR": str(folder)}
    tempfile.tempdir = None  # which asks again
    return folder


def end(folder: Path, *, keep_files: bool) -> None:
    """End the run's servers and take away what it made; with `keep_files` the next run does that."""
    _stop_servers(folder)
    if not keep_files:
        _remove(folder)


def sweep() -> None:
    """Take away what other runs left that ended or were killed: processes, PostgreSQL servers, folders."""
    for folder in sorted({found for place in (DISK, MEMORY) for found in place.glob(f"{PREFIX}*")}):
        if not _is_alive(folder):
            _kill_what_it_started(folder.name)
            _stop_servers(folder)
            _remove(folder)


def _is_alive(folder: Path) -> bool:
    """Whether the process that made the folder still holds its lock."""
    try:
        lock = os.open(folder / "lock", os.O_RDWR)
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


def _stop_servers(folder: Path) -> None:
    for cluster in _clusters(folder):
        with suppress(embedded_postgres.EmbeddedPostgresError):
            embedded_postgres.stop(cluster.parent)


def _remove(folder: Path) -> None:
    for cluster in _clusters(folder):
        if cluster.is_symlink():  # root's, where the account can get at it
            shutil.rmtree(cluster.resolve(), ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def _clusters(folder: Path) -> list[Path]:
    """The `postgres` in each data folder of the run, also of one that was being made."""
    below = ((Path(place), names) for place, names, _ in os.walk(folder))  # what vanishes meanwhile is passed over
    found = (place / name for place, names in below for name in names if name in ("postgres", "postgres.new"))
    return [each for each in found if each.is_symlink() or (each / "PG_VERSION").exists()]
