"""`monitor_training.sh`, by the documents' name."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "monitor_training.sh"
SAYS_ITS_ARGUMENTS = '#!/bin/sh\necho "$0" "$@"\n'


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A copy of it in a folder of its own."""
    return Path(shutil.copy(SCRIPT, tmp_path / SCRIPT.name))


def run(script: Path, *arguments: str, path: str = "/usr/bin:/bin") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(script), *arguments], env={"PATH": path}, cwd="/", capture_output=True, text=True, check=False
    )


def stand_in(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(SAYS_ITS_ARGUMENTS)
    file.chmod(0o755)
    return file


def test_it_watches_with_the_command_beside_it_and_passes_arguments_on(script: Path, tmp_path: Path) -> None:
    command = stand_in(tmp_path / ".venv/bin/smartstudy")
    stand_in(tmp_path / "elsewhere/smartstudy")
    said = run(script, "--json", "a b", path=f"{tmp_path}/elsewhere:/usr/bin:/bin")
    assert said.stdout == f"{command} status --watch --json a b\n"


def test_it_watches_with_the_command_on_the_path(script: Path, tmp_path: Path) -> None:
    command = stand_in(tmp_path / "elsewhere/smartstudy")
    assert run(script, path=f"{tmp_path}/elsewhere:/usr/bin:/bin").stdout == f"{command} status --watch\n"


def test_it_says_what_to_do_where_there_is_none(script: Path) -> None:
    said = run(script)
    assert said.returncode == 127
    assert "`make run` installs it" in said.stderr


def test_it_explains_itself_and_may_be_executed() -> None:
    assert os.access(SCRIPT, os.X_OK)
    assert "Usage: ./monitor_training.sh" in run(SCRIPT, "--help").stdout
