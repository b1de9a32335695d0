"""The command line, as a person uses it."""

import csv
import gzip
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from operator import itemgetter
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import numpy as np
import psycopg2
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from app.cli import main
from app.cli.service import _as_called
from app.core import database, settings
from app.core.db import embedded_postgres
from app.crud import model_versions
from app.ml.evaluation import tuning, tuning_study
from app.ml.evaluation.prequential import BASELINES, Baseline
from app.ml.evaluation.simulated import school, simulate
from app.ml.registry import BY_NAME
from app.ml.serving import artifacts, version_store
from tests.school import PASSWORD, imported, interactions, throw_away, until
from tests.versions import pruned, serving, version

runner = CliRunner()
COMMANDS = (
    *(
        "serve",
        "migrate",
        "import",
        "sample",
        "train",
        "status",
        "replay",
        "stop",
        "url",
        "key",
        "key create",
        "fit-lnirt",
    ),
    *("versions", "promote", "rollback", "comparison", "admin", "admin create", "backup", "restore"),
    *("tune", "audit", "key list", "key rotate", "key revoke", "pause", "resume", "erase"),
)


def run(*arguments: str, ok: bool = True) -> str:
    result = runner.invoke(main.app, list(arguments), env={"COLUMNS": "150"})
    assert (result.exit_code == 0) == ok, result.output
    return result.output


@pytest.fixture
def csv_file(tmp_path: Path) -> Path:
    """Twelve simulated students of twenty tasks each, as the common CSV."""
    rows = interactions(simulate(school(12, seed=4), 20, seed=4).attempts)
    lines = [f"{UUID(bytes=r.student)},,{r.topic},{r.difficulty},{r.correct:d},{r.seconds},{r.started}\n" for r in rows]
    file = tmp_path / "tasks.csv.gz"
    header = "student_id,item_id,topic,difficulty,correct,time_seconds,timestamp\n"
    file.write_bytes(gzip.compress("".join([header, *lines]).encode()))
    return file


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    assert "Usage" in run(*command.split(), "--help")


def test_erase_asks_and_says_what_it_did(db: Session, csv_file: Path) -> None:
    run("import", str(csv_file))
    student = str(db.scalar(text("SELECT user_id FROM practice_tasks LIMIT 1")))
    db.rollback()
    asked = runner.invoke(main.app, ["erase", student], input="n\n")
    assert asked.exit_code == 1
    assert f"Erase 20 tasks of the student {student}? It can't be undone" in asked.output
    assert db.scalar(text("SELECT count(*) FROM practice_tasks")) == 240
    db.rollback()
    assert f"Erased 20 tasks (20 completed) of the student {student}" in run("erase", student, "--yes")
    assert db.scalar(text("SELECT count(*) FROM practice_tasks")) == 220
    assert runner.invoke(main.app, ["erase", student, "--yes"]).exit_code == 1


def test_erase_knows_the_names_of_an_imported_file_and_takes_the_account_along(db: Session, tmp_path: Path) -> None:
    file = tmp_path / "tasks.csv"
    file.write_text("student_id,topic,correct,time_seconds\nAda,b,1,2\n")
    run("import", str(file))
    db.execute(text("INSERT INTO users (id, email, password_hash) SELECT user_id, 'a@b.c', '' FROM practice_tasks"))
    db.commit()
    asked = runner.invoke(main.app, ["erase", "Ada"], input="y\n", env={"COLUMNS": "150"})
    assert "Erase 1 task of the student Ada and the account a@b.c?" in asked.output
    assert "Erased 1 task (1 completed) of the student Ada" in asked.output
    assert db.scalar(text("SELECT count(*) FROM users")) == 0


def test_a_pipe_brings_new_rows_and_says_why_it_can_bring_no_others(
    db: Session, csv_file: Path, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)

    def piped(*options: str, ok: bool = True) -> str:
        with ThreadPoolExecutor() as threads:
            threads.submit(pipe.write_bytes, gzip.decompress(csv_file.read_bytes()))
            return run("import", *options, str(pipe), ok=ok)

    assert "240 rows can be imported" in piped("--check")
    assert "Imported 240 tasks" in piped()
    assert "store it as a file first" in piped(ok=False)
    assert db.scalar(text("SELECT count(*) FROM practice_tasks")) == 240


def test_a_dry_run_tells_what_is_in_a_file_and_needs_no_database(
    tmp_path: Path, csv_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never() -> None:
        raise AssertionError("it asked for the database")

    monkeypatch.setattr("app.core.database.engine", never)
    said = run("import", "--check", str(csv_file))
    assert "240 rows can be imported: 12 students, 6 topics" in said
    assert said.endswith("Nothing was stored.\n")
    bad = tmp_path / "bad.csv"
    bad.write_text("student_id,topic,correct,time_seconds,timestamp\na,b,1,2,45382.1\n,,,,\na,b,1,2,1700000000\n")
    said = run("import", "--check", str(bad), ok=False)
    assert "1 rows can't be used, the first: line 2: timestamp is '45382.1'" in said
    assert "1 blank rows are skipped." in said
    assert said.endswith("Nothing was stored; an import would refuse this file.\n")
    assert "1 rows can't be used" in run("import", "--check", "--skip-bad", str(bad))


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


@pytest.fixture
def rate_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """`tune` trains nothing: losses depend on the rate, 0.001 being best."""

    def loss(settings: Mapping[str, Any] | None) -> float:
        return 1 + float(abs(np.log((settings or {"rate": 0.003})["rate"] / 0.001)))

    def on_hidden(kind: str, settings: Mapping[str, Any] | None, parts: tuning.Parts, *_: Any) -> tuning.Losses:
        return tuning.Losses(np.full(len(parts.hidden), loss(settings)), np.zeros(len(parts.hidden)))

    monkeypatch.setattr(tuning, "tried", lambda kind, settings, *_: tuning.TrialScore(loss(settings), loss(settings)))
    monkeypatch.setattr(tuning, "_on_hidden", on_hidden)
    monkeypatch.setattr(tuning, "LEAST_STUDENTS", 2)


def test_tune_stores_what_is_better_on_hidden_students_and_forgets_it_again(
    db: Session, csv_file: Path, rate_alone: None
) -> None:
    said = run("tune", str(csv_file), "--trials", "1")
    assert "240 tasks, of which trials learn from" in said
    assert "trial 0: loss 2.0986 in" in said
    assert "None of 1 trials is better than the default settings" in said
    said = run("tune", str(csv_file), "--trials", "5")
    assert "Trials with a score so far: 1." in said
    assert "trial 5: loss" in said
    assert "they are stored" in said
    row = db.execute(text("SELECT * FROM network_settings")).one()
    assert (row.kind, row.made_by, row.default_score) == (
        "embedding_v2",
        "command line",
        pytest.approx(2.0986, abs=1e-4),
    )
    assert row.settings["rate"] != 0.003
    assert row.study.startswith("embedding_v2-")
    db.rollback()
    assert "they are stored" in run("tune", str(csv_file), "--trials", "0")
    assert "settings tuned" in run("audit")
    assert "use the defaults again" in run("tune", "--forget", "embedding_v2")
    assert "were the defaults already" in run("tune", "--forget", "embedding_v2")


def test_tune_takes_the_installations_tasks_and_keeps_to_those_it_began_with(
    db: Session, csv_file: Path, rate_alone: None
) -> None:
    assert "too few to tune on" in run("tune", ok=False)
    run("import", str(csv_file))
    assert "Study embedding_v2: 240 tasks" in run("tune", "--trials", "1")
    more = csv_file.with_name("more.csv")
    more.write_text("student_id,topic,correct,time_seconds,timestamp\nAda,b,1,2,1790000000\n")
    run("import", str(more))
    assert "Study embedding_v2: 240 tasks" in run("tune", "--trials", "1")
    assert "Study second: 241 tasks" in run("tune", "--trials", "1", "--study", "second")


def test_tune_keeps_what_was_done_before_ctrl_c(
    db: Session, csv_file: Path, rate_alone: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick, calls = tuning.tried, iter(range(9))

    def cut_off(*given: Any) -> tuning.TrialScore:
        if next(calls) == 2:
            raise KeyboardInterrupt
        return quick(*given)

    monkeypatch.setattr(tuning, "tried", cut_off)
    said = run("tune", str(csv_file), "--trials", "5", ok=False)
    assert "Stopped. 2 trials are kept in the study embedding_v2-" in said
    assert "`smartstudy tune " in said
    assert "--study embedding_v2-" in said


def test_tune_says_what_there_is_and_what_it_lacks(
    db: Session, csv_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "there is no network 'lnirt'" in run("tune", str(csv_file), "--kind", "lnirt", ok=False)
    monkeypatch.setattr(tuning_study, "find_spec", lambda name: None)
    assert "pip install 'smartstudy[tune]'" in run("tune", str(csv_file), ok=False)


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
    assert "line 2: correct is '2'" in str(runner.invoke(main.app, ["fit-lnirt", str(file), "--out", "x"]).exception)


def test_url_is_what_psql_takes(db: Session) -> None:
    url = run("url").strip()
    assert url.startswith("postgresql://")
    connection = psycopg2.connect(url)  # libpq's reading of it, as psql's is
    connection.close()


def test_stop_does_not_stop_beneath_a_running_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "is_embedded", lambda: True)
    monkeypatch.setattr(embedded_postgres, "is_used", lambda _: True)
    said = run("stop", ok=False)
    assert "end that first" in said
    assert "is stopped" not in said


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


@pytest.mark.parametrize("proxies", ["", "10.0.0.0/8, 192.0.2.1"])
def test_nobodys_word_on_where_a_request_comes_from_is_taken_but_that_of_a_proxy_that_is_named(
    db: Session, monkeypatch: pytest.MonkeyPatch, proxies: str
) -> None:
    from app.core.settings import settings

    given: dict[str, object] = {}

    def served(server: Any, _: object) -> None:
        given.update(vars(server.config))
        server.started = True

    monkeypatch.setattr("uvicorn.Server.run", served)
    monkeypatch.setattr("uvicorn.Config.configure_logging", lambda _: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr(
        "app.core.observability.logs.configure", lambda: None
    )  # it is this process's log that it would take
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", proxies)
    monkeypatch.setenv("PYTHONSAFEPATH", "1")  # as `serve` sets it; put back afterwards
    settings.cache_clear()
    run("serve")
    assert given["forwarded_allow_ips"] == proxies


def test_the_web_process_imports_no_tensorflow() -> None:
    unwanted = {"tensorflow", "keras", "alembic", "scipy", "obstore"}
    code = f"import app.main, sys; sys.exit(bool({unwanted} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ, check=False).returncode == 0


def test_the_command_line_can_still_limit_threads_when_a_command_begins() -> None:
    code = "import app.cli.main, sys; sys.exit(bool({'numpy', 'scipy', 'tensorflow'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ, check=False).returncode == 0


def test_train_tells_how_it_ended(db: Session) -> None:
    imported(db, simulate(school(1, seed=1), 3, seed=1).attempts)
    assert "3 finished tasks are too few" in run("train", ok=False)


def test_train_takes_one_kind_and_names_them_all(db: Session) -> None:
    refused = run("train", "--kind", "oracle", ok=False)
    assert [kind for kind in BY_NAME if kind not in refused] == []
    imported(db, simulate(school(1, seed=1), 3, seed=1).attempts)
    assert "3 finished tasks are too few" in run("train", "--kind", "lnirt", ok=False)
    assert db.scalar(text("SELECT count(*) FROM training_runs")) == 0
    db.rollback()
    imported(db, simulate(school(4, seed=2), 10, seed=2).attempts)
    run("train", "--kind", "lnirt")
    assert db.scalar(text("SELECT kinds FROM training_runs")) == ["lnirt"]


def test_versions_are_listed_with_what_they_are_worth(db: Session) -> None:
    assert "No model has been trained yet; LNIRT fitted to the newest tasks answers." in run("versions")
    lnirt, v2, gone = version(db, "lnirt"), version(db), version(db, auc=None)
    serving(db, v2, lnirt)
    pruned(db, gone)
    shown = run("versions")
    assert "0.600 ±0.020" in shown
    for word in ("answers", "stands in", "files gone"):
        assert word in shown
    assert "No embedding_lstm has been trained yet." in run("versions", "--kind", "embedding_lstm")
    listed = json.loads(run("versions", "--kind", "lnirt", "--json"))["items"]
    assert [(each["id"], each["answers_first"]) for each in listed] == [(lnirt, False)]


def test_promote_and_rollback_say_what_they_did(db: Session) -> None:
    old, new = version(db), version(db)
    serving(db, new)
    assert f"Version {old} of embedding_v2 was promoted by command line." in run("promote", str(old))
    said = run("rollback")
    assert (
        f"Rolled back to version {new} of embedding_v2 by command line. Yet LNIRT fitted to the newest tasks answers:"
        in said
    )
    assert "can't be loaded" in said  # for its files were never there
    pruned(db, old)
    for arguments in (("promote", str(old)), ("promote", "99"), ("rollback",)):
        assert "Traceback" not in run(*arguments, ok=False)
    db.rollback()
    assert db.scalar(text("SELECT id FROM model_versions WHERE state = 'serving'")) == new


def test_a_lost_version_is_retired_and_a_whole_one_is_not(
    db: Session, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, whole = version(db), version(db, kind="lnirt")
    serving(db, lost, whole)
    row = model_versions.get(db, whole)
    (file := environment / "models" / row.folder / "lnirt.npz").parent.mkdir(parents=True)
    file.write_text("whole")
    db.execute(text("UPDATE model_versions SET files = CAST(:files AS jsonb) WHERE id = :id"),
               {"id": whole, "files": json.dumps(artifacts.hashes(file.parent))})  # fmt: skip
    db.commit()
    assert f"The files of version {whole} are whole" in run("retire", str(whole), ok=False)
    assert f"Version {lost} of embedding_v2 was taken out of service by command line." in run("retire", str(lost))
    assert f"Version {lost} of embedding_v2 is not in service." in run("retire", str(lost), ok=False)
    assert run("copy-versions", (environment / "store").as_uri()).startswith("The files of 1 versions lie in file:///")
    assert (environment / "store" / row.folder / "lnirt.npz").read_text() == "whole"
    monkeypatch.setenv("MODEL_URL", (environment / "store").as_uri())
    (there := environment / "store" / row.folder / "lnirt.npz").write_text("damaged")
    for cached in (settings.settings, version_store.version_store):
        cached.cache_clear()
    assert f"Version {whole} stays: this machine has its files" in run("retire", str(whole))
    assert there.read_text() == "whole"
    assert f"The files of version {whole} are whole" in run("retire", str(whole), ok=False)
    monkeypatch.delenv("MODEL_URL")
    for cached in (settings.settings, version_store.version_store):
        cached.cache_clear()
    assert "'/store' can't be used: this command takes file:///folder" in run("copy-versions", "/store", ok=False)
    (gone := environment / "store" / model_versions.get(db, lost).folder / "lnirt.npz").parent.mkdir()
    gone.write_text("a student who was erased")
    db.execute(text("UPDATE model_versions SET pruned_at = now() WHERE id = :id"), {"id": lost})
    db.commit()
    run("copy-versions", (environment / "store").as_uri())
    assert not gone.exists()
    file.write_text("damaged")
    assert f"Not copied: version {whole}:" in run("copy-versions", (environment / "other").as_uri(), ok=False)


def test_pause_and_resume_say_what_they_did(db: Session) -> None:
    assert run("resume").strip() == "Nothing held trainings up."
    assert run("pause", "--reason", "Exams.").strip() == "Trainings are paused."
    assert run("pause").strip() == "Trainings were paused already."
    assert "by command line: Exams." in " ".join(run("status").split())
    assert run("resume").strip() == "Trainings go on."


def test_comparison_is_worth_reading_before_anything_happened(db: Session) -> None:
    assert "Nothing to compare yet" in run("comparison")
    found = json.loads(run("comparison", "--days", "7", "--json"))
    assert (found["days"], found["versions"]) == (7, [])


def test_an_admin_is_made_once_with_a_password_that_works(db: Session) -> None:
    from app.core.security import password_fits

    def stored() -> tuple[str, bool]:
        db.rollback()
        row = db.execute(text("SELECT password_hash, is_admin FROM users WHERE email = 'grace@example.com'")).one()
        return row.password_hash, row.is_admin

    said = run("admin", "create", " Grace@Example.com ", "--name", "Grace")
    assert "grace@example.com has an account now and is an admin." in said
    before = stored()
    assert password_fits(said.split("shown this once: ")[1].strip(), before[0])
    assert before[1] is True
    assert "is an admin already" in run("admin", "create", "grace@example.com")
    db.execute(text("UPDATE users SET is_admin = false"))
    db.commit()
    assert "its password stays as it was" in run("admin", "create", "grace@example.com")
    assert stored() == before


def test_an_admins_password_may_come_from_the_environment_or_the_keyboard(
    db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.core.security import password_fits

    monkeypatch.setenv("ADMIN_PASSWORD", PASSWORD)
    assert PASSWORD not in run("admin", "create", "a@example.com")
    monkeypatch.setattr("app.cli.keys._is_terminal", lambda: True)
    typed = runner.invoke(main.app, ["admin", "create", "b@example.com"], input="typed it twice\ntyped it twice\n")
    assert typed.exit_code == 0, typed.output
    a, b = db.scalars(text("SELECT password_hash FROM users ORDER BY email"))
    assert password_fits(PASSWORD, a)
    assert password_fits("typed it twice", b)


@pytest.mark.parametrize(
    ("email", "password", "complaint"),
    [("grace", PASSWORD, "such as ada@example.com"), ("g@h", "short", "8 characters")],
)
def test_an_admin_needs_what_registration_asks_for(
    db: Session, monkeypatch: pytest.MonkeyPatch, email: str, password: str, complaint: str
) -> None:
    monkeypatch.setenv("ADMIN_PASSWORD", password)
    result = runner.invoke(main.app, ["admin", "create", email])
    assert result.exit_code == 1
    assert complaint in result.output
    assert db.scalar(text("SELECT count(*) FROM users")) == 0


def test_evaluate_compares_on_unseen_students(csv_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    shown = run("evaluate", str(csv_file), "--test", str(csv_file), "--model", "prior", "--model", "item mean",
                "--json", str(out))  # fmt: skip
    assert "judged on 240 of 12 others" in shown
    figures = json.loads(out.read_text())
    assert [each["model"] for each in figures["models"]] == ["prior", "item mean"]
    assert figures["models"][0]["n"] == 240
    refused = run("evaluate", str(csv_file), "--model", "oracle", ok=False)
    assert "There is no model 'oracle'; there are prior, global mean" in refused


def test_a_file_without_tasks_is_an_error(tmp_path: Path) -> None:
    empty = tmp_path / "empty.csv"
    empty.write_text("student_id,topic,difficulty,correct,time_seconds,timestamp\n")
    for command in ("replay", "evaluate"):
        assert "empty.csv holds no finished task." in run(command, str(empty), ok=False)


def rows_of(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(gzip.decompress(file.read_bytes()).decode().splitlines()))


def test_research_does_without_times_and_topics_and_says_so(csv_file: Path, tmp_path: Path) -> None:
    bare, out = tmp_path / "bare.csv", tmp_path / "figures.json"
    marks = ["", *(row["correct"] for row in rows_of(csv_file)[1:])]
    lines = [f"{row['student_id']},x,{mark}\n" for row, mark in zip(rows_of(csv_file), marks, strict=True)]
    bare.write_text("person,item,correct\n" + "".join(lines))
    said = run("evaluate", str(bare), "--test", str(bare), "--model", "item mean", "--json", str(out))
    assert "bare.csv: 1 rows have no result (correct is empty) and were left out." in said
    assert "bare.csv: No row has a time, so times are not judged." in said
    assert "bare.csv: No row names a topic, so all tasks count as one topic." in said
    figures = json.loads(out.read_text())
    assert figures["models"][0]["rmse_log_time"] is None
    assert figures["files"][0] == {"rows": 239, "no_result": 1, "no_time": 239, "no_topic": 239}


def test_rows_hold_every_prediction_and_what_happened(csv_file: Path, tmp_path: Path) -> None:
    out, file = tmp_path / "rows.csv.gz", str(csv_file)
    run("evaluate", file, "--test", file, "--model", "prior", "--model", "item mean", "--rows", str(out))
    found = rows_of(out)
    assert [row["model"] for row in found] == ["prior"] * 240 + ["item mean"] * 240
    assert (found[0]["probability"], found[0]["probability_low"], found[0]["seconds_high"]) == ("0.5", "0.1", "600.0")
    assert (found[240]["probability_low"], found[240]["probability_high"]) == ("", "")

    in_order = itemgetter("student_id", "timestamp")
    written, read = (sorted(each, key=in_order) for each in (found[:240], rows_of(csv_file)))
    for told, given in zip(written, read, strict=True):
        for name in ("student_id", "item_id", "topic", "difficulty"):
            assert told[name] == given[name]
        for name in ("correct", "time_seconds", "timestamp"):
            assert float(told[name]) == pytest.approx(float(given[name]), abs=1e-5)
    assert "is the file to read" in run("evaluate", file, "--rows", file, ok=False)
    assert "There is no folder" in run("replay", file, "--json", str(tmp_path / "no" / "x.json"), ok=False)


def test_ctrl_c_shows_what_has_finished_and_exits_130(
    csv_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("app.ml.evaluation.benchmark._items_and_students", interrupted)
    monkeypatch.setattr(
        "app.ml.evaluation.served.BASELINES", (BASELINES[0], Baseline("slow", interrupted), BASELINES[1])
    )
    out, rows = tmp_path / "figures.json", tmp_path / "rows.csv"
    for command, finished, ended in (("evaluate", "prior", "global mean"), ("replay", "global mean", "slow")):
        result = runner.invoke(main.app, [command, str(csv_file), "--json", str(out), "--rows", str(rows)])
        assert result.exit_code == 130, result.output
        assert finished in result.output
        assert f"Interrupted in {ended} (2 of " in result.output
        assert json.loads(out.read_text())["interrupted"][:2] == [ended, "item mean"]
        assert {row.split(",")[0] for row in rows.read_text().splitlines()} == {"model", finished}


def test_backup_and_restore_say_what_they_did(db: Session, csv_file: Path, environment: Path) -> None:
    run("import", str(csv_file))
    file = environment / "smartstudy.backup"
    said = run("backup", str(file))
    assert "Backed up 240 tasks, 0 accounts and the files of 0 model versions" in said
    assert "keep it as safe as the database itself" in said
    assert file.stat().st_mode & 0o777 == 0o600
    assert "--force" in run("backup", str(file), ok=False)
    run("backup", "--force", str(file))
    db.execute(text("DELETE FROM practice_tasks"))
    db.execute(text("INSERT INTO users (email, password_hash) VALUES ('a@b', 'x')"))
    db.commit()
    db.close()
    database.engine().dispose()
    assert "--replace puts the backup in their place" in run("restore", str(file), ok=False)
    asked = runner.invoke(main.app, ["restore", str(file), "--replace"], input="n\n")
    assert asked.exit_code == 1
    assert "they are lost when the backup of" in " ".join(asked.output.split())
    assert db.scalar(text("SELECT count(*) FROM users")) == 1
    db.close()
    database.engine().dispose()
    assert "Restored 240 tasks" in run("restore", str(file), "--replace", "--yes")
    assert db.scalar(text("SELECT count(*) FROM practice_tasks")) == 240
    assert db.scalar(text("SELECT count(*) FROM users")) == 0


def test_restore_refuses_another_file_in_a_sentence(environment: Path) -> None:
    file = environment / "notes.txt"
    file.write_text("not a backup")
    said = run("restore", str(file), "--replace", "--yes", ok=False)
    assert "is not a whole backup of SmartStudy" in said
    assert "Traceback" not in said


def test_an_embedded_database_is_backed_up_with_its_key_and_restored_elsewhere(
    environment: Path, csv_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def command(data: str, *arguments: str) -> str:
        variables = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "SECRET_KEY")}
        variables |= {"DATA_DIR": str(environment / data), "MODEL_DIR": str(environment / data / "models")}
        done = subprocess.run([sys.executable, "-m", "app", *arguments], env=variables, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    command("one", "import", str(csv_file))
    (environment / "one" / "secret_key").write_text("s" * 64)
    assert "the key that tokens are signed with" in command("one", "backup", str(environment / "file"))
    command("two", "restore", str(environment / "file"))
    assert (environment / "two" / "secret_key").read_text() == "s" * 64
    assert json.loads(command("two", "status", "--json"))["counter"]["since_training"] == 240
    throw_away(environment / "one")
    throw_away(environment / "two")


@pytest.mark.parametrize(
    "command", [["serve"], ["train"], ["migrate"], ["import", "FILE"], ["backup", "new"], ["status"]]
)
def test_a_newer_database_is_refused_by_every_command_in_a_sentence(
    db: Session, csv_file: Path, command: list[str]
) -> None:
    db.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    db.commit()
    arguments = [str(csv_file) if each == "FILE" else each for each in command]
    done = subprocess.run(
        [sys.executable, "-m", "app", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "newer than this code" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "command", [["train"], ["migrate"], ["import", "FILE"], ["backup", "new"], ["restore", "FILE"]]
)
def test_a_database_that_is_away_is_a_sentence_for_every_command_but_serve(
    environment: Path, csv_file: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://ada:s3cret@127.0.0.1:1/none")
    arguments = [str(csv_file) if each == "FILE" else each for each in command]
    done = subprocess.run(
        [sys.executable, "-m", "app", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert ("does not answer" in done.stderr) == (command[0] != "restore")  # which looks at its file first
    assert "Traceback" not in done.stderr
    assert "s3cret" not in done.stderr


@pytest.mark.parametrize(
    ("listens", "called"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]"), ("host", "host")],  # noqa: S104
)
def test_the_address_that_is_said_can_be_called(listens: str, called: str) -> None:
    assert _as_called(listens) == called
