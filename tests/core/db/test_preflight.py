"""What can't work is refused at the start, or told by /readyz, in a sentence."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psycopg2
import pytest
from fastapi.testclient import TestClient

from app.core import database
from app.core.db import addresses, preflight
from app.core.db.preflight import Server
from app.monitoring import readiness
from tests.conftest import _drop, _named, _sql
from tests.tcp_proxy import TcpProxy


def command(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    variables = {**os.environ, **environment}
    return subprocess.run(
        [sys.executable, "-m", "app", *arguments], env=variables, capture_output=True, text=True, timeout=120
    )


def refused(url: str, folder: Path, *arguments: str) -> str:
    """What a command says, in a line or two, of why it does nothing."""
    ran = command(*arguments, DATABASE_URL=url, DATA_DIR=str(folder / "data"), MODEL_DIR=str(folder / "models"))
    said = ran.stdout + ran.stderr
    assert ran.returncode == 1, said
    assert "Traceback" not in said
    assert said.count("\n") <= 2, said
    return said


@pytest.fixture
def latin(server: str) -> Iterator[str]:
    made = "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    _sql(server, made)
    yield _named(server, "latin")
    _drop(server, "latin")


@pytest.mark.parametrize("arguments", [("migrate",), ("serve", "--port", "0")])
def test_a_database_that_can_not_hold_every_alphabet_is_refused(
    latin: str, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    assert "The database's encoding is LATIN1" in refused(latin, tmp_path, *arguments)
    with psycopg2.connect(latin) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
        assert cursor.fetchone() == (0,)


@pytest.mark.parametrize("option", ["pool_size=5", "pgbouncer=true", "sslmod=require"])
def test_an_option_that_is_none_is_named(tmp_path: Path, option: str) -> None:
    said = refused(f"postgresql://u:p@127.0.0.1:1/special?{option}", tmp_path, "migrate")
    assert f"the option '{option.split('=')[0]}'" in said


@pytest.mark.parametrize(
    "password", ["p@ss/w:rd%#?x", "gehe@im", "gehe/im", "12/geheim", "1?geheim", "gehe#im", "gehe%im", "gehe[im"]
)
def test_a_password_that_is_not_encoded_is_told_without_a_piece_of_it(tmp_path: Path, password: str) -> None:
    said = refused(f"postgresql://schule:{password}@127.0.0.1:1/special", tmp_path, "migrate")
    assert "%40" in said
    for piece in ("geh", "eim", "im@", "ss/", "rd%", "p@", "schule"):
        assert piece not in said


def test_options_that_only_one_driver_knows_keep_the_other_from_nothing(database_url: str, environment: Path) -> None:
    proxy = TcpProxy(database_url)
    url = f"{proxy.url}?channel_binding=prefer&connect_timeout=7&gssencmode=disable&application_name=school"
    engine = database.engine_for(url)
    assert preflight.check(engine, url) == []
    engine.dispose()
    proxy.cut()
    assert addresses.for_asyncpg("postgresql://h/d?options=-csearch_path%3Dx") == (
        "postgresql://h/d?options=-csearch_path%3Dx"
    )


@pytest.mark.parametrize(
    ("server", "said"),
    [
        (Server("SQL_ASCII", 180000, 0, is_standby=False, is_read_only=False), "encoding is SQL_ASCII"),
        (Server("UTF8", 130011, 0, is_standby=False, is_read_only=False), "is PostgreSQL 13"),
        (Server("UTF8", 180000, 0, is_standby=True, is_read_only=True), "is a standby"),
        (Server("UTF8", 180000, 0, is_standby=False, is_read_only=True), "can only be read"),
    ],
)
def test_servers_that_no_service_can_work_on(server: Server, said: str) -> None:
    (fault,) = preflight.faults(server)
    assert said in fault


def test_a_database_that_takes_no_write_is_not_ready(service: TestClient, database_url: str) -> None:
    assert service.get("/readyz").json() == {"status": "ok", "reasons": []}
    name = database_url.split("/")[3].split("?")[0]
    _sql(database_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    database.engine().dispose()
    service.app.state.readiness._ask.args[1]._until = 0  # type: ignore[attr-defined]
    answer = service.get("/readyz")
    assert answer.status_code == 503
    assert "can only be read" in answer.json()["detail"]


def test_a_full_disk_is_not_ready_and_a_scarce_one_degraded(
    service: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "FRESH_SECONDS", -1)
    for free, status, verdict in ((1 << 20, 503, "DATA_DIR"), (100 << 20, 200, "degraded"), (1 << 40, 200, "ok")):
        monkeypatch.setattr("shutil.disk_usage", lambda _, free=free: SimpleNamespace(free=free))
        answer = service.get("/readyz")
        assert (answer.status_code, verdict in answer.text) == (status, True), answer.text


def test_clocks_that_are_apart_degrade(service: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "CLOCK_SECONDS", -1)
    answer = service.get("/readyz").json()
    assert answer["status"] == "degraded"
    assert "set both by NTP" in answer["reasons"][0]


def test_both_drivers_are_asked(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Server("UTF8", 180000, 0, is_standby=True, is_read_only=True)
    monkeypatch.setattr(preflight, "of_server_by_asyncpg", lambda _: other)
    with pytest.raises(preflight.UnfitSurroundings, match="standby"):
        preflight.check(database.engine(), database.database_url())


def test_a_socket_in_the_place_of_the_host_is_reached_by_both_drivers(database_url: str, environment: Path) -> None:
    named, folder = database_url.split("?host=")
    url = addresses.with_socket(named.replace("@/", f"@{folder.replace('/', '%2F')}:5432/"))
    assert url == f"{named}?host={folder.replace('/', '%2F')}&port=5432"
    engine = database.engine_for(url)
    assert preflight.check(engine, url) == []
    engine.dispose()
    assert addresses.with_socket("postgresql://u@h:1/d?a=%2F") == "postgresql://u@h:1/d?a=%2F"


@pytest.mark.parametrize("arguments", [("migrate",), ("serve", "--port", "0")])
def test_a_value_in_the_address_that_is_never_taken_is_refused_and_not_waited_for(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    said = refused("postgresql://u@127.0.0.1:1/d?sslmode=nonsense", tmp_path, *arguments)
    assert 'invalid sslmode value: "nonsense"' in said


def test_a_database_that_can_only_be_read_is_refused_at_the_start(environment: Path, database_url: str) -> None:
    name = database_url.split("/")[3].split("?")[0]
    _sql(database_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    for arguments in (("migrate",), ("serve", "--port", "0")):
        assert "The database can only be read" in refused(database_url, environment, *arguments)


def test_a_full_disk_is_named_though_the_write_fails_with_it(
    service: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "FRESH_SECONDS", -1)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))
    monkeypatch.setattr(preflight, "WRITE", ("DO $$ BEGIN RAISE EXCEPTION 'full' USING ERRCODE = '53100'; END $$",))
    answer = service.get("/readyz")
    assert (answer.status_code, "DATA_DIR" in answer.text) == (503, True)
