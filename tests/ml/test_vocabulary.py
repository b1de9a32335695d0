"""A version answers about students, topics and exercises that it has never heard of."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core.database import database_url, new_session
from app.core.settings import settings
from app.crud import training_runs
from app.ml.answers import TaskModel
from app.ml.evaluation.simulated import school, simulate
from app.ml.lnirt.model import fit_lnirt
from app.ml.registry import BY_NAME
from app.ml.serving.model_order import on_base, serving_models
from app.ml.training import run as training_run
from tests.school import SOMEBODY, Student, imported

TASKS = replace(simulate(school(8, seed=7), 30, seed=7).attempts, items=("one", "two"))
WITH_ITEMS = replace(TASKS, item=(np.arange(len(TASKS)) % 3 - 1).astype(np.int32))


@pytest.fixture(scope="module", params=["embedding_v2", "lnirt"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TaskModel:
    folder: Path = tmp_path_factory.mktemp("version")
    kind = BY_NAME[request.param]
    kind.fit(WITH_ITEMS, lambda step: None).save(folder)
    return on_base(kind.load(folder), fit_lnirt(WITH_ITEMS).served())


RENAMED: dict[str, Any] = {
    "students": tuple(f"stranger {n}" for n in range(8)),
    "topics": tuple(f"{topic} II, Größe 数\u202e" for topic in TASKS.topics),
    "items": ('["algebra", "easy"]', "\u0301"),  # the first as LNIRT names a topic without exercises
}


@pytest.mark.parametrize("what", [["students"], ["topics"], ["items"], [*RENAMED]])
def test_unknown_names_are_answered(model: TaskModel, what: list[str]) -> None:
    asked = replace(WITH_ITEMS, **{name: RENAMED[name] for name in what})
    said = model.answers(asked, np.arange(len(asked)))
    assert said.are_finite()
    assert ((said.probability > 0) & (said.probability < 1) & (said.seconds > 0)).all()


def test_a_version_goes_on_while_the_vocabulary_grows(
    service: Any, student: Callable[..., Student], school: Student, db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_run, "MODELS", (BY_NAME["embedding_v2"], BY_NAME["lnirt"]))
    monkeypatch.setenv("RETRAIN_EVERY", "1000000")
    settings.cache_clear()
    imported(db, WITH_ITEMS)
    with new_session().begin() as session:
        run_id = training_runs.ask(session)
    order = training_run.Order(run_id, database_url(), str(settings().model_dir), 5, 10, 10, True)
    assert training_run.train(order, lambda step: None)["outcome"] == "published"
    serving_models().refresh()
    first = school.ask(user_id=SOMEBODY, topic=TASKS.topics[0]).json()
    for n in range(12):
        task = school.do(user_id=SOMEBODY, topic=f"new {n % 2}", item_id=f"new {n}", is_correct=n % 2 == 0)
        assert (task["model_version_id"], task["fallback_reason"]) == (first["model_version_id"], None)
    db.execute(text("UPDATE practice_tasks SET topic = 'renamed' WHERE topic = :old"), {"old": TASKS.topics[0]})
    db.commit()
    for topic in ("renamed", TASKS.topics[0]):
        task = school.ask(user_id=TASKS.students[0], topic=topic, item_id="one").json()
        assert task["model_version_id"] == first["model_version_id"]
        assert 0 < task["correctness_prob"] < 1
        explained = school.get(f"/practice-tasks/{task['id']}/explanation")
        assert explained.status_code == 200, explained.text
