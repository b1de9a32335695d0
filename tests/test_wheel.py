"""What is built from the source works where it is installed, beside whatever stands there."""

import os
import signal
import socket
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app import __version__
from tests.school import Student, throw_away, until

TOP = Path(__file__).parents[1]
BUILD = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
FOREIGN = "raise RuntimeError(f'{__file__} is not what was meant')\n"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-c", BUILD, str(folder)]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=True)
    return folder / done.stdout.split()[-1]


@pytest.fixture(scope="module")
def smartstudy(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command in an environment of its own, which borrows what others made from this one."""
    place = tmp_path_factory.mktemp("installed")
    venv.create(place, with_pip=False)
    paths = {"base": str(place), "platbase": str(place)}
    packages = Path(sysconfig.get_path("purelib", "venv", paths))
    pip = [sys.executable, "-m", "pip", "--python", str(place), "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, str(wheel)], check=True)
    borrowed = Path(sysconfig.get_path("purelib"))  # named last: its own .pth files, with the source, are not read
    (packages / "borrowed.pth").write_text(f"{borrowed}\n")
    return place / "bin" / "smartstudy"


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """Somebody's own project, with names that we and others use."""
    for name in ("app.py", "alembic.py", "logging.py", "random.py", "json.py"):
        (tmp_path / name).write_text(FOREIGN)
    for name in ("app", "uvicorn"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(FOREIGN)
    return tmp_path


def without_ours(**more: str) -> dict[str, str]:
    """The environment of somebody who has set nothing but this."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "TMPDIR", "LANG")}
    return {**kept, **more}


class Started:
    """`smartstudy serve` in a folder, and where it is reached."""

    def __init__(self, smartstudy: Path, folder: Path, *options: str, **environment: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.data, self.log = folder / "data", folder / "log"
        command = [str(smartstudy), "serve", "--port", str(port), *options]
        variables = without_ours(DATA_DIR=str(self.data), **environment)
        with self.log.open("wb") as stderr:
            self.process = subprocess.Popen(command, cwd=folder, env=variables, stderr=stderr)
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30)

    def is_up(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.client.get("/readyz").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def end(self) -> None:
        self.client.close()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        finally:
            self.process.kill()
            throw_away(self.data)


@pytest.fixture(params=["one process", "two, and PYTHONPATH"])
def started(smartstudy: Path, foreign: Path, request: pytest.FixtureRequest) -> Iterator[Started]:
    if request.param == "one process":
        made = Started(smartstudy, foreign)
    else:
        for shadow in ("logging.py", "random.py", "json.py", "alembic.py"):
            (foreign / shadow).unlink()  # who names a folder there means those that lie in it
        (foreign / "uvicorn" / "__init__.py").unlink()
        made = Started(smartstudy, foreign, "--workers", "2", PYTHONPATH=".")
    yield made
    made.end()


@pytest.mark.slow
def test_the_wheel_serves_and_trains_in_a_folder_with_an_app_of_its_own(started: Started) -> None:
    until(started.is_up)
    ada = Student.registered(started.client, "ada")
    assert ada.ask().json()["model_version"] == "prior"
    for turn in range(12):
        ada.do(turn % 3 > 0, 20 + turn)
    until(lambda: ada.status()["serving"]["trained_on_tasks"])
    until(lambda: ada.ask().json()["model_version"] != "prior")  # another web process sees it a moment later
    assert list((started.data / "models").glob("versions/*"))


@pytest.mark.slow
@pytest.mark.parametrize("more", [{}, {"PYTHONPATH": "."}, {"PYTHONSAFEPATH": "1"}])
def test_its_command_says_its_version_wherever_it_stands(
    smartstudy: Path, tmp_path: Path, more: dict[str, str]
) -> None:
    (tmp_path / "app.py").write_text(FOREIGN)
    command = [str(smartstudy), "--version"]
    done = subprocess.run(command, cwd=tmp_path, env=without_ours(**more), capture_output=True, text=True, check=True)
    assert done.stdout == f"{__version__}\n"


@pytest.mark.slow
def test_it_holds_code_tables_licence_and_types_and_nothing_trained(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        names = set(opened.namelist())
        about = f"smartstudy-{__version__}.dist-info"
        metadata = opened.read(f"{about}/METADATA").decode()
    assert {"smartstudy.py", "app/cli/main.py", "app/py.typed", "app/_alembic/alembic.ini"} <= names
    assert {"app/sql/complete_tasks.sql", "app/_alembic/alembic/sql/0007/complete_tasks.sql"} <= names
    assert f"{about}/licenses/LICENSE" in names
    assert "License-Expression: MIT" in metadata
    assert not [name for name in names if name.startswith(("tests/", "app/ml/models/", "benchmarks/"))]
