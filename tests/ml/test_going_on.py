"""Runs that go on from the models there are, and when one starts from scratch instead."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core.database import database_url, new_session
from app.core.settings import settings
from app.crud import model_versions, serving_changes, training_runs
from app.domain.actors import Actor
from app.domain.attempts import Attempts
from app.domain.kinds import CHECKPOINT
from app.ml import registry
from app.ml.answers import Answers
from app.ml.evaluation.simulated import school, simulate
from app.ml.features.inputs import inputs_of, known_before
from app.ml.registry import ModelSpec
from app.ml.serving import model_order as serving
from app.ml.training import dataset, gate
from app.ml.training import run as training_run
from tests.school import imported

TASKS = simulate(school(20, seed=2), 60, seed=2).attempts  # 1,200
FIRST = 800


@dataclass(frozen=True)
class Toy:
    """Says the student's success rate so far; knows how it came about."""

    told: dict[str, Any]

    @property
    def report(self) -> dict[str, Any]:
        return self.told

    def save(self, folder: Path) -> None:
        (folder / "toy.json").write_text(json.dumps(self.told))
        (folder / CHECKPOINT).write_bytes(b"weights")

    @classmethod
    def load(cls, folder: Path) -> "Toy":
        return cls(json.loads((folder / "toy.json").read_text()))

    def served(self) -> "Toy":
        return self

    def answer(self, version_id: int, asked: Any, past: Any) -> Any:
        raise NotImplementedError

    def answers(self, attempts: Attempts, rows: NDArray[np.intp]) -> Answers:
        p = (0.1 + 0.8 * inputs_of(known_before(attempts))[rows, 0]).clip(0.02, 0.98)
        seconds = 20 + 40 * inputs_of(known_before(attempts))[rows, 1]
        return Answers(p, seconds, p, p, seconds / 3, seconds * 3)


def from_scratch(attempts: Attempts, *_: Any) -> Toy:
    return Toy({"way": "scratch", "rows": len(attempts)})


def go_on(earlier: Toy, attempts: Attempts, fresh: NDArray[np.bool_], *_: Any) -> Toy:
    return Toy({"way": "on", "rows": earlier.told["rows"] + int(fresh.sum()), "read": len(attempts)})


TOYS = (
    ModelSpec("embedding_v2", "embedding_v2", from_scratch, Toy.load, Toy.load, go_on),
    ModelSpec("lnirt", "v1.0", from_scratch, Toy.load),
)
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(environment: Path, db: Session, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run with toys, as the counter sets it off; 800 tasks are finished."""
    for module in (training_run, serving, registry):
        monkeypatch.setattr(module, "BY_NAME", {kind.name: kind for kind in TOYS})
    monkeypatch.setattr(training_run, "MODELS", TOYS)
    monkeypatch.setattr(dataset, "ALWAYS", 100)
    monkeypatch.setattr(gate, "BASELINES", {})  # which toys would lose to
    imported(db, TASKS.take(slice(FIRST)))

    def act(forced: bool = False, growth: float = 0.5) -> dict[str, Any]:
        with new_session().begin() as session:
            run_id = training_runs.ask(session)
        model_dir = str(settings().model_dir)
        order = training_run.Order(run_id, database_url(), model_dir, 5, 10, 10, forced, None, growth)
        return training_run.train(order, lambda step: None)

    return act


def more(db: Session, first: int, end: int) -> None:
    """These of the tasks are finished too."""
    before = db.scalar(text("SELECT count(*) FROM practice_tasks"))
    imported(db, TASKS.take(slice(end)))  # what is there is not stored twice
    assert (before, db.scalar(text("SELECT count(*) FROM practice_tasks"))) == (first, end)


def ways(db: Session) -> dict[str, Any]:
    """How the newest version of each kind came about."""
    db.rollback()
    return {version.kind: version.report for version in reversed(model_versions.latest(db, 50))}


def test_the_first_run_is_from_scratch_and_the_next_goes_on(run: Run, db: Session) -> None:
    assert run()["message"].startswith("Trained on 800 tasks and in service: version 1 of lnirt")
    more(db, FIRST, FIRST + 20)
    result = run()
    assert result["message"].startswith("Went on with the 20 new ones of 820 tasks and in service: version ")
    assert ways(db)["embedding_v2"]["way"] == "on"
    # 697 of 820 are learnt from, 680 of 800 were: the newest 15 % judge.
    assert (ways(db)["embedding_v2"]["rows"], ways(db)["embedding_v2"]["read"]) == (697, 697)
    assert ways(db)["lnirt"]["way"] == "scratch"  # it is quick, and all tasks were read
    flags = db.scalars(text("SELECT from_scratch FROM training_runs ORDER BY id")).all()
    assert flags == [True, False]
    tracker = db.execute(text("SELECT * FROM embedding_model_tracker")).one()
    assert (tracker.n_samples_last_training, tracker.n_samples_since_training) == (820, 0)


def test_where_there_is_much_it_reads_some_students_and_lnirt_stays(
    run: Run, db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_run, "READ_WHOLE", 500)
    monkeypatch.setattr(training_run, "READ", 300)
    run()
    more(db, FIRST, FIRST + 20)
    result = run()
    assert result["n_tasks"] == 820
    assert ways(db)["embedding_v2"]["read"] <= 300
    assert FIRST * 0.85 < ways(db)["embedding_v2"]["rows"] <= 697
    lnirt = db.scalars(text("SELECT state FROM model_versions WHERE kind = 'lnirt'")).all()
    assert lnirt == ["serving"]


def test_from_scratch_again_when_there_is_half_as_much_more(run: Run, db: Session) -> None:
    run()
    more(db, FIRST, 1190)
    assert run()["message"].startswith("Went on")
    more(db, 1190, 1200)
    assert run()["message"].startswith("Trained on 1,200 tasks")


def test_from_scratch_when_a_person_asks_for_it(run: Run, db: Session) -> None:
    run()
    assert run(forced=True)["message"].startswith("Trained on 800 tasks")


def test_from_scratch_when_tasks_that_were_learnt_from_are_erased(run: Run, db: Session) -> None:
    run()
    erase = "DELETE FROM practice_tasks WHERE user_id IN (SELECT user_id FROM practice_tasks LIMIT 1)"
    db.execute(text(erase))
    db.execute(text("UPDATE embedding_model_tracker SET n_samples_since_training = 5"))
    db.commit()
    assert run()["message"].startswith("Trained on")


def test_from_scratch_when_the_files_to_go_on_from_are_damaged(run: Run, db: Session, environment: Path) -> None:
    run()
    version = next(v for v in model_versions.serving(db).values() if v.kind == "embedding_v2")
    (environment / "models" / version.folder / CHECKPOINT).write_bytes(b"other weights")
    more(db, FIRST, FIRST + 20)
    assert run()["outcome"] == "failed"  # it is in service, and its files are not what was published
    serving_changes.retire(db, version.id, Actor("ada@example.com"))
    db.commit()
    assert run()["message"].startswith("Trained on 820 tasks")


def test_from_scratch_when_the_answers_have_become_worse(run: Run, db: Session) -> None:
    """The newest tasks contradict all before: who did well fails, who did badly succeeds."""
    run()
    more(db, FIRST, FIRST + 300)
    flipped = """UPDATE practice_tasks SET is_correct = NOT is_correct
                 WHERE id IN (SELECT id FROM practice_tasks ORDER BY completed_at DESC LIMIT 300)"""
    db.execute(text(flipped))
    db.commit()
    run()
    assert db.scalars(text("SELECT from_scratch FROM training_runs ORDER BY id")).all() == [True, True]
    more(db, FIRST + 300, FIRST + 310)
    run()  # not again at once: there is hardly more to learn from
    assert db.scalars(text("SELECT from_scratch FROM training_runs ORDER BY id")).all() == [True, True, False]


def test_a_rejected_model_is_gone_on_from_where_none_serves(run: Run, db: Session) -> None:
    run()
    db.execute(text("UPDATE model_versions SET state = 'rejected', reason = 'By a test.' WHERE kind = 'embedding_v2'"))
    db.commit()
    more(db, FIRST, FIRST + 20)
    run()
    assert ways(db)["embedding_v2"]["way"] == "on"


def test_a_network_that_only_stands_by_is_trained_when_there_is_more_to_learn(
    run: Run, db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    toys = {kind.name: kind for kind in TOYS} | {
        "embedding_lstm": ModelSpec("embedding_lstm", "embedding_lstm", from_scratch, Toy.load, Toy.load, go_on)
    }
    monkeypatch.setattr(training_run, "MODELS", tuple(toys.values()))
    for module in (training_run, serving, registry):
        monkeypatch.setattr(module, "BY_NAME", toys)
    run()
    more(db, FIRST, FIRST + 20)
    run()
    rows = "SELECT report ->> 'way' FROM model_versions WHERE kind = 'embedding_lstm' ORDER BY id"
    assert db.scalars(text(rows)).all() == ["scratch"]
    db.rollback()
    more(db, FIRST + 20, FIRST + 80)
    run()
    assert db.scalars(text(rows)).all() == ["scratch", "on"]


def test_where_all_new_tasks_judge_it_goes_on_with_old_ones(run: Run, db: Session) -> None:
    run()
    db.execute(text("UPDATE embedding_model_tracker SET n_samples_since_training = 5"))
    db.commit()
    assert run()["outcome"] in ("published", "rejected")
    assert db.scalar(text("SELECT n_samples_since_training FROM embedding_model_tracker")) == 0
