"""What the Keras files promise to whoever opens them: the lines of docs/models.md, run as a reader runs them."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from app.cli.main import app as cli
from app.core.settings import settings
from app.crud import practice_tasks
from app.ml.evaluation.simulated import school, simulate
from app.ml.features.inputs import INPUTS
from app.ml.training.scheduler import trainer
from tests.school import Student, imported

MODELS_PAGE = Path(__file__).parents[1] / "docs/models.md"
KINDS = ("embedding_v2", "embedding_lstm")
STEPS = ("past_topic", "past_difficulty", "past_item")


def inputs(*arguments: str) -> Any:
    said = CliRunner().invoke(cli, ["inputs", *arguments])
    assert said.exit_code == 0, said.output
    return json.loads(said.stdout)


def refused(*arguments: str) -> str:
    said = CliRunner().invoke(cli, ["inputs", *arguments])
    assert said.exit_code != 0
    return " ".join((said.output + str(said.exception)).split())


def the_ten_lines() -> str:
    section = MODELS_PAGE.read_text().split("## The Keras files in a notebook")[1]
    lines = re.findall(r"```python\n(.*?)```", section, re.DOTALL)[0]
    assert len([line for line in lines.splitlines() if line]) == 10
    return str(lines)


@pytest.fixture
def ada(
    environment: Path,
    service: TestClient,
    student: Callable[..., Student],
    db: Session,
    monkeypatch: pytest.MonkeyPatch,
) -> Student:
    """A student with a past of three tasks, where both networks serve."""
    monkeypatch.setenv("KINDS", ",".join(KINDS))
    settings.cache_clear()
    imported(db, simulate(school(12, seed=1), 25, seed=1).attempts)
    assert trainer().train_now()["outcome"] == "published"
    made = student()
    for topic, right in (("Calculus", True), ("Waves", False), ("Calculus", True)):
        made.do(topic=topic, is_correct=right)
    return made


@pytest.mark.slow
def test_the_lines_of_the_models_page_do_both_on_a_task(
    ada: Student, db: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in KINDS:
        monkeypatch.setenv("ROLLOUT", f"{kind}:100")
        settings.cache_clear()
        task = ada.ask().json()
        assert task["model_version"] == kind
        ada.do()  # what comes later is not in the inputs
        told = inputs(task["id"])
        assert (told["kind"], told["version"]) == (kind, task["model_version_id"])
        expect_the_order_and_the_inputs(told, task, db)
        (tmp_path / "task.json").write_text(json.dumps(told))
        run = subprocess.run(
            [sys.executable, "-c", the_ten_lines()], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stderr
        answer, _, losses = run.stdout.splitlines()
        probability, seconds = map(float, answer.split())
        said = told["answer"]
        assert probability == pytest.approx(said["correctness_prob"], abs=1e-6)
        assert seconds == pytest.approx(said["estimated_time_seconds"], rel=1e-5)
        limits = settings()
        clipped = min(max(said["correctness_prob"], limits.min_probability), limits.max_probability)
        assert task["correctness_prob"] == pytest.approx(clipped, abs=1e-6)
        assert task["estimated_time_seconds"] == pytest.approx(said["estimated_time_seconds"], rel=1e-5)
        before, after = map(float, losses.split())
        assert after < before


def expect_the_order_and_the_inputs(told: Any, task: Any, db: Session) -> None:
    metadata = json.loads((Path(told["folder"]) / "metadata.json").read_text())
    assert list(told["inputs"]) == [each["name"] for each in metadata["keras_inputs"]]
    assert {len(values) for values in told["inputs"].values()} == {1}
    assert told["inputs"]["student"] == [0]  # a stranger to the version
    assert told["inputs"]["inputs"][0] == list(practice_tasks.features_of(db, UUID(task["id"])) or ())
    if told["kind"] == "embedding_lstm":
        done = round(told["inputs"]["inputs"][0][INPUTS.index("overall_task_count")] * 100)
        assert told["inputs"]["done"] == [done]
        assert {np.shape(told["inputs"][name]) for name in STEPS} == {(1, done)}
        assert [right for right, *_ in told["inputs"]["past_outcomes"][0]][:3] == [1, -1, 1]


def test_inputs_that_were_not_kept_are_reckoned_anew_and_a_first_task_has_a_step_nobody_looks_at(
    ada: Student, student: Callable[..., Student], db: Session
) -> None:
    task, first = ada.ask().json(), student("grace").ask().json()
    kept = inputs(task["id"], "--kind", "embedding_v2")
    db.execute(text("UPDATE practice_tasks SET features = NULL WHERE id = :id"), {"id": task["id"]})
    db.commit()
    again = inputs(task["id"], "--kind", "embedding_v2")
    np.testing.assert_allclose(again["inputs"]["inputs"], kept["inputs"]["inputs"], rtol=1e-9)
    newcomer = inputs(first["id"], "--kind", "embedding_lstm")
    assert newcomer["inputs"]["done"] == [0]
    assert newcomer["inputs"]["past_topic"] == [[0]]
    assert np.isfinite(list(newcomer["answer"].values())).all()


def test_the_explanation_shows_what_each_kind_says_as_its_files_do(ada: Student, db: Session) -> None:
    assert trainer().train_now(kinds=["lnirt"])["outcome"] in ("published", "rejected")
    task = ada.ask().json()
    ada.do(is_correct=False)  # what came later counts for none of them
    said = {each["kind"]: each for each in ada.get(f"/practice-tasks/{task['id']}/explanation").json()["kinds"]}
    assert set(said) >= set(KINDS)
    assert [kind for kind, each in said.items() if each["answered"]] == [
        {"v1.0": "lnirt"}.get(task["model_version"], task["model_version"])
    ]
    for kind, each in said.items():
        if each["answered"]:
            limits = settings()
            clipped = min(max(each["correctness_prob"], limits.min_probability), limits.max_probability)
            assert task["correctness_prob"] == pytest.approx(clipped, abs=1e-6)
            assert task["estimated_time_seconds"] == pytest.approx(each["estimated_time_seconds"], rel=1e-5)
        if kind in KINDS:
            told = inputs(task["id"], "--kind", kind)
            assert told["version"] == each["version_id"]
            assert told["answer"]["correctness_prob"] == pytest.approx(each["correctness_prob"], abs=1e-6)
            assert told["answer"]["estimated_time_seconds"] == pytest.approx(each["estimated_time_seconds"], rel=1e-5)


def test_what_has_no_inputs_is_refused_in_a_sentence(db: Session) -> None:
    nobody = str(uuid4())
    assert f"There is no task {nobody}." in refused(nobody)
    assert "there is no kind 'v3'" in refused(nobody, "--kind", "v3")
    imported(db, simulate(school(1, seed=1), 12, seed=1).attempts)
    task = str(db.scalar(text("SELECT id FROM practice_tasks LIMIT 1")))
    db.commit()
    assert "This task was imported; nothing was predicted for it. Name a kind" in refused(task)
    assert "No version of embedding_v2 serves" in refused(task, "--kind", "embedding_v2")
    assert trainer().train_now(kinds=["lnirt"])["outcome"] in ("published", "rejected")
    assert "lnirt is no network" in refused(task, "--kind", "lnirt")
