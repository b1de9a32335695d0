"""Inputs on which the product once did what is wrong, each with the right value, the way a user meets it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psycopg2
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from app.cli import main
from tests import pooler
from tests.conftest import _drop, _named, _sql
from tests.school import Student, until
from tests.test_away import Serve, serve, status

__all__ = ["serve"]  # the fixture

CASES = Path(__file__).parents[2] / "shared" / "cases"
pytestmark = pytest.mark.skipif(not CASES.exists(), reason="the small cases are not beside the project (../shared)")


def lines(name: str) -> list[str]:
    """The lines of a case; none where it is not there."""
    return (CASES / name).read_text(encoding="utf-8").splitlines() if CASES.exists() else []


def run(*arguments: str, ok: bool = True) -> str:
    """What a command says in this process."""
    ran = CliRunner().invoke(main.app, list(arguments), env={"COLUMNS": "150"})
    assert (ran.exit_code == 0) == ok, ran.output
    return ran.output + ("" if ok else str(ran.exception))


def alone(*arguments: str, **shell: str) -> "subprocess.CompletedProcess[str]":
    """A command in a process of its own, started in such a shell."""
    command = [sys.executable, "-m", "app", *arguments]
    return subprocess.run(command, env={**os.environ, **shell}, capture_output=True, text=True, timeout=120)


def imported(db: Session, name: str) -> list[datetime]:
    """When the tasks that are stored after importing a case were begun."""
    run("import", str(CASES / name))
    return [
        row.created_at.astimezone(UTC) for row in db.execute(text("SELECT created_at FROM practice_tasks ORDER BY 1"))
    ]


def test_iso_basic_date_is_read_as_that_day(db: Session) -> None:
    assert [f"{at:%F}" for at in imported(db, "iso_basic_date.csv")] == ["2024-03-31", "2024-04-01"]


def test_excel_serial_dates_are_refused_as_day_numbers(db: Session) -> None:
    said = run("import", str(CASES / "excel_serial_dates.csv"), ok=False)
    assert "'45382.10416667'; it seems to be a spreadsheet's day number" in said
    assert db.scalar(text("SELECT count(*) FROM practice_tasks")) == 0


def test_excel_trailing_blank_rows_are_skipped(db: Session) -> None:
    assert [at.timestamp() for at in imported(db, "excel_trailing_blank_rows.csv")] == [1_700_000_000]
    assert "2 blank rows are skipped." in run("import", "--check", str(CASES / "excel_trailing_blank_rows.csv"))


@pytest.mark.parametrize("order", [("topics_nfc.csv", "topics_nfd.csv"), ("topics_nfd.csv", "topics_nfc.csv")])
def test_topics_nfc_and_nfd_are_the_same_tasks(db: Session, order: tuple[str, str]) -> None:
    first = len(imported(db, order[0]))
    assert first == len(lines(order[0])) - 1
    db.rollback()
    assert "Imported 0 tasks" in run("import", str(CASES / order[1]))
    assert db.scalar(text("SELECT count(*) FROM practice_tasks")) == first
    assert db.scalar(text("SELECT count(DISTINCT topic) FROM practice_tasks")) == 2


def test_irt_item_with_wrong_key_is_named(environment: Path) -> None:
    said = run("fit-lnirt", str(CASES / "irt_item_with_wrong_key.csv"), "--out", str(environment / "fitted"))
    assert "Better persons get these items wrong more often" in said
    assert "i2 (-0.18)." in said


def test_unicode_sign_in_takes_however_coded_for_the_same(service: TestClient) -> None:
    for step in map(json.loads, lines("unicode_sign_in.jsonl")):
        given = {name: step[name] for name in ("email", "password")}
        if step["step"] == "register":
            answer = service.post("/auth/register", json=given)
        else:
            answer = service.post("/auth/token", data={"username": given["email"], "password": given["password"]})
        assert answer.status_code == step.get("expected", 201), step


@pytest.fixture
def not_utf8(server: str) -> Iterator[str]:
    made = lines("database_not_utf8.sql")[0].rstrip(";")
    _sql(server, f"{made} LOCALE_PROVIDER libc")  # what the embedded server does by itself knows UTF-8 only
    yield _named(server, "latin")
    _drop(server, "latin")


@pytest.mark.parametrize("command", [("migrate",), ("serve", "--port", "0")])
def test_database_not_utf8_is_refused(not_utf8: str, environment: Path, command: tuple[str, ...]) -> None:
    ran = alone(*command, DATABASE_URL=not_utf8)
    assert ran.returncode == 1
    assert ran.stderr.startswith("The database's encoding is LATIN1")
    assert "Traceback" not in ran.stderr
    with psycopg2.connect(not_utf8) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
        assert cursor.fetchone() == (0,)


@pytest.mark.parametrize("command", [("migrate",), ("serve", "--port", "0"), ("status",)], ids=" ".join)
@pytest.mark.parametrize("option", ["pool_size", "pgbouncer"])
def test_url_with_unknown_option_is_told_its_name(environment: Path, option: str, command: tuple[str, ...]) -> None:
    url = lines("url_with_unknown_option.txt")[0].split()[0].removeprefix("DATABASE_URL=")
    ran = alone(*command, DATABASE_URL=url.replace("pool_size", option))
    assert ran.returncode == 1
    assert f"has the option '{option}', which PostgreSQL does not know" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("command", [("migrate",), ("serve", "--port", "0"), ("status",)], ids=" ".join)
def test_url_with_a_password_that_is_not_encoded_is_told_without_a_piece_of_it(
    environment: Path, command: tuple[str, ...]
) -> None:
    url = lines("url_with_unknown_option.txt")[1].split()[0].removeprefix("DATABASE_URL=")
    ran = alone(*command, DATABASE_URL=url)
    said = ran.stdout + ran.stderr
    assert ran.returncode == 1
    assert "in a user's name or a password % is written %25" in said
    assert "Traceback" not in said
    for piece in ("p@", "ss/", "@ss", "w:rd", "rd%", "#?x", "schule"):
        assert piece not in said


@pytest.mark.parametrize("line", lines("pg_environment.txt"))
def test_pg_environment_changes_nothing(
    line: str, database_url: str, environment: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through both drivers: /readyz asks by psycopg2, POST and PATCH go by asyncpg."""
    name, _, value = line.partition("=")
    monkeypatch.setenv(name, value)
    address, _, log = serve(database_url)
    until(lambda: status(address, "/readyz") == 200, 60)
    with httpx.Client(base_url=address, timeout=30) as client:
        Student.registered(client, "ada").do()
    assert f"{name} in the environment change nothing" in log.read_text()


@pytest.mark.slow
@pytest.mark.skipif(pooler.PROGRAM is None, reason="PgBouncer is not installed (apt-get install pgbouncer)")
def test_pgbouncer_transaction_answers_every_task(database_url: str, serve: Serve) -> None:
    settings = dict(line.split(" = ", 1) for line in lines("pgbouncer_transaction.ini") if " = " in line)
    for name in ("pool_mode", "default_pool_size", "auth_type", "ignore_startup_parameters"):
        assert f"{name} = {settings[name]}" in pooler.DOCUMENTED + pooler.SETTINGS
    through = pooler.Pooler(database_url)
    try:
        address, _, _ = serve(through.url)
        until(lambda: status(address, "/readyz") == 200, 60)
        with httpx.Client(base_url=address, timeout=30) as client:
            student = Student.registered(client, "ada")
            for _ in range(50):
                student.do()
    finally:
        through.close()
