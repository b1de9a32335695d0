"""A student is erased: what the next training publishes, and what no run, promotion or rollback brings back."""

import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core.database import database_url, new_session
from app.core.settings import settings
from app.crud import erasures, model_versions, serving_changes, training_runs
from app.domain.actors import Actor
from app.domain.attempts import Attempts
from app.domain.errors import NotKept
from app.domain.interactions import student_uuid
from app.domain.kinds import CHECKPOINT
from app.ml import registry
from app.ml.answers import Answers
from app.ml.evaluation.simulated import school, simulate
from app.ml.features.inputs import inputs_of, known_before
from app.ml.registry import MODELS, ModelSpec
from app.ml.serving import artifacts
from app.ml.serving import model_order as serving
from app.ml.serving.model_order import ServingModels
from app.ml.serving.version_store import VersionStore
from app.ml.training import dataset, gate
from app.ml.training import run as training_run
from app.ml.training.scheduler import Trainer, is_due
from app.privacy import erasure
from tests.school import imported

TASKS = simulate(school(20, seed=2), 60, seed=2).attempts  # 1,200
ADA = UUID(bytes=student_uuid(TASKS.students[0]))
Run = Callable[..., dict[str, Any]]
MEANWHILE = "A student was erased during the run, so nothing of it is kept; the next run begins anew."


@dataclass(frozen=True)
class Toy:
    """Says the student's success rate so far, and keeps the names of those it learnt from."""

    told: dict[str, Any]

    @property
    def report(self) -> dict[str, Any]:
        return {"way": self.told["way"], "rows": self.told["rows"]}

    def save(self, folder: Path) -> None:
        (folder / "metadata.json").write_text(json.dumps(self.told))
        np.savez_compressed(folder / CHECKPOINT, students=np.array(self.told["students"]))

    @classmethod
    def load(cls, folder: Path) -> "Toy":
        return cls(json.loads((folder / "metadata.json").read_text()))

    def served(self) -> "Toy":
        return self

    def answer(self, version_id: int, asked: Any, past: Any) -> Any:
        raise NotImplementedError

    def answers(self, attempts: Attempts, rows: NDArray[np.intp]) -> Answers:
        features = inputs_of(known_before(attempts))[rows]
        p = (0.5 + self.told["trust"] * (features[:, 0] - 0.5)).clip(0.02, 0.98)
        seconds = 20 + 40 * features[:, 1]
        return Answers(p, seconds, p, p, seconds / 3, seconds * 3)


@pytest.fixture
def ways() -> dict[str, Any]:
    """How well each kind does (`trust`), what makes it fail, and what happens `meanwhile`."""
    return {"embedding_v2": 0.8, "lnirt": 0.8, "meanwhile": lambda kind: None}


@pytest.fixture
def run(environment: Path, db: Session, monkeypatch: pytest.MonkeyPatch, ways: dict[str, Any]) -> Run:
    """A run with toys; 1,200 tasks of twenty students are finished."""

    def fit(name: str) -> Callable[..., Toy]:
        def fitted(attempts: Attempts, *_: Any) -> Toy:
            ways["meanwhile"](name)
            if isinstance(ways[name], Exception):
                raise ways[name]
            names = list(attempts.students)
            return Toy({"way": "scratch", "trust": ways[name], "rows": len(attempts), "students": names})

        return fitted

    def go_on(earlier: Toy, attempts: Attempts, fresh: NDArray[np.bool_], *_: Any) -> Toy:
        return Toy({**earlier.told, "way": "on"})

    toys = {
        "embedding_v2": ModelSpec("embedding_v2", "embedding_v2", fit("embedding_v2"), Toy.load, Toy.load, go_on),
        "lnirt": ModelSpec("lnirt", "v1.0", fit("lnirt"), Toy.load),
    }
    for module in (training_run, serving, registry):
        monkeypatch.setattr(module, "BY_NAME", toys)
    monkeypatch.setattr(training_run, "MODELS", tuple(toys.values()))
    monkeypatch.setattr(dataset, "ALWAYS", 100)
    monkeypatch.setattr(gate, "BASELINES", {})  # which toys would lose to
    imported(db, TASKS)

    def act(forced: bool = False, only: list[str] | None = None) -> dict[str, Any]:
        with new_session().begin() as session:
            run_id = training_runs.ask(session)
        order = training_run.Order(run_id, database_url(), str(settings().model_dir), 5, 10, 10, forced, only)
        return training_run.train(order, lambda step: None)

    return act


def erase(student: UUID = ADA) -> erasures.Erased:
    with new_session()() as session:
        return erasure.erase(session, student)


def bytes_of(file: Path) -> Iterator[bytes]:
    """All of it, the members of an archive unpacked."""
    yield file.read_bytes()
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            yield from (archive.read(member) for member in archive.namelist())


def traces(student: UUID = ADA) -> list[str]:
    """The files below MODEL_DIR that hold the student's id."""
    name = str(student)
    forms = (name.encode(), student.bytes, student.hex.encode(), name.encode("utf-32-le"), name.encode("utf-16-le"))
    files = [file for file in settings().model_dir.rglob("*") if file.is_file() and not file.is_symlink()]
    found = [file for file in files if any(form in part for part in bytes_of(file) for form in forms)]
    return [str(file.relative_to(settings().model_dir)) for file in found]


def who_serves(db: Session) -> list[int]:
    db.rollback()
    return [version.id for version in model_versions.serving(db).values()]


def counted(db: Session) -> tuple[int, int]:
    db.rollback()
    row = db.execute(
        text("SELECT n_samples_last_training, n_samples_since_training FROM embedding_model_tracker")
    ).one()
    return tuple(row)


def test_the_next_version_is_trained_from_scratch_without_them_and_the_old_files_go(run: Run, db: Session) -> None:
    run()
    assert len(traces()) == 4  # the names of two versions, packed and not
    erase()
    assert counted(db) == (1140, 0)
    assert is_due(db)  # though nobody has finished a task since
    result = run()
    assert result["outcome"] == "published", result
    assert "knew a student who was erased." in result["message"]
    assert who_serves(db) == [3, 4]
    assert traces() == []
    assert [folder.name.split("-")[1] for folder in (settings().model_dir / "versions").iterdir()] == ["2", "2"]
    assert not is_due(db)
    assert counted(db) == (1140, 0)
    assert model_versions.get(db, 4).report["way"] == "scratch"


def test_a_run_that_started_earlier_publishes_nothing(
    run: Run, db: Session, ways: dict[str, Any], environment: Path
) -> None:
    run()
    db.execute(text("UPDATE embedding_model_tracker SET n_samples_since_training = 7, n_samples_last_training = 1193"))
    db.commit()
    kept = sorted(path.name for path in (environment / "models" / "versions").iterdir())
    ways["meanwhile"] = lambda kind: erase() if kind == "lnirt" else None
    result = run(forced=True)
    assert (result["outcome"], result["message"]) == ("interrupted", MEANWHILE)
    assert who_serves(db) == [1, 2]
    assert sorted(path.name for path in (environment / "models" / "versions").iterdir()) == kept
    assert counted(db) == (1133, 7)
    ways["meanwhile"] = lambda kind: None
    assert run()["outcome"] == "published"
    assert traces() == []


def test_an_erasure_right_before_the_publication_is_seen_too(
    run: Run, db: Session, monkeypatch: pytest.MonkeyPatch, environment: Path
) -> None:
    settle = artifacts.settle

    def erased_meanwhile(*args: Any) -> str:
        erase()
        return settle(*args)

    monkeypatch.setattr(artifacts, "settle", erased_meanwhile)
    assert run()["outcome"] == "interrupted"
    assert who_serves(db) == []
    assert list((environment / "models" / "versions").iterdir()) == []
    assert traces() == []


def test_an_erased_student_of_an_unchanged_school_does_not_stop_a_later_run_from_going_on(
    run: Run, db: Session
) -> None:
    run()
    erase()
    run()
    db.execute(text("UPDATE embedding_model_tracker SET n_samples_since_training = 5"))
    db.commit()
    run()
    assert model_versions.get(db, who_serves(db)[1]).report["way"] == "on"
    assert traces() == []


def test_promotion_and_rollback_to_a_version_that_knows_them_are_refused(run: Run, db: Session) -> None:
    run()
    run(forced=True)
    erase()
    for refused in (1, 2, 3, 4):
        with pytest.raises(NotKept, match="may know a student who was erased"):
            serving_changes.promote(db, refused, Actor("grace@example.com"))
        db.rollback()
    with pytest.raises(NotKept, match="no earlier version to go back to that was trained since a student was erased"):
        serving_changes.roll_back(db, Actor("grace@example.com"))
    db.rollback()
    run()
    with pytest.raises(NotKept, match="are gone since"):
        serving_changes.promote(db, 4, Actor("grace@example.com"))
    db.rollback()
    with pytest.raises(NotKept, match="no earlier version"):
        serving_changes.roll_back(db, Actor("grace@example.com"))
    db.rollback()
    run(forced=True)
    assert "Rolled back to version 5" in serving_changes.roll_back(db, Actor("grace@example.com"))


def test_a_version_that_knows_them_keeps_no_worse_one_out(run: Run, db: Session, ways: dict[str, Any]) -> None:
    run()
    erase()
    ways.update(embedding_v2=0.4, lnirt=0.4)
    assert run()["outcome"] == "published"
    assert who_serves(db) == [3, 4]


def test_where_the_new_one_is_no_good_the_next_kind_answers(run: Run, db: Session, ways: dict[str, Any]) -> None:
    run()
    erase()
    ways.update(embedding_v2=-0.5)
    run()
    assert who_serves(db) == [3]
    assert traces() == []


@pytest.mark.parametrize("trust", [-0.5, ValueError("no luck")])
def test_where_nothing_is_any_good_no_version_answers(
    run: Run, db: Session, ways: dict[str, Any], trust: Any, environment: Path
) -> None:
    run()
    erase()
    ways.update(embedding_v2=trust, lnirt=trust)
    assert run()["message"].endswith("LNIRT fitted to the newest tasks answers.")
    assert (who_serves(db), traces()) == ([], [])
    serves = ServingModels(lambda: new_session().begin(), VersionStore(environment / "models"))
    serves.refresh()
    assert serves.answering is None
    serves.close()
    assert not is_due(db)


def test_a_training_of_one_kind_leaves_the_others_to_the_next_run(run: Run, db: Session) -> None:
    run()
    erase()
    run(forced=True, only=["lnirt"])
    assert who_serves(db) == [3, 2]
    assert is_due(db)
    run()
    assert who_serves(db) == [4, 5]
    assert traces() == []


def test_files_that_a_killed_process_left_behind_are_removed(run: Run, db: Session, environment: Path) -> None:
    run()
    with new_session().begin() as session:
        erasures.erase(session, ADA, least=10_000)  # too few remain, and nobody removes the files
    assert len(traces()) == 4
    run(forced=True)
    assert traces() == []


def test_when_few_tasks_remain_the_prior_answers_at_once(run: Run, db: Session, environment: Path) -> None:
    run()
    for student in TASKS.students:
        erase(UUID(bytes=student_uuid(student)))
    assert who_serves(db) == []
    assert list((environment / "models" / "versions").iterdir()) == []
    assert counted(db) == (0, 0)
    assert not is_due(db)


@pytest.fixture
def trainer(db: Session, warm_process: Any) -> Iterator[Trainer]:
    made = Trainer(warm_process)
    yield made
    made.close()


def test_the_real_models_files_hold_no_trace_either(db: Session, trainer: Trainer, environment: Path) -> None:
    imported(db, simulate(school(8, seed=2), 20, seed=2).attempts)
    student = db.scalars(text("SELECT user_id FROM practice_tasks ORDER BY id LIMIT 1")).one()
    db.rollback()
    assert trainer.train_now()["outcome"] == "published"
    before = {place.split("/")[1].split("-")[0] for place in traces(student)}
    assert before <= {kind.name for kind in MODELS}
    assert "embedding_v2" in before
    erase(student)
    trainer.request()
    trainer._pool.submit(lambda: None).result(300)
    assert not is_due(db)
    assert traces(student) == []
    versions = db.execute(text("SELECT erasures, pruned_at IS NULL AS kept FROM model_versions")).all()
    assert {row.kept for row in versions if row.erasures == 0} == {False}
    dump = "SELECT string_agg(CAST(t AS text), ' ') FROM {} AS t"
    for table in ("model_versions", "training_runs", "serving_changes", "embedding_model_tracker"):
        assert str(student) not in (db.scalar(text(dump.format(table))) or "")
