"""Clients that are generated from the OpenAPI document compile and walk the story.

The generators are installed into folders of the test's own, from npm and PyPI, at the versions that are written here;
without them the tests are left out, and say so (NEEDS_CLIENTS=1: they fail).
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import address  # noqa: F401  # the service on a port

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
PYTHON_GENERATOR = "openapi-python-client==0.29.1"
STORY = {"predicted": 0.5, "completed": True, "tasks": 1, "topic": "Calculus", "refused": [422, "topic"]}


@pytest.fixture
def folder(tmp_path: Path, address: str) -> Path:  # noqa: F811
    """A folder with the document."""
    (tmp_path / "openapi.json").write_text(httpx.get(f"{address}/openapi.json").text)
    return tmp_path


def run(folder: Path, *command: str) -> str:
    """What it says; a failure with what it says."""
    path = f"{folder / 'venv' / 'bin'}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": ""}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def installed(folder: Path, *command: str) -> None:
    """Install something from a registry; without it the test is left out."""
    missing = None
    if shutil.which(command[0]) is None:
        missing = f"There is no {command[0]} here."
    else:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
        if done.returncode:
            missing = f"{' '.join(command[:3])} could not install it: {(done.stderr or done.stdout).strip()[-300:]}"
    if missing:
        (pytest.fail if os.environ.get("NEEDS_CLIENTS") else pytest.skip)(missing)


def said(output: str) -> dict[str, Any]:
    """The last line."""
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


def test_a_client_by_openapi_typescript(folder: Path, address: str) -> None:  # noqa: F811
    for name in ("package.json", "tsconfig.json", "story.ts"):
        shutil.copy(HERE / name, folder)
    installed(folder, "npm", "install", "--no-audit", "--no-fund", "--ignore-scripts")
    run(folder, "npx", "--no-install", "openapi-typescript", "openapi.json", "--output", "api.d.ts")
    run(folder, "npx", "--no-install", "tsc", "--noEmit")
    run(folder, "npx", "--no-install", "tsc")
    assert said(run(folder, "node", "built/story.js", address)) == STORY


def test_a_client_by_openapi_python_client(folder: Path, address: str) -> None:  # noqa: F811
    python = folder / "venv" / "bin" / "python"
    run(folder, sys.executable, "-m", "venv", "venv")
    installed(folder, str(python), "-m", "pip", "install", "--quiet", PYTHON_GENERATOR)
    generate = ("-m", "openapi_python_client", "generate", "--path", "openapi.json", "--output-path", "client")
    run(folder, str(python), *generate, "--meta", "none", "--fail-on-warning", "--overwrite")
    run(folder, str(python), "-m", "compileall", "-q", "client")
    shutil.move(folder / "client", folder / "smart_study_client")
    shutil.copy(HERE / "story.py", folder)
    assert said(run(folder, str(python), "story.py", address)) == STORY
