"""The command line, as a person uses it."""

import gzip
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from app import cli
from app.ml.simulated import school, simulate
from tests.school import imported, interactions, until

runner = CliRunner()
COMMANDS = ("serve", "migrate", "import", "train", "status", "replay", "stop", "url", "key", "key create", "fit-lnirt")


def run(*arguments: str, ok: bool = True) -> str:
    result = runner.invoke(cli.app, list(arguments), env={"COLUMNS": "150"})
    assert (result.exit_code == 0) == ok, result.output
    return result.output


@pytest.fixture
def csv_file(tmp_path: Path) -> Path:
    """Twelve simulated students of twenty tasks each, as the common CSV."""
    rows = interactions(simulate(school(12, seed=4), 20, seed=4).attempts)
    lines = [f"{r.student},,{r.topic},{r.difficulty},{r.correct:d},{r.seconds},{r.started}\n" for r in rows]
    file = tmp_path / "tasks.csv.gz"
    header = "student_id,item_id,topic,difficulty,correct,time_seconds,timestamp\n"
    file.write_bytes(gzip.compress("".join([header, *lines]).encode()))
    return file


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    assert "Usage" in run(*command.split(), "--help")


def test_import_says_what_it_did(db: Session, csv_file: Path) -> None:
    assert "Imported 240 tasks; 0 were there already." in run("import", str(csv_file))
    assert "Imported 0 tasks; 240 were there already." in run("import", str(csv_file))
    bad = csv_file.with_name("bad.csv")
    bad.write_text("student_id,topic,correct,time_seconds\na,b,1,2\na,b,yes,2\na,b,1,2\n")
    assert run("import", str(bad), ok=False)
    assert db.scalar(text("SELECT count(*) FROM practice_tasks")) == 240
    assert "Skipped 1 rows" in run("import", "--skip-bad", str(bad))


def test_a_key_is_printed_once_and_stored_hashed(db: Session) -> None:
    key = run("key", "create", "Hill School").splitlines()[0]
    assert key.startswith("ssk_")
    stored = db.execute(text("SELECT * FROM service_keys")).one()
    assert key not in str(stored)
    run("key", "create", "Hill School", ok=False)


def test_status_is_worth_reading_before_and_after_anything_happened(db: Session, csv_file: Path) -> None:
    assert "No training has ended yet." in run("status")
    run("import", str(csv_file))
    assert json.loads(run("status", "--json"))["counter"]["since_training"] == 240


def test_fit_lnirt_writes_what_r_users_expect(tmp_path: Path) -> None:
    data = simulate(school(30, learning=0, seed=2), 40, seed=2).attempts
    rows = [f"{data.student[i]},{data.topic[i]},{data.correct[i]:d},{data.seconds[i]:.3f}\n" for i in range(len(data))]
    file = tmp_path / "answers.csv"
    file.write_text("person,item,correct,time_seconds\n" + "".join(rows))
    assert "1,200 answers of 30 persons to 6 items" in run("fit-lnirt", str(file), "--out", str(tmp_path / "out"))
    names = "alpha,beta,phi,lambda,sigma2"
    head = (tmp_path / "out" / "items.csv").read_text().splitlines()[0]
    assert head == f"item,{names},{','.join(name + '_se' for name in names.split(','))}"
    persons = (tmp_path / "out" / "persons.csv").read_text().splitlines()
    assert (persons[0], len(persons)) == ("person,theta,zeta,theta_sd,zeta_sd", 31)
    assert (tmp_path / "out" / "population.csv").exists()
    file.write_text("person,item,correct,time_seconds\na,b,2,1\n")
    assert "line 2: correct is '2'" in str(runner.invoke(cli.app, ["fit-lnirt", str(file), "--out", "x"]).exception)


def test_url_opens_the_database(db: Session) -> None:
    from sqlalchemy import create_engine

    engine = create_engine(run("url").strip())
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT 1")) == 1
    engine.dispose()


def test_a_database_that_is_behind_is_refused_with_the_command_to_run(
    environment: Path, empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_database)
    done = subprocess.run(
        [sys.executable, "-m", "app", "serve"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "smartstudy migrate" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def served(environment: Path) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """`smartstudy serve` with two workers, on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-m", "app", "serve", "--port", str(port), "--workers", "2"])
    yield f"http://127.0.0.1:{port}", process
    if process.poll() is None:
        process.terminate()
        process.wait(15)


def test_serve_answers_with_two_workers_and_ends_on_sigterm(served: tuple[str, "subprocess.Popen[bytes]"]) -> None:
    address, process = served

    def ready() -> bool:
        try:
            return httpx.get(f"{address}/readyz").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    until(ready, 60)
    assert httpx.get(address).json()["docs"] == "/docs"
    process.send_signal(signal.SIGTERM)
    assert process.wait(15) in (0, -signal.SIGTERM)


def test_the_web_process_imports_no_tensorflow() -> None:
    code = "import app.main, sys; sys.exit(bool({'tensorflow', 'keras', 'alembic', 'scipy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ, check=False).returncode == 0


def test_the_command_line_can_still_limit_threads_when_a_command_begins() -> None:
    code = "import app.cli, sys; sys.exit(bool({'numpy', 'scipy', 'tensorflow'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ, check=False).returncode == 0


def test_train_tells_how_it_ended(db: Session) -> None:
    imported(db, simulate(school(1, seed=1), 3, seed=1).attempts)
    assert "3 finished tasks are too few" in run("train", ok=False)
