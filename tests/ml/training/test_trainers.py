"""Trainers on any machine: what was ordered is done once, in order, by whichever of them lives."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core.settings import settings
from app.crud import trainers, training_runs
from app.domain.errors import TrainingBusy
from app.ml.evaluation.simulated import school, simulate
from app.ml.training.run import Order, Say
from app.ml.training.scheduler import Trainer, _order, silent
from app.ml.training.worker import TrainingDied, TrainingProcess
from tests.conftest import SharedProcess
from tests.school import imported, until

TASKS = simulate(school(8, seed=5), 10, seed=5).attempts


class Never(TrainingProcess):
    """That of a machine where nothing may be trained."""

    def _started(self) -> "subprocess.Popen[str]":
        raise AssertionError("a training process was started")


class Gone(TrainingProcess):
    """One whose whole machine goes away in the middle of the run: nobody records how it ended."""

    def train(self, order: Order, say: Say, timeout: float) -> dict[str, Any]:
        from app.core.database import new_session

        with new_session().begin() as db:
            training_runs.start(db, order.run_id)
        raise SystemExit


@pytest.fixture
def asking() -> Iterator[Trainer]:
    made = Trainer(Never(), is_here=False)
    yield made
    made.close()


@pytest.fixture
def trainer(db: Session, warm_process: SharedProcess) -> Iterator[Trainer]:
    made = Trainer(warm_process)
    yield made
    made.close()


def polled(trainer: Trainer) -> None:
    """One poll, and what it set off."""
    trainer.poll()
    trainer._pool.submit(lambda: None).result(60)


def runs(db: Session) -> list[tuple[str, list[str] | None]]:
    found = [(row.outcome, row.kinds) for row in db.execute(text("SELECT * FROM training_runs ORDER BY id"))]
    db.rollback()
    return found


def test_what_is_ordered_where_nothing_is_trained_waits_for_a_trainer(
    db: Session, asking: Trainer, trainer: Trainer
) -> None:
    imported(db, TASKS)
    db.execute(text("UPDATE embedding_model_tracker SET n_samples_since_training = 0"))
    db.commit()
    run_id = asking.order(["lnirt"])
    asking.order(["embedding_v2"])
    with pytest.raises(TrainingBusy):
        asking.order()
    asking.request()
    asking.poll()
    assert [outcome for outcome, _ in runs(db)] == ["asked", "asked"]
    with db.begin():
        training_runs.finish(db, run_id + 1, "failed", "for another test")
    polled(trainer)
    assert runs(db)[0] == ("published", ["lnirt"])
    assert db.scalar(text("SELECT trainer FROM training_runs WHERE id = :id"), {"id": run_id}) == trainer.name


def test_tasks_that_are_finished_where_nothing_is_trained_are_learnt_from_elsewhere(
    db: Session, asking: Trainer, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported(db, TASKS)
    asking.poll()
    assert runs(db) == []
    ordered: list[Order] = []

    def supervised(order: Order, _: Say) -> dict[str, Any]:
        ordered.append(order)
        return {"outcome": "failed", "message": ""}

    monkeypatch.setattr(trainer, "_supervised", supervised)
    polled(trainer)
    assert [(order.forced, order.kinds) for order in ordered] == [(False, None)]


def test_orders_are_done_one_at_a_time_the_first_first(db: Session, asking: Trainer) -> None:
    imported(db, TASKS)
    first, second = asking.order(["lnirt"]), asking.order(["embedding_v2"])
    with db.begin():
        taken = training_runs.take(db, "one:1", 60)
        assert taken is not None
        assert taken.id == first
        assert training_runs.take(db, "other:2", 60) is None  # the first begins
        assert training_runs.ask_if_idle(db, "other:2", 60) is None
        training_runs.finish(db, first, "published", "Well.")
        taken = training_runs.take(db, "other:2", 60)
    assert taken is not None
    assert taken.id == second


def test_an_order_whose_trainer_dies_before_or_in_the_middle_is_done_by_another(
    db: Session, asking: Trainer, trainer: Trainer
) -> None:
    imported(db, TASKS)
    asking.order(["lnirt"])
    with db.begin():
        assert training_runs.take(db, "dead:1", 60)
    db.execute(text("UPDATE training_runs SET seen_at = now() - interval '61 seconds'"))
    db.commit()
    with db.begin():
        assert training_runs.take(db, "gone:2", 60)
    gone = Trainer(Gone())
    with pytest.raises(SystemExit):
        gone._train(_order(2, True, ["lnirt"]), silent)
    assert runs(db) == [("interrupted", ["lnirt"]), ("running", ["lnirt"])]
    polled(trainer)
    assert runs(db) == [*[("interrupted", ["lnirt"])] * 2, ("published", ["lnirt"])]
    assert list(db.scalars(text("SELECT message FROM training_runs ORDER BY id LIMIT 2"))) == [
        "The run never began; its process seems to have ended before. Run 2 does it again.",
        "The process ended in the middle of the run. Run 3 does it again.",
    ]


def test_a_trainer_that_died_is_noticed_in_time_though_the_databases_clock_was_set_back(
    db: Session, asking: Trainer, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported(db, TASKS)
    db.execute(text("UPDATE embedding_model_tracker SET n_samples_since_training = 0"))
    db.commit()
    asking.order(["lnirt"])
    with db.begin():
        assert training_runs.take(db, "dead:1", 60)
        trainers.seen(db, "dead:1")
    for table in ("training_runs", "trainers"):
        db.execute(text(f"UPDATE {table} SET seen_at = now() + interval '1 hour'"))
    db.commit()
    polled(trainer)
    assert [each.name for each in trainers.alive(db, 60)] == [trainer.name]
    db.rollback()
    assert runs(db) == [("asked", ["lnirt"])]  # it may live, and say so at once
    monkeypatch.setenv("TRAINER_SILENT_SECONDS", "1")
    settings.cache_clear()
    time.sleep(1)
    polled(trainer)
    assert runs(db) == [("interrupted", ["lnirt"]), ("published", ["lnirt"])]


def test_a_trainer_that_freezes_before_it_begins_does_nothing_when_it_wakes_up(
    db: Session, asking: Trainer, trainer: Trainer
) -> None:
    """Else the same order would be trained, and published, twice under one row."""
    imported(db, TASKS)
    run_id = asking.order(["lnirt"])
    with db.begin():
        assert training_runs.take(db, "frozen:1", 60)
    db.execute(text("UPDATE training_runs SET seen_at = now() - interval '61 seconds'"))
    db.commit()
    polled(trainer)
    before = runs(db)
    assert before == [("interrupted", ["lnirt"]), ("published", ["lnirt"])]
    woken = trainer._train(_order(run_id, True, ["lnirt"]), silent)
    assert woken["message"] == "Another run took this one's place."
    assert runs(db) == before
    assert db.scalar(text("SELECT count(*) FROM model_versions")) == 1


def test_an_order_that_every_trainer_dies_of_is_given_up(db: Session, asking: Trainer) -> None:
    imported(db, TASKS)
    asking.order(["lnirt"])
    for _ in range(6):
        with db.begin():
            if taken := training_runs.take(db, "dying:1", 60):
                training_runs.start(db, taken.id)
    assert [outcome for outcome, _ in runs(db)] == ["interrupted", "interrupted", "running"]
    with db.begin():
        assert not training_runs.is_order_waiting(db, 60)


def test_a_trainer_that_freezes_with_the_lock_loses_its_order_to_another(
    db: Session, asking: Trainer, trainer: Trainer
) -> None:
    """Or its network is gone: the database holds its connection for hours."""
    from app.core.database import engine

    imported(db, TASKS)
    run_id = asking.order(["lnirt"])
    with db.begin():
        training_runs.take(db, "frozen:1", 60)
    frozen = engine().connect()
    assert training_runs.take_turn(frozen, run_id, 60)
    with db.begin():
        training_runs.start(db, run_id)
    polled(trainer)
    assert runs(db) == [("running", ["lnirt"])]
    db.execute(text("UPDATE training_runs SET seen_at = now() - interval '61 seconds'"))
    db.commit()
    polled(trainer)
    frozen.invalidate()
    assert runs(db) == [("interrupted", ["lnirt"]), ("published", ["lnirt"])]


def test_a_trainer_that_freezes_in_the_middle_of_a_transaction_keeps_nobody_from_taking_over(
    db: Session, asking: Trainer, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row of its run is locked then; whoever waited for that, had all others wait."""
    from app.core.database import engine

    monkeypatch.setenv("TRAINER_SILENT_SECONDS", "3")
    settings.cache_clear()
    imported(db, TASKS)
    run_id = asking.order(["lnirt"])
    with db.begin():
        training_runs.take(db, "frozen:1", 3)
    with engine().connect() as turn, Session(engine()) as writing:
        assert training_runs.take_turn(turn, run_id, 3)
        with db.begin():
            training_runs.start(db, run_id)
        assert training_runs.is_ours(writing, run_id)
        time.sleep(3.5)
        try:
            polled(trainer)
        finally:
            turn.invalidate()
            writing.invalidate()
    assert runs(db) == [("interrupted", ["lnirt"]), ("published", ["lnirt"])]


def test_a_trainer_that_is_stopped_gives_its_order_back(
    db: Session, asking: Trainer, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported(db, TASKS)
    asking.order(["lnirt"])
    stopped, began = Trainer(), threading.Event()

    def wait(*_: Any) -> dict[str, Any]:
        began.set()
        until(lambda: stopped._closing, 30)
        raise TrainingDied("The training process ended with exit code 0.")

    monkeypatch.setattr(stopped._process, "train", wait)
    stopped.request()
    assert began.wait(30)
    stopped.close()
    assert [outcome for outcome, _ in runs(db)] == ["interrupted", "asked"]
    polled(trainer)
    assert [outcome for outcome, _ in runs(db)] == ["interrupted", "published"]


def test_where_sigterm_reaches_all_processes_the_one_that_trains_leaves_it_to_the_other(
    db: Session, asking: Trainer, trainer: Trainer
) -> None:
    """As with systemd: else a run would have failed where its trainer was stopped, and an order would not be done."""
    imported(db, TASKS)
    asking.order(["lnirt"])
    polled(trainer)
    child = trainer.pid
    assert child
    os.kill(child, signal.SIGTERM)
    asking.order(["lnirt"])
    polled(trainer)
    assert {outcome for outcome, _ in runs(db)} <= {"published", "rejected"}
    assert trainer.pid == child


def test_whoever_trains_by_hand_where_nothing_is_trained_follows_a_trainer(
    db: Session, asking: Trainer, trainer: Trainer
) -> None:
    imported(db, TASKS)
    said: list[str] = []
    ends: list[Any] = []
    following = threading.Thread(
        target=lambda: ends.append(asking.train_now(lambda step: said.append(step["step"]), kinds=["lnirt"]))
    )
    following.start()
    until(lambda: said)
    assert "no trainer has been seen lately" in said[0]
    polled(trainer)
    following.join(60)
    assert ends[0]["outcome"] == "published"


def test_the_status_says_that_no_trainer_has_been_seen(
    service: TestClient, db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert service.get("/model/status").json()["trainers"] == 1
    db.execute(text("UPDATE trainers SET seen_at = now() - interval '1 hour'"))
    db.commit()
    found = service.get("/model/status").json()
    assert (found["trainers"], found["trainer_missing"], found["warning"]) == (0, False, None)  # nothing waits
    monkeypatch.setenv("TRAINER", "Elsewhere")
    settings.cache_clear()
    found = service.get("/model/status").json()
    assert found["trainer_missing"]
    assert "No trainer has been seen since" in found["text"]
    assert service.get("/readyz").json()["status"] == "ok"


def test_a_trainer_of_its_own_trains_says_that_it_lives_and_ends_on_sigterm(db: Session, asking: Trainer) -> None:
    imported(db, TASKS)
    process = subprocess.Popen([sys.executable, "-m", "app", "trainer"], stderr=subprocess.PIPE, text=True)
    try:
        asking.order(["lnirt"])
        until(lambda: runs(db) and runs(db)[0][0] == "published")
        assert [each.name.rpartition(":")[2] for each in trainers.alive(db, 60)] == [str(process.pid)]
        db.rollback()
    finally:
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=30)[1]
    assert process.returncode == os.EX_OK
    assert "has ended" in said
    assert "Traceback" not in said
    assert trainers.alive(db, 60) == []
