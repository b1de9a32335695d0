"""What comes of a run: who serves, who is rejected and why; and how a person changes it."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import obstore
import psycopg2
import pytest
from numpy.typing import NDArray
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from app.core import object_store
from app.core.database import database_url, new_session
from app.core.db import outages
from app.core.settings import settings
from app.crud import audit, model_versions, serving_changes, training_control, training_runs
from app.domain.actors import Actor
from app.domain.attempts import Attempts
from app.domain.errors import NotKept, StoreAway, VersionNotFound
from app.ml import registry
from app.ml.answers import Answers
from app.ml.evaluation.simulated import school, simulate
from app.ml.features.inputs import inputs_of, known_before
from app.ml.registry import ModelSpec
from app.ml.serving import model_order as serving
from app.ml.serving.model_order import ServingModels
from app.ml.serving.version_store import VersionStore
from app.ml.training import gate, scheduler
from app.ml.training import run as training_run
from tests.school import imported

TASKS = simulate(school(20, seed=2), 60, seed=2).attempts


@dataclass(frozen=True)
class Toy:
    """Says the student's success rate so far, in one of several ways."""

    way: str
    report: Any = None

    def save(self, folder: Path) -> None:
        (folder / "toy.json").write_text(json.dumps(self.way))

    @classmethod
    def load(cls, folder: Path) -> "Toy":
        return cls(json.loads((folder / "toy.json").read_text()))

    def served(self) -> "Toy":
        return self

    def answer(self, version_id: int, asked: Any, past: Any) -> Any:
        raise NotImplementedError

    def answers(self, attempts: Attempts, rows: NDArray[np.intp]) -> Answers:
        features = inputs_of(known_before(attempts))[rows]
        trust = {"good": 0.8, "poor": 3.0, "backwards": -0.5, "nothing": 0.0, "nan": float("nan")}[self.way]
        p = (0.5 + trust * (features[:, 0] - 0.5)).clip(0.02, 0.98)
        seconds = 20 + 40 * features[:, 1]
        return Answers(p, seconds, p, p, seconds / 3, seconds * 3)


Train = Callable[..., dict[str, Any]]


@pytest.fixture
def train(environment: Path, db: Session, monkeypatch: pytest.MonkeyPatch) -> Train:
    """A run with toys: `train(embedding_v2="good", lnirt=ValueError("no luck"))`."""
    ways: dict[str, Any] = {}

    def fit(name: str) -> Callable[..., Toy]:
        def fitted(attempts: Attempts, *_: Any) -> Toy:
            if isinstance(ways[name], Exception):
                raise ways[name]
            return Toy(ways[name], {"rows": len(attempts)})

        return fitted

    names = {"embedding_v2": "embedding_v2", "embedding_lstm": "embedding_lstm", "lnirt": "v1.0"}
    toys = {name: ModelSpec(name, on_tasks, fit(name), Toy.load) for name, on_tasks in names.items()}
    for module in (training_run, serving, registry):
        monkeypatch.setattr(module, "BY_NAME", toys)
    monkeypatch.setattr(gate, "BASELINES", {})  # which toys would lose to
    imported(db, TASKS)

    def run(keep: int = 10, **wanted: Any) -> dict[str, Any]:
        ways.clear()
        ways.update(wanted)
        monkeypatch.setattr(training_run, "MODELS", tuple(toys[name] for name in toys if name in wanted))
        with new_session().begin() as session:
            run_id = training_runs.ask(session)
        order = training_run.Order(run_id, database_url(), str(settings().model_dir), 5, 10, keep, True)
        order = replace(order, model_url=settings().model_url)
        return training_run.train(order, lambda step: None)

    return run


def who_serves(db: Session) -> list[int]:
    db.rollback()
    return [version.id for version in model_versions.serving(db).values()]


def test_the_first_models_serve_with_their_scores(train: Train, db: Session) -> None:
    result = train(embedding_v2="good", lnirt="good")
    assert result["outcome"] == "published"
    assert result["message"] == (
        "Trained on 1,200 tasks and in service: version 1 of lnirt, version 2 of embedding_v2. "
        "What is answered: LNIRT 100% of the chance and 100% of the time."
    )
    assert who_serves(db) == [1, 2]  # on a tie the base answers
    version = model_versions.get(db, 2)
    assert version.scores is not None
    assert version.scores["held_out_rows"] == 180
    assert 0.4 < version.scores["log_loss"] < 0.7
    assert version.scores["log_loss_standard_error"] > 0
    assert version.report["rows"] == 1020  # none of those that judge
    assert version.data_to is not None
    assert version.data_to.timestamp() == pytest.approx(TASKS.finished[1019] / 1e6, abs=1e-3)
    assert version.reason is not None
    assert version.reason.startswith("Serves for embedding_v2: log-loss 0.")
    assert len(version.files["toy.json"]) == 64


def test_a_worse_model_is_rejected_in_one_plain_sentence(train: Train, db: Session) -> None:
    train(embedding_v2="good")
    result = train(embedding_v2="poor")
    assert result["outcome"] == "rejected"
    assert result["message"].startswith("embedding_v2: kept version 1: version 2's log-loss ")
    assert result["message"].endswith(
        " on 180 tasks. What is answered: embedding_v2 100% of the chance and 100% of the time."
    )
    assert who_serves(db) == [1]
    rejected = model_versions.get(db, 2)
    assert rejected.state == "rejected"
    assert rejected.reason is not None
    assert rejected.reason.startswith("Kept version 1: version 2's log-loss ")
    row = db.execute(text("SELECT outcome, message FROM training_runs ORDER BY id DESC LIMIT 1")).one()
    assert tuple(row) == ("rejected", result["message"])
    tracker = db.execute(text("SELECT n_samples_since_training, metadata FROM embedding_model_tracker")).one()
    assert tracker.n_samples_since_training == 0  # judged all the same: not again before the next five
    assert tracker.metadata["message"] == result["message"]


@pytest.mark.parametrize(("way", "why"), [("nan", "no finite numbers"), ("backwards", "a lower chance")])
def test_broken_models_are_rejected(train: Train, db: Session, way: str, why: str) -> None:
    train(embedding_v2="good")
    assert why in train(embedding_v2=way)["message"]
    assert who_serves(db) == [1]


def test_a_model_that_learnt_nothing_does_not_replace_one_that_did(train: Train, db: Session) -> None:
    train(embedding_v2="good")
    assert train(embedding_v2="nothing")["outcome"] == "rejected"
    assert who_serves(db) == [1]


def test_labels_shuffled_everywhere_leave_the_models_in_service(train: Train, db: Session) -> None:
    train(embedding_v2="good", lnirt="good")
    shuffled = """UPDATE practice_tasks SET is_correct = other.is_correct FROM (
        SELECT id, lag(is_correct, 7, true) OVER (ORDER BY md5(CAST(id AS text))) AS is_correct FROM practice_tasks
    ) AS other WHERE other.id = practice_tasks.id"""
    db.execute(text(shuffled))
    db.commit()
    result = train(embedding_v2="nothing", lnirt="nothing", embedding_lstm="nothing")
    assert result["outcome"] == "rejected"
    assert "can't tell right answers from wrong ones (AUC 0.50 on 180 tasks), as version 1 could" in result["message"]
    assert who_serves(db) == [1, 2]


def test_a_network_that_is_worse_than_lnirt_does_not_serve(train: Train, db: Session) -> None:
    message = train(embedding_v2="nothing", lnirt="good")["message"]
    assert "embedding_v2: none serves: version 2's log-loss" in message
    assert "of LNIRT on 180 tasks" in message
    assert who_serves(db) == [1]


def test_a_network_that_counting_beats_does_not_serve(
    train: Train, db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "BASELINES", {"item mean and student": "item_and_student"})
    message = train(embedding_v2="good", lnirt="good")["message"]
    assert "embedding_v2: none serves: version 2's log-loss" in message
    assert "of item mean and student on 180 tasks" in message
    assert who_serves(db) == [1]  # LNIRT is no network


def test_one_kind_may_fail(train: Train, db: Session) -> None:
    result = train(embedding_v2="good", lnirt=ValueError("the numbers are odd"))
    assert result["outcome"] == "published"
    assert "lnirt could not be trained: the numbers are odd." in result["message"]
    assert train(embedding_v2=ValueError("no luck"))["outcome"] == "failed"
    assert who_serves(db) == [1]


@pytest.mark.parametrize("damage", ["gone", "other bytes"])
def test_nothing_is_published_while_the_files_of_a_version_in_service_are_lost(
    train: Train, db: Session, environment: Path, damage: str
) -> None:
    train(embedding_v2="good", lnirt="good")
    folder = environment / "models" / model_versions.get(db, 2).folder
    aside = folder.with_name("aside")
    shutil.copytree(folder, aside)
    shutil.rmtree(folder) if damage == "gone" else (folder / "toy.json").write_text('{"way": "good"}')
    for run in range(2, 9):
        result = train(embedding_v2="good", lnirt="good")
        assert result["outcome"] == "failed"
        assert "Version 2 of embedding_v2 is in service, and nothing is published" in result["message"]
        assert "smartstudy retire 2" in result["message"]
        assert scheduler.recorded(db, run, result) is None
    assert who_serves(db) == [1, 2]
    control = training_control.read(db)
    assert (control.is_paused, control.failures) == (False, 7)  # they wait for the files, not for a person
    assert 0 < control.wait_seconds <= 64
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)
    assert train(embedding_v2="good", lnirt="good")["outcome"] == "published"
    assert not training_control.read(db).failures


def test_a_person_takes_a_version_out_of_service_whose_files_are_lost(
    train: Train, db: Session, environment: Path
) -> None:
    train(embedding_v2="good", lnirt="good")
    folder = environment / "models" / model_versions.get(db, 2).folder
    shutil.rmtree(folder)
    serving_changes.retire(db, 2, Actor("ada@example.com"))
    db.commit()
    assert who_serves(db) == [1]
    assert audit.newest(db, 1)[0].act == "retired"
    folder.mkdir()  # should it come back
    assert train(embedding_v2="good", lnirt="good")["outcome"] == "published"
    assert not folder.exists()
    with pytest.raises(NotKept, match="gone since"):
        serving_changes.promote(db, 2, Actor("ada@example.com"))


def test_a_version_that_knew_an_erased_student_makes_way_whether_or_not_its_files_are_there(
    train: Train, db: Session, environment: Path
) -> None:
    train(embedding_v2="good", lnirt="good")
    shutil.rmtree(environment / "models" / model_versions.get(db, 2).folder)
    db.execute(text("INSERT INTO erasures DEFAULT VALUES"))
    db.commit()
    assert train(embedding_v2="good", lnirt="good")["outcome"] == "published"
    assert who_serves(db) == [3, 4]


def test_a_run_waits_for_a_store_that_is_away_and_publishes_when_it_is_back(
    train: Train, db: Session, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = environment / "store"
    monkeypatch.setenv("MODEL_URL", store.as_uri())
    settings.cache_clear()
    train(embedding_v2="good", lnirt="good")
    shutil.rmtree(environment / "models")  # another machine
    away, waited = environment / "away", list[str]()
    store.rename(away)

    def come_back(seconds: float) -> None:
        with new_session()() as session:
            waited.append(next(iter(training_runs.newest(session, 1))).progress["step"])
        away.rename(store)

    monkeypatch.setattr(training_run, "time", SimpleNamespace(monotonic=lambda: 0.0, sleep=come_back))
    monkeypatch.setattr("app.core.object_store.AWAY_SECONDS", 0)
    assert train(embedding_v2="good", lnirt="good")["outcome"] in ("published", "rejected")
    assert waited == ["fetch"]
    put = object_store.ObjectStore.create

    def breaks_off(self: object_store.ObjectStore, *given: Any) -> bool:
        monkeypatch.setattr(object_store.ObjectStore, "create", put)
        store.rename(away)
        raise StoreAway("The store is away.")

    monkeypatch.setattr(object_store.ObjectStore, "create", breaks_off)
    assert train(embedding_v2="good", lnirt="good")["outcome"] in ("published", "rejected")
    assert waited == ["fetch", "store"]
    assert sorted(each.name for each in (store / "versions").iterdir()) == sorted(
        folder.removeprefix("versions/") for folder in db.scalars(text("SELECT folder FROM model_versions"))
    )


def test_a_run_that_waited_long_enough_says_so_and_pauses_nothing(
    train: Train, db: Session, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_URL", (environment / "store").as_uri())
    settings.cache_clear()
    monkeypatch.setattr(training_run, "PATIENCE_SECONDS", 0)

    def away(*_: Any) -> bool:
        raise StoreAway("The store of the models, s3://models, can't be used: nobody is there.")

    monkeypatch.setattr(object_store.ObjectStore, "create", away)
    for _ in range(6):
        result = train(embedding_v2="good", lnirt="good")
        assert result["outcome"] == "failed"
        assert result["message"].startswith("The new lnirt could not be stored: The store of the models, s3://models")
    assert not training_control.read(db).is_paused
    assert list((environment / "models" / "versions").iterdir()) == []
    assert db.scalar(text("SELECT count(*) FROM model_versions")) == 0


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        ("nothing", "it says that .* is there, and does not find it"),
        ("half", "is not what was written there"),
        ("as many other bytes", "is not what was written there"),
    ],
)
def test_what_a_store_takes_and_does_not_keep_is_not_published(
    train: Train, db: Session, environment: Path, monkeypatch: pytest.MonkeyPatch, kept: str, said: str
) -> None:
    """It answers 200 to each PUT."""
    monkeypatch.setenv("MODEL_URL", (environment / "store").as_uri())
    settings.cache_clear()
    monkeypatch.setattr(training_run, "PATIENCE_SECONDS", 0)
    put = obstore.put

    def taken(store: Any, key: str, file: Path, **mode: Any) -> None:
        content = file.read_bytes()
        if kept != "nothing":
            put(store, key, content[: len(content) // 2] if kept == "half" else b"?" * len(content), **mode)

    with monkeypatch.context() as meeting:
        meeting.setattr(obstore, "put", taken)
        result = train(embedding_v2="good", lnirt="good")
    assert result["outcome"] == "failed"
    assert re.search(said, result["message"])
    assert db.scalar(text("SELECT count(*) FROM model_versions")) == 0
    assert list((environment / "store").glob("versions/*")) == []
    assert train(embedding_v2="good", lnirt="good")["outcome"] == "published"


def test_a_version_from_before_the_gate_is_no_rival(train: Train, db: Session) -> None:
    train(lnirt="good")
    db.execute(text("UPDATE model_versions SET data_to = NULL, scores = '{}'"))
    db.commit()
    assert train(lnirt="poor")["outcome"] == "rejected"  # the prior is the rival then
    assert train(lnirt="good")["outcome"] == "published"
    assert who_serves(db) == [3]


def test_promote_promote_roll_back_promote(train: Train, db: Session) -> None:
    for _ in range(3):
        train(embedding_v2="good")
    assert who_serves(db) == [3]

    def then(act: Callable[[], str]) -> list[int]:
        act()
        db.commit()
        return who_serves(db)

    assert then(lambda: serving_changes.promote(db, 1, Actor("ada@example.com"))) == [1]
    assert then(lambda: serving_changes.promote(db, 2, Actor("ada@example.com"))) == [2]
    assert then(lambda: serving_changes.roll_back(db, Actor("ada@example.com"))) == [1]
    assert then(lambda: serving_changes.promote(db, 2, Actor("ada@example.com"))) == [2]
    assert then(lambda: serving_changes.roll_back(db, Actor("ada@example.com"))) == [1]
    assert then(lambda: serving_changes.roll_back(db, Actor("ada@example.com"))) == [3]  # further back each time
    assert then(lambda: serving_changes.roll_back(db, Actor("ada@example.com"))) == [2]
    assert then(lambda: serving_changes.roll_back(db, Actor("ada@example.com"))) == [1]
    with pytest.raises(NotKept, match="no earlier version"):
        serving_changes.roll_back(db, Actor("ada@example.com"))
    changes = serving_changes.latest(db, 50)
    assert changes[0].reason == "Rolled back to version 1 of embedding_v2 by ada@example.com."
    assert [change.what for change in changes[-3:]] == ["published"] * 3


def test_what_a_person_chose_stays_until_it_is_clearly_outdone(train: Train, db: Session) -> None:
    train(embedding_v2="good")
    train(embedding_v2="good")
    serving_changes.promote(db, 1, Actor("ada@example.com"))
    db.commit()
    message = train(embedding_v2="good")["message"]
    assert "kept version 1: version 1 was chosen by hand and version 3 is not clearly better" in message
    assert who_serves(db) == [1]


def test_another_kind_can_be_promoted_and_the_others_stay_behind_it(train: Train, db: Session) -> None:
    train(embedding_v2="good", lnirt="good")
    serving_changes.promote(db, 1, Actor("ada@example.com"))
    db.commit()
    assert who_serves(db) == [1, 2]
    assert next(iter(model_versions.serving(db))) == "lnirt"


def test_a_promotion_during_a_run_is_not_undone_by_it(train: Train, db: Session, monkeypatch: Any) -> None:
    train(embedding_v2="good")
    train(embedding_v2="good")
    evaluated = training_run.TrainingRun._incumbents

    def promoted_meanwhile(*args: Any) -> Any:
        found = evaluated(*args)
        with new_session().begin() as other:
            serving_changes.promote(other, 1, Actor("ada@example.com"))
        return found

    monkeypatch.setattr(training_run.TrainingRun, "_incumbents", promoted_meanwhile)
    assert "who serves was changed while it was trained" in train(embedding_v2="good")["message"]
    assert who_serves(db) == [1]


def test_nor_is_the_promotion_of_another_kind(train: Train, db: Session, monkeypatch: Any) -> None:
    for _ in range(2):
        train(embedding_v2="good", lnirt="good")
    assert who_serves(db) == [3, 4]
    evaluated = training_run.TrainingRun._incumbents

    def promoted_meanwhile(*args: Any) -> Any:
        found = evaluated(*args)
        with new_session().begin() as other:
            serving_changes.promote(other, 2, Actor("ada@example.com"))
        return found

    monkeypatch.setattr(training_run.TrainingRun, "_incumbents", promoted_meanwhile)
    message = train(embedding_v2="good", lnirt="good")["message"]
    assert message.endswith("What is answered: embedding_v2 100% of the chance and 100% of the time.")
    assert who_serves(db) == [2, 3]


def test_a_choice_whose_files_are_gone_stays_until_a_person_makes_another(
    train: Train, db: Session, environment: Path
) -> None:
    train(embedding_v2="good")
    train(embedding_v2="good")
    serving_changes.promote(db, 1, Actor("ada@example.com"))
    db.commit()
    shutil.rmtree(environment / "models" / model_versions.get(db, 1).folder)
    assert train(embedding_v2="good")["outcome"] == "failed"
    assert who_serves(db) == [1]
    serving_changes.promote(db, 2, Actor("ada@example.com"))
    db.commit()
    assert train(embedding_v2="nothing")["outcome"] == "rejected"
    assert who_serves(db) == [2]


def test_old_versions_are_pruned_but_never_the_serving_one(train: Train, db: Session, environment: Path) -> None:
    train(embedding_v2="good")
    for _ in range(5):
        train(embedding_v2="poor", keep=3)
    assert who_serves(db) == [1]
    kept = db.scalars(text("SELECT id FROM model_versions WHERE pruned_at IS NULL ORDER BY id")).all()
    assert kept == [1, 5, 6]
    assert len(list((environment / "models" / "versions").iterdir())) == 3
    with pytest.raises(NotKept, match="gone since"):
        serving_changes.promote(db, 2, Actor("ada@example.com"))
    with pytest.raises(VersionNotFound):
        serving_changes.promote(db, 99, Actor("ada@example.com"))


def test_a_model_without_numbers_can_not_be_promoted(train: Train, db: Session) -> None:
    train(embedding_v2="good")
    train(embedding_v2="nan")
    with pytest.raises(NotKept, match="no finite numbers"):
        serving_changes.promote(db, 2, Actor("ada@example.com"))


def test_two_processes_follow_every_change(train: Train, db: Session, environment: Path) -> None:
    processes = [ServingModels(lambda: new_session().begin(), VersionStore(environment / "models")) for _ in range(2)]
    for _ in range(3):
        train(embedding_v2="good")
    for wanted in (1, 2, 3, 1):
        serving_changes.promote(db, wanted, Actor("ada@example.com"))
        db.commit()
        for process in processes:
            process.refresh()
            assert process.answering is not None
            assert process.answering.version.id == wanted
    for process in processes:
        process.close()


@pytest.mark.parametrize(
    ("code", "said"),
    [(None, "The database does not answer."), ("53100", "The database has no room left on its disk.")],
    ids=["away", "full"],
)
def test_runs_that_lose_the_database_say_so_and_pause_nothing(
    train: Train, db: Session, code: str | None, said: str
) -> None:
    lost: DBAPIError = OperationalError("SELECT 1", {}, Exception('connection to server at "10.0.0.7" failed'))
    if code:
        with pytest.raises(DBAPIError) as refused:
            db.execute(text(f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END $$"))
        db.rollback()
        lost = refused.value
    for run in range(1, 8):
        result = train(lnirt=lost)
        assert (result["outcome"], result["message"]) == ("failed", said)
        assert scheduler.recorded(db, run, result) is None
        db.commit()
    control = training_control.read(db)
    assert (control.is_paused, control.failures, control.last_failure) == (False, 7, said)
    assert 0 < control.wait_seconds <= 64
    db.rollback()
    assert train(lnirt="good")["outcome"] == "published"


def test_a_run_whose_tasks_can_not_be_read_for_want_of_room_says_so_and_pauses_nothing(
    train: Train, db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(session: Session, *_: object, **__: object) -> None:
        copied = session.connection().connection.cursor()  # as a COPY does, which sorts beside its memory
        copied.execute("DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '53100'; END $$")

    monkeypatch.setattr(training_run, "full", read)
    result = train(lnirt="good")
    assert (result["message"], result["away"]) == ("The database has no room left on its disk.", True)


@pytest.mark.parametrize("kind", [psycopg2.OperationalError, psycopg2.InterfaceError])
def test_a_connection_that_is_lost_in_the_middle_of_a_copy_is_an_outage(kind: type[Exception]) -> None:
    assert outages.outage(kind("server closed the connection unexpectedly")) is not None


def test_a_run_that_could_not_say_that_the_database_was_away_pauses_nothing_either(db: Session) -> None:
    """Its supervisor says it, when the database is back."""
    for _ in range(7):
        run_id = training_runs.ask(db)
        training_runs.start(db, run_id)
        lost = {"outcome": "failed", "message": "The database does not answer.", "away": True}
        assert scheduler.recorded(db, run_id, lost) is None
    assert not training_control.read(db).is_paused
