"""Nonsense among the tasks, of one student or of all: answers stay finite, and the others feel little of it."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from app.core.database import database_url, new_session
from app.core.settings import settings
from app.crud import attempts, imports, model_versions, training_runs
from app.domain.attempts import Attempts
from app.domain.interactions import Interaction, uuid5
from app.ml.answers import Answers
from app.ml.evaluation.simulated import school, simulate
from app.ml.lnirt.model import fit_lnirt
from app.ml.registry import BY_NAME
from app.ml.serving.model_order import ServingModels, on_base
from app.ml.serving.pool import pool
from app.ml.serving.version_store import VersionStore
from app.ml.training import run as training_run
from app.ml.training.gate import Champion, HoldoutSet, rejection_reason
from tests.school import imported, interactions

TASKS = simulate(school(12, seed=3), 40, seed=3).attempts
VANDAL = UUID(int=666)
Train = Callable[[], dict[str, Any]]


@pytest.fixture
def train(environment: Path, db: Session, monkeypatch: pytest.MonkeyPatch) -> Train:
    """A run from scratch with V2 and LNIRT, in this process."""
    monkeypatch.setattr(training_run, "MODELS", (BY_NAME["embedding_v2"], BY_NAME["lnirt"]))

    def run() -> dict[str, Any]:
        with new_session().begin() as session:
            run_id = training_runs.ask(session)
        order = training_run.Order(run_id, database_url(), str(settings().model_dir), 5, 10, 10, True)
        return training_run.train(order, lambda step: None)

    return run


def says(db: Session, tasks: Attempts) -> Answers:
    """What is answered to all tasks of the honest."""
    db.rollback()
    serves = ServingModels(lambda: new_session().begin(), VersionStore(settings().model_dir))
    serves.refresh()
    serves.close()
    shares, every = serves.model_order.shares, np.arange(len(tasks))
    parts = [each for each in serves.model_order.models if each.kind.name in shares]
    said = pool([(each.model.answers(tasks, every), shares[each.kind.name]) for each in parts])
    assert ((said.probability > 0) & (said.probability < 1)).all()
    assert (np.isfinite(said.seconds) & (said.seconds > 0)).all()
    return said


def rows_of_vandal(n: int, correct: Iterable[bool], seconds: float) -> list[Interaction]:
    """A day's work on the honest students' topics."""
    start = float(TASKS.finished.max()) / 1e6 + 60
    return [
        Interaction(
            uuid5(f"vandal {k}"),
            VANDAL.bytes,
            None,
            TASKS.topics[k % len(TASKS.topics)],
            "medium",
            right,
            seconds,
            start + k,
        )
        for k, right in zip(range(n), correct, strict=False)
    ]


POISON = {
    "all right": rows_of_vandal(300, [True] * 300, 20),
    "all wrong in three hours": rows_of_vandal(300, [False] * 300, 10_800),
    "all right in no time": rows_of_vandal(300, [True] * 300, 5e-324),
    "right and wrong in turn, in a day": rows_of_vandal(300, [False, True] * 150, 86_400),
    "ten thousand rows": rows_of_vandal(10_000, [False] * 10_000, 1),
}


SLOW = (
    "all right",
    "ten thousand rows",
    "constant time",
    "one student, one topic",
)  # many tasks, or nothing to stop by


def cases(of: dict[str, Any]) -> list[Any]:
    return [pytest.param(each, id=name, marks=pytest.mark.slow if name in SLOW else []) for name, each in of.items()]


@pytest.mark.parametrize("rows", cases(POISON))
def test_one_students_nonsense_moves_the_others_little(train: Train, db: Session, rows: list[Interaction]) -> None:
    imported(db, TASKS)
    assert train()["outcome"] == "published"
    before = says(db, TASKS)
    imports.add(db, rows)
    db.commit()
    ended = train()
    assert ended["outcome"] in ("published", "rejected"), ended
    after = says(db, TASKS)
    assert abs(after.probability.mean() - before.probability.mean()) <= 0.05
    assert abs(np.log(after.seconds / before.seconds).mean()) <= 0.25


def all_of(**columns: Any) -> Attempts:
    changes: dict[str, Any] = {name: np.full(len(TASKS), value) for name, value in columns.items()}
    return replace(TASKS, **changes)


NONSENSE: dict[str, Attempts] = {
    "all right": all_of(correct=True),
    "all wrong": all_of(correct=False),
    "constant time": all_of(seconds=30.0),
    "three hours each": all_of(seconds=10_800.0),
    "no time at all": all_of(seconds=5e-324),
    "all wrong in no time": all_of(correct=False, seconds=5e-324),
    "one class to judge by": replace(TASKS, correct=np.where(np.arange(len(TASKS)) < 350, TASKS.correct, True)),
    "one student, one topic": replace(TASKS, student=TASKS.student * 0, topic=TASKS.topic * 0),
}


@pytest.mark.parametrize("tasks", cases(NONSENSE))
def test_a_school_of_nonsense_is_answered_or_refused_with_a_reason(train: Train, db: Session, tasks: Attempts) -> None:
    imports.add(db, interactions(tasks))
    db.commit()
    ended = train()
    assert len(ended["message"]) > 20
    if ended["outcome"] == "published":
        says(db, attempts.read_all(db))
    else:
        assert list(model_versions.serving(db)) == []


@pytest.mark.parametrize("name", ["embedding_v2", "lnirt"])
def test_a_model_with_numbers_that_are_none_is_not_opened_or_the_gate_refuses_it(tmp_path: Path, name: str) -> None:
    BY_NAME[name].fit(TASKS, lambda step: None).save(tmp_path)
    for file in tmp_path.glob("*.npz"):
        broken: dict[str, Any] = {key: with_nan(array) for key, array in np.load(file).items()}
        np.savez(file, **broken)
    holdout = HoldoutSet(TASKS)
    try:
        model = on_base(BY_NAME[name].load(tmp_path), fit_lnirt(TASKS).served())
    except ValueError:
        return
    prior = Champion("the prior", holdout.prior, is_baseline=True)
    refused = rejection_reason(holdout, "version 2", holdout.evaluate(model), prior, None)
    assert refused is not None
    assert refused.text == "version 2 gives answers that are no finite numbers"


def with_nan(array: NDArray[Any]) -> NDArray[Any]:
    """The same, with one number that is none."""
    return (
        np.where(np.arange(array.size).reshape(array.shape) == 0, np.nan, array) if array.dtype.kind == "f" else array
    )
