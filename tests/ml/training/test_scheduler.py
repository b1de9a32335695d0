"""Trainings that run into trouble leave everything as it was."""

import json
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.core.database import engine
from app.crud import training_control, training_runs
from app.domain.actors import Actor
from app.ml.evaluation.simulated import school, simulate
from app.ml.networks.checkpoint import TrainingFailed
from app.ml.registry import BY_NAME
from app.ml.serving import artifacts
from app.ml.serving.version_store import VersionStore
from app.ml.training import run
from app.ml.training.budget import Budget
from app.ml.training.scheduler import Trainer, recorded, silent
from app.ml.training.worker import TrainingDied, TrainingProcess
from tests.conftest import SharedProcess
from tests.school import imported, until
from tests.versions import version

TASKS = simulate(school(8, seed=5), 50, seed=5).attempts  # 400


def tracker(db: Session) -> dict[str, Any]:
    row = db.execute(text("SELECT * FROM embedding_model_tracker")).mappings().one()
    db.rollback()
    return dict(row)


def serving(db: Session, kind: str = "lnirt") -> list[int]:
    found = list(
        db.scalars(text("SELECT id FROM model_versions WHERE state = 'serving' AND kind = :kind"), {"kind": kind})
    )
    db.rollback()
    return found


@pytest.fixture
def trainer(db: Session, warm_process: SharedProcess) -> Iterator[Trainer]:
    made = Trainer(warm_process)
    yield made
    made.close()


def test_a_training_publishes_a_whole_version(db: Session, trainer: Trainer, environment: Path) -> None:
    imported(db, TASKS)
    steps: list[Mapping[str, Any]] = []
    result = trainer.train_now(steps.append)
    assert result["outcome"] == "published", result
    assert any("epoch" in step for step in steps)
    rows = db.execute(text("SELECT kind, folder, files FROM model_versions WHERE state = 'serving'")).all()
    assert "lnirt" in {row.kind for row in rows}
    for row in rows:
        artifacts.verify(environment / "models" / row.folder, row.files)
    after = tracker(db)
    assert (after["n_samples_last_training"], after["n_samples_since_training"]) == (400, 0)
    assert after["model_version"] in ("embedding_v2", "embedding_lstm", "v1.0")
    assert after["last_trained_at"] is not None
    assert after["metadata"]["state"] == "published"


def test_the_well_known_names_lead_to_the_network_in_service(db: Session, trainer: Trainer, environment: Path) -> None:
    imported(db, TASKS.take(slice(0, 30)))  # so few that nothing is clearly better
    assert trainer.train_now()["outcome"] == "published"
    top = environment / "models"
    assert {"correctness_model.keras", "time_model.keras", "metadata.json"} <= {file.name for file in top.iterdir()}
    assert json.loads((top / "metadata.json").read_text())["kind"] == "embedding_v2"
    assert (top / "metadata.json").resolve().parent.name.startswith("embedding_v2-")


def test_kill_9_in_mid_run_loses_nothing_and_the_next_run_succeeds(db: Session, trainer: Trainer) -> None:
    imported(db, TASKS)
    trainer.train_now()
    before, version = tracker(db), serving(db)
    db.execute(text("UPDATE embedding_model_tracker SET n_samples_since_training = 7"))
    db.commit()

    fragile = Trainer(TrainingProcess())

    def kill_at_the_second_epoch(step: Mapping[str, Any]) -> None:
        if step.get("epoch") == 2 and fragile.pid:
            os.kill(fragile.pid, signal.SIGKILL)

    result = fragile.train_now(kill_at_the_second_epoch)
    assert result["outcome"] == "failed"
    assert result["message"] == "The training process was killed by signal 9 (SIGKILL)."
    assert serving(db) == version
    after = tracker(db)
    assert (after["n_samples_since_training"], after["last_trained_at"]) == (7, before["last_trained_at"])
    assert "signal 9" in after["metadata"]["message"]

    assert fragile.train_now(forced=False)["outcome"] == "published"
    fragile.close()
    assert tracker(db)["n_samples_since_training"] == 0
    assert len(serving(db)) == 1
    assert serving(db) != version


def test_completions_during_a_run_stay_counted(db: Session, trainer: Trainer) -> None:
    imported(db, TASKS)
    arrived = threading.Event()

    def three_more(step: Mapping[str, Any]) -> None:
        if "epoch" in step and not arrived.is_set():
            arrived.set()
            imported(db, simulate(school(1, seed=9), 3, seed=9).attempts.take(slice(0, 3)))

    # Rows of the second school have their own ids only if the first's are other rows: rename them.
    db.execute(text("UPDATE practice_tasks SET id = gen_random_uuid()"))
    db.commit()
    assert trainer.train_now(three_more)["n_tasks"] == 400
    after = tracker(db)
    assert (after["n_samples_last_training"], after["n_samples_since_training"]) == (400, 3)


def test_requests_made_while_one_waits_become_one_run(db: Session, trainer: Trainer) -> None:
    imported(db, TASKS)
    for _ in range(20):
        trainer.request()
    until(lambda: tracker(db)["n_samples_since_training"] == 0)
    trainer._pool.submit(lambda: None).result(60)
    assert db.scalar(text("SELECT count(*) FROM training_runs")) == 1


def test_an_idle_training_process_is_let_go(db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    from app.core.settings import settings

    class Process(TrainingProcess):
        closed = threading.Event()

        def close(self, seconds: float = 3) -> None:
            self.closed.set()

    monkeypatch.setenv("TRAINER_IDLE_SECONDS", "0.01")
    settings.cache_clear()
    made = Trainer(Process())
    made.request()  # nothing is due, so it is idle again at once
    assert Process.closed.wait(30)
    made.close()


def test_too_little_data_is_said_and_publishes_nothing(db: Session, trainer: Trainer) -> None:
    imported(db, TASKS.take(slice(0, 7)))
    result = trainer.train_now()
    assert result["outcome"] == "failed"
    assert result["message"] == "7 finished tasks are too few to train on; it starts at 10."
    assert (serving(db), tracker(db)["n_samples_since_training"]) == ([], 7)
    assert tracker(db)["metadata"]["message"] == result["message"]


def test_a_failure_while_saving_leaves_the_model_in_use_and_no_litter(
    db: Session, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported(db, TASKS.take(slice(0, 40)))
    models = environment / "models"

    class Fitted:
        report: dict[str, Any] = {}  # noqa: RUF012

        def save(self, folder: Path) -> None:
            (folder / "half").write_text("a")
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("app.ml.networks.fit.fit", lambda *_, **__: Fitted())
    with db.begin():
        run_id = training_runs.ask(db)
    result = run.train(_order(environment, run_id), lambda _: None)
    assert result["outcome"] == "failed"
    assert "No space left on device" in result["message"]
    assert [file for file in models.rglob("*") if file.is_file()] == []
    assert tracker(db)["n_samples_since_training"] == 40


def test_while_a_run_fetches_what_it_goes_on_from_its_row_is_not_locked(
    db: Session, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that is away is waited for: by then the run would have waited for itself, and its heart for the run."""
    version(db)
    db.execute(text('UPDATE model_versions SET files = \'{"checkpoint.npz": "0"}\''))
    run_id = training_runs.ask(db)
    training_runs.start(db, run_id)
    db.commit()
    asked = list[str]()

    def fetched(_: VersionStore, version: Any) -> Path:
        with engine().begin() as other:
            other.execute(text("SELECT FROM training_runs WHERE finished_at IS NULL FOR NO KEY UPDATE NOWAIT"))
        asked.append(version.kind)
        raise artifacts.DamagedFiles("as good as any")

    monkeypatch.setattr(VersionStore, "fetched", fetched)
    at_work = run.TrainingRun(engine(), _order(environment, run_id), silent, Budget(60, None, ("embedding_v2",)))
    goes_on: Any = SimpleNamespace(older=None, from_scratch=False, is_full=False)
    assert at_work._fit(goes_on, BY_NAME["embedding_v2"], None) is None
    assert asked == ["embedding_v2"]


def end_holder_of_the_lock(db: Session) -> None:
    db.execute(
        text("""SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'
                AND pid <> pg_backend_pid()
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())""")
    )
    db.commit()


def test_a_version_by_a_writer_that_lost_its_turn_to_another_is_not_published(
    db: Session, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paused or cut off, it wakes up late: another run has its place, and it has no way to publish."""
    imported(db, TASKS.take(slice(0, 40)))

    def cut_off(*_: object, **__: object) -> None:
        end_holder_of_the_lock(db)
        with db.begin():
            training_runs.start(db, training_runs.ask(db))
        raise TrainingFailed("LNIRT is enough to be published")

    monkeypatch.setattr("app.ml.networks.fit.fit", cut_off)
    with db.begin():
        run_id = training_runs.ask(db)
    assert run.train(_order(environment, run_id), lambda _: None)["outcome"] == "interrupted"
    assert serving(db) == []
    assert tracker(db)["n_samples_since_training"] == 40


def test_a_run_whose_connection_fell_takes_its_turn_again_and_ends_well(
    db: Session, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pooler that is started anew, say."""
    imported(db, TASKS.take(slice(0, 40)))

    def held() -> bool:
        with db.begin():
            return training_runs.at_work(db) is not None

    def cut_off(*_: object, **__: object) -> None:
        end_holder_of_the_lock(db)
        until(held, 60)
        raise TrainingFailed("LNIRT is enough to be published")

    monkeypatch.setattr("app.ml.networks.fit.fit", cut_off)
    with db.begin():
        run_id = training_runs.ask(db)
    order = replace(_order(environment, run_id), silent_seconds=1.0)
    assert run.train(order, lambda _: None)["outcome"] == "published"
    assert tracker(db)["n_samples_since_training"] == 0
    assert not held()


def test_without_a_network_lnirt_is_published_and_the_run_says_why(
    db: Session, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported(db, TASKS.take(slice(0, 40)))

    def fails(*_: object, **__: object) -> None:
        raise TrainingFailed("the loss became something that is no finite number")

    monkeypatch.setattr("app.ml.networks.fit.fit", fails)
    with db.begin():
        run_id = training_runs.ask(db)
    result = run.train(_order(environment, run_id), lambda _: None)
    assert result["outcome"] == "published"
    assert "embedding_v2 could not be trained: the loss became something that is no finite number." in result["message"]
    assert (serving(db, "embedding_v2"), len(serving(db))) == ([], 1)


def _order(environment: Path, run_id: int) -> run.Order:
    return run.Order(run_id, os.environ["DATABASE_URL"], str(environment / "models"), 5, 10, 3, forced=True)


def test_old_versions_are_pruned_but_never_the_serving_one(
    db: Session, trainer: Trainer, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEEP_VERSIONS", "2")
    from app.core.settings import settings

    settings.cache_clear()
    imported(db, TASKS.take(slice(0, 20)))
    for _ in range(4):
        trainer.train_now()
    kept = sorted(folder.name for folder in (environment / "models" / "versions").iterdir())
    rows = db.scalars(text("SELECT folder FROM model_versions WHERE pruned_at IS NULL")).all()
    assert kept == sorted(folder.split("/")[1] for folder in rows)
    assert len(kept) == 4  # two of each kind that is trained


class Dying(TrainingProcess):
    """A training process that never gets to the end."""

    def __init__(self) -> None:
        super().__init__()
        self.runs = 0

    def train(self, order: run.Order, say: run.Say, timeout: float) -> dict[str, Any]:
        self.runs += 1
        raise TrainingDied("The training process was killed by signal 9 (SIGKILL).")


def looked(trainer: Trainer) -> None:
    """One look, and what it set off."""
    trainer.poll()
    trainer._pool.submit(lambda: None).result(60)


def waited(db: Session) -> None:
    """Any time to wait after a failure is over."""
    db.execute(text("UPDATE training_runs SET finished_at = finished_at - interval '1 hour'"))
    db.commit()


def test_after_a_failure_a_clock_that_was_set_back_lets_nobody_wait_longer(db: Session) -> None:
    with db.begin():
        run_id = training_runs.ask(db)
        training_runs.finish(db, run_id, "failed", "The disk was full.")
    db.execute(text("UPDATE training_runs SET finished_at = finished_at + interval '1 hour'"))
    assert 0 < training_control.read(db).wait_seconds <= 1


def test_trainers_whose_runs_fail_in_turn_wait_though_each_takes_the_others_for_broken_off(db: Session) -> None:
    failed = {"outcome": "failed", "message": "The disk is full.", "away": True}
    waits, before = [], None
    for _ in range(4):  # two trainers: each fails, begins nothing more, and comes to say so when the other has begun
        with db.begin():
            run_id = training_runs.ask(db)
            training_runs.start(db, run_id)
        with db.begin():
            if before:
                recorded(db, before, failed)
            waits.append(training_control.read(db).wait_seconds)
        before = run_id
    ended = db.execute(text("SELECT outcome, message FROM training_runs WHERE finished_at IS NOT NULL")).all()
    assert set(ended) == {("failed", "The disk is full.")}
    assert [round(wait) for wait in waits] == [0, 1, 2, 4]


def test_failures_wait_longer_and_longer_and_five_in_a_row_pause_until_told_to_go_on(
    db: Session, trainer: Trainer, caplog: pytest.LogCaptureFixture
) -> None:
    imported(db, TASKS.take(slice(0, 40)))
    process = Dying()
    dying = Trainer(process)
    waits = []
    for failed in range(1, 6):
        looked(dying)
        assert process.runs == failed
        waits.append(training_control.read(db).wait_seconds)
        db.rollback()
        looked(dying)  # too soon
        assert process.runs == failed
        waited(db)
    assert all(0 < wait <= longest for wait, longest in zip(waits, (1, 2, 4, 8, 16), strict=True))
    assert waits == sorted(waits)
    looked(dying)
    assert process.runs == 5  # paused
    control = training_control.read(db)
    assert (control.is_paused, control.failures, control.paused_by) == (True, 5, "the service")
    assert "signal 9" in (control.reason or "")
    assert "Trainings are paused: 5 trainings failed in a row" in caplog.text
    assert tracker(db)["metadata"]["state"] == "paused"
    assert tracker(db)["n_samples_since_training"] == 40  # nothing is lost
    training_control.resume(db, Actor("ada@example.com"))
    db.commit()
    looked(dying)
    assert process.runs == 6
    dying.close()


def test_a_training_by_hand_that_comes_out_well_ends_the_pause(db: Session, trainer: Trainer) -> None:
    imported(db, TASKS.take(slice(0, 40)))
    dying = Trainer(Dying())
    for _ in range(5):
        looked(dying)
        waited(db)
    assert training_control.read(db).is_paused
    db.rollback()
    assert trainer.train_now(kinds=["lnirt"])["outcome"] == "published"
    assert training_control.read(db).may_begin


def test_what_a_person_paused_stays_paused(db: Session, trainer: Trainer) -> None:
    imported(db, TASKS.take(slice(0, 40)))
    assert training_control.pause(db, Actor("ada@example.com"), "Exams.")
    assert not training_control.pause(db, Actor("bob@example.com"), "Too late.")
    db.commit()
    assert trainer.train_now(kinds=["lnirt"])["outcome"] == "published"
    db.execute(text("UPDATE embedding_model_tracker SET n_samples_since_training = 9"))
    db.commit()
    looked(trainer)
    assert training_control.read(db).paused_by == "ada@example.com"
    assert db.scalar(text("SELECT count(*) FROM training_runs")) == 1


def test_a_training_that_is_due_begins_though_whoever_should_have_asked_died(db: Session, trainer: Trainer) -> None:
    imported(db, TASKS.take(slice(0, 40)))
    with db.begin():
        training_runs.ask(db)  # by a process that is no more
    looked(trainer)
    assert tracker(db)["n_samples_since_training"] == 40  # it may still come
    db.execute(text("UPDATE training_runs SET seen_at = now() - interval '61 seconds'"))
    db.commit()
    looked(trainer)
    assert tracker(db)["n_samples_since_training"] == 0


def test_the_end_of_a_run_is_recorded_when_the_database_is_back(
    db: Session, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.ml.training import scheduler as module

    imported(db, TASKS.take(slice(0, 40)))
    dying = Trainer(Dying())

    def away() -> None:
        raise OperationalError("SELECT 1", {}, Exception("the database is away"))

    with db.begin():
        run_id = training_runs.ask(db)
    with monkeypatch.context() as patched:
        patched.setattr(module, "new_session", away)
        dying._train(module._order(run_id, True, None), silent)
    assert db.scalar(text("SELECT outcome FROM training_runs")) == "asked"
    db.rollback()
    dying._record_what_ended()
    assert db.scalar(text("SELECT outcome FROM training_runs")) == "failed"
    dying.close()


def stopped(db: Session, process: TrainingProcess, first: threading.Event) -> run.Say:
    """Stop the training process at its second epoch, as a debugger or a freezing machine would."""

    def stop(step: Mapping[str, Any]) -> None:
        if step.get("epoch") == 2 and process.pid and not first.is_set():
            os.kill(process.pid, signal.SIGSTOP)
            first.set()

    return stop


def test_a_writer_that_was_stopped_loses_its_turn_and_publishes_nothing_when_it_wakes(
    db: Session, trainer: Trainer, monkeypatch: pytest.MonkeyPatch, environment: Path
) -> None:
    imported(db, TASKS.take(slice(0, 60)))
    late = TrainingProcess()
    is_stopped = threading.Event()
    with db.begin():
        run_id = training_runs.ask(db)
    ends: list[dict[str, Any]] = []
    patient = replace(_order(environment, run_id), silent_seconds=600)
    thread = threading.Thread(target=lambda: ends.append(late.train(patient, stopped(db, late, is_stopped), 600)))
    thread.start()
    assert is_stopped.wait(120)
    db.execute(text("UPDATE training_runs SET seen_at = now() - interval '61 seconds'"))
    db.commit()
    assert trainer.train_now()["outcome"] == "published"  # takes its place
    published = db.execute(text("SELECT id, run_id FROM model_versions ORDER BY id")).all()
    counter = tracker(db)["n_samples_since_training"]
    assert late.pid
    os.kill(late.pid, signal.SIGCONT)
    thread.join(120)
    late.close()
    assert ends[0]["outcome"] == "interrupted"
    assert db.execute(text("SELECT id, run_id FROM model_versions ORDER BY id")).all() == published
    assert run_id not in {row.run_id for row in published}
    assert db.scalar(text("SELECT outcome FROM training_runs WHERE id = :id"), {"id": run_id}) == "interrupted"
    assert tracker(db)["n_samples_since_training"] == counter
    kept = {folder.name for folder in (environment / "models" / "versions").iterdir()}
    assert kept == {folder.split("/")[1] for folder in db.scalars(text("SELECT folder FROM model_versions"))}


def test_a_training_process_that_gives_no_sign_of_life_is_ended(db: Session, environment: Path) -> None:
    imported(db, TASKS.take(slice(0, 60)))
    process, is_stopped = TrainingProcess(), threading.Event()
    with db.begin():
        run_id = training_runs.ask(db)
    order = replace(_order(environment, run_id), kinds=["lnirt"])
    process.train(order, silent, 600)  # warm
    impatient = replace(_order(environment, run_id), silent_seconds=1)
    with pytest.raises(TrainingDied, match="not heard of for 1 s"):
        process.train(impatient, stopped(db, process, is_stopped), 600)
    process.close()


def test_a_training_process_makes_place_for_a_new_one_after_some_runs(
    db: Session, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.ml.training.worker.RUNS_AT_MOST", 2)
    imported(db, TASKS.take(slice(0, 60)))
    process, pids = TrainingProcess(), list[int | None]()
    for _ in range(5):
        with db.begin():
            run_id = training_runs.ask(db)
        answer = process.train(replace(_order(environment, run_id), kinds=["lnirt"]), silent, 600)
        assert answer["outcome"] in ("published", "rejected")
        pids.append(process.pid)
    process.close()
    assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4]
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_what_a_killed_run_wrote_is_swept_by_the_next(db: Session, trainer: Trainer, environment: Path) -> None:
    imported(db, TASKS.take(slice(0, 40)))
    left = ["versions/.staging-killed", "versions/lnirt-1-killed"]
    with db.begin():
        run_id = training_runs.ask(db)
        training_runs.start(db, run_id)
        training_runs.writes(db, run_id, left)
    foreign = environment / "models" / "versions" / "lnirt-1-of-another-database"
    for folder in (*(environment / "models" / name for name in left), foreign):
        folder.mkdir(parents=True)
    assert trainer.train_now(kinds=["lnirt"])["outcome"] == "published"
    assert [(environment / "models" / name).exists() for name in left] == [False, False]
    assert foreign.exists()
    assert db.scalar(text("SELECT count(*) FROM training_runs WHERE folders IS NOT NULL")) == 0
