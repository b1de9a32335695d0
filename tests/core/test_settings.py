import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import main
from app.core import settings as place
from app.core.settings import settings


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("RETRAIN_EVERY", "0", "RETRAIN_EVERY"),
        ("RETRAIN_EVERY", "five", "RETRAIN_EVERY"),
        ("PORT", "70000", "PORT"),
        ("SECRET_KEY", "short", "32 bytes"),
        ("PREVIOUS_SECRET_KEY", "short", "32 bytes"),
        ("FAILED_SIGN_INS", "-1", "FAILED_SIGN_INS"),
        ("MAX_BODY_BYTES", "10", "MAX_BODY_BYTES"),
        ("FORWARDED_ALLOW_IPS", "10.0.0.1,proxy", "FORWARDED_ALLOW_IPS"),
        ("DATABASE_URL", "sqlite:///x.db", "runs on PostgreSQL"),
        ("MIN_SECONDS", "0", "MIN_SECONDS"),
        ("MIN_TRAINING_TASKS", "3", "MIN_TRAINING_TASKS"),
        ("TRAINING_MEMORY_MB", "150", "TRAINING_MEMORY_MB"),  # the smallest training takes more
    ],
)
def test_a_wrong_value_stops_the_start_with_a_sentence(
    environment: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, complaint: str
) -> None:
    monkeypatch.setenv(name, value)
    settings.cache_clear()
    with pytest.raises(SystemExit, match=complaint):
        settings()


def test_capitals_do_not_matter_where_one_of_few_words_is_meant(
    environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"ENGINE": "Dask", "DASK_SCHEDULER": "tcp://scheduler:8786", "TRAINER": "Elsewhere", "LOG_FORMAT": "JSON"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    assert (settings().engine, settings().trainer, settings().log_format) == ("dask", "elsewhere", "json")


def test_the_shortest_time_must_be_below_the_longest(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (environment / ".env").write_text("MIN_SECONDS=700\nMAX_SECONDS=600\n")
    settings.cache_clear()
    with pytest.raises(SystemExit, match="below MAX_SECONDS"):
        settings()


def test_dotenv_is_read_and_the_environment_wins(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (environment / ".env").write_text("RETRAIN_EVERY=7\nTOKEN_HOURS=2\nSECRET_KEY=\n")
    monkeypatch.setenv("TOKEN_HOURS", "3")
    settings.cache_clear()
    assert (settings().retrain_every, settings().token_hours, settings().secret_key) == (7, 3, None)


def test_a_file_that_is_named_is_read_instead_of_dotenv(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (environment / ".env").write_text("RETRAIN_EVERY=7\nTOKEN_HOURS=2\n")
    (environment / "school.env").write_text("RETRAIN_EVERY=8\n")
    monkeypatch.setenv("ENV_FILE", "school.env")
    settings.cache_clear()
    assert (settings().retrain_every, settings().token_hours) == (8, 24)


def test_the_command_line_names_the_file_for_all_its_processes(
    environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENV_FILE", "another.env")
    (environment / "school.env").write_text("ROLLOUT=lnirt:20\n")
    settings.cache_clear()
    assert CliRunner().invoke(main.app, ["--env-file", "school.env", "status"]).exit_code == 0
    assert os.environ["ENV_FILE"] == str(environment / "school.env")
    assert settings().rollout == "lnirt:20"


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("away.env", None, "No such file"),
        ("latin.env", "SECRET_KEY=\xe4".encode("latin-1"), "no text in UTF-8"),
        (".", None, "Is a directory"),
    ],
)
def test_a_named_file_that_cannot_be_read_stops_the_start_with_a_sentence(
    environment: Path, name: str, content: bytes | None, complaint: str
) -> None:
    if content:
        (environment / name).write_bytes(content)
    command = [sys.executable, "-m", "app", "--env-file", name, "serve"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert complaint in done.stderr


def test_a_folder_named_dotenv_is_nobodys_settings(environment: Path) -> None:
    (environment / ".env").mkdir()
    settings.cache_clear()
    assert settings().retrain_every == 5


def test_models_are_kept_beside_the_code_in_a_clone(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODEL_DIR")
    settings.cache_clear()
    assert settings().model_dir == Path(__file__).parents[2] / "app" / "ml" / "models"


@pytest.mark.parametrize("project", [None, '[project]\nname = "homework"\n'])
def test_models_are_kept_in_the_data_folder_anywhere_else(
    environment: Path, monkeypatch: pytest.MonkeyPatch, project: str | None
) -> None:
    monkeypatch.delenv("MODEL_DIR")
    monkeypatch.setattr(place, "APP", environment / "lib" / "app")
    if project:
        (environment / "lib").mkdir()
        (environment / "lib" / "pyproject.toml").write_text(project)
    settings.cache_clear()
    assert settings().model_dir == environment / "data" / "models"


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("/models", "takes file:///folder"),
        ("file://models", "takes file:///folder"),
        ("s3:///models", "takes file:///folder"),
        ("s3://", "takes file:///folder"),
        ("ftp://host/models", "takes file:///folder"),
        ("s3://bucket/models?x=1", "takes file:///folder"),
        ("s3:/bucket/models", "takes file:///folder"),
        ("s3://bucket:9000/models", "takes file:///folder"),
        ("s3://my bucket/models", "takes file:///folder"),
        ("s3://bucket//models", "takes file:///folder"),
        ("s3://bucket/../models", "takes file:///folder"),
        ("file:///", "takes file:///folder"),
        ("s3://somebody:secret@bucket/models", "takes no secrets"),
    ],
)
def test_a_store_that_can_not_be_one_stops_the_start(
    environment: Path, monkeypatch: pytest.MonkeyPatch, url: str, complaint: str
) -> None:
    monkeypatch.setenv("MODEL_URL", url)
    with pytest.raises(SystemExit, match=f"MODEL_URL: .*{complaint}"):
        settings()


@pytest.mark.parametrize(
    "url", ["file:///models", "s3://bucket/a/path/", "gs://bucket", "az://container/path", " s3://bucket/path/ ", " "]
)
def test_stores_that_there_are(environment: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("MODEL_URL", url)
    assert settings().model_url == url.strip().rstrip("/")
