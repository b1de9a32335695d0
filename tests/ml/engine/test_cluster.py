"""A whole run with a scheduler and workers that are processes, some of which die in the middle."""

import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from app.core.database import database_url
from app.core.settings import settings
from app.crud import network_settings, training_runs
from app.crud.network_settings import Tuned
from app.domain.actors import COMMAND_LINE
from app.domain.kinds import NETWORKS
from app.ml.engine import on_dask
from app.ml.evaluation.simulated import school, simulate
from app.ml.lnirt import data
from app.ml.training import run
from tests.dask_cluster import Cluster, cluster
from tests.school import imported

pytest.importorskip("distributed")
pytestmark = pytest.mark.slow

Say = Callable[[Mapping[str, Any]], None]


@pytest.fixture
def trained(environment: Path, db: Session, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """A run from scratch on 1,200 tasks, whose steps `say` is told; LNIRT's too are shared out."""
    monkeypatch.setattr(data, "SHARD_ANSWERS", 300)
    imported(db, simulate(school(40, seed=2), 30, seed=2).attempts)
    for kind in NETWORKS:  # no need to learn for long
        network_settings.put(db, Tuned(kind, {"epochs": [2, 2]}, "a study", 1, 0.6, 0.7), COMMAND_LINE)
    db.commit()

    def train(made: Cluster, say: Say) -> dict[str, Any]:
        with Session(db.get_bind()) as own, own.begin():
            asked = training_runs.ask(own)
        order = run.Order(asked, database_url(), str(settings().model_dir), 5, 10, 10, forced=True)
        return run.train(replace(order, scheduler=made.address), say)

    return train


def shards() -> list[Path]:
    return list(settings().model_dir.rglob("shards/*"))


def test_a_run_is_published_by_workers_and_leaves_no_shards(
    trained: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    steps: list[Mapping[str, Any]] = []
    with cluster(tmp_path) as made:
        result = trained(made, steps.append)
    assert result["outcome"] == "published"
    assert "without Dask" not in result["message"]
    assert {step["step"] for step in steps if "worker" in step} == {"fit embedding_v2", "fit embedding_lstm"}
    assert not shards()


@pytest.mark.parametrize("step", ["fit lnirt", "share out", "fit embedding_lstm"])
def test_a_worker_that_is_killed_costs_the_run_time_and_nothing_else(
    step: str, trained: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    with cluster(tmp_path) as made:

        def kill(said: Mapping[str, Any]) -> None:
            if said.get("step") == step and made.workers[0].poll() is None:
                made.workers[0].kill()
                made.workers[0].wait()

        result = trained(made, kill)
        assert made.workers[0].poll() is not None
    assert result["outcome"] == "published"
    assert "without Dask" not in result["message"]
    assert not shards()


def test_a_scheduler_that_is_stuck_leaves_the_run_to_its_own_process_which_says_so(
    trained: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_dask, "HUNG_SECONDS", 3.0)
    with cluster(tmp_path) as made:

        def stop(said: Mapping[str, Any]) -> None:
            if said.get("step") == "fit embedding_lstm":
                made.scheduler.send_signal(signal.SIGSTOP)

        result = trained(made, stop)
    assert result["outcome"] == "published"
    said = f"Trained without Dask's workers: Dask's scheduler {made.address} has not answered for 3 s."
    assert said in result["message"]
    assert not shards()


@pytest.mark.parametrize("step", ["fit lnirt", "share out", "fit embedding_lstm"])
def test_workers_that_are_all_frozen_leave_the_run_to_its_own_process_which_says_so(
    step: str, trained: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_dask, "LOOK_SECONDS", 1.0)
    with cluster(tmp_path) as made:

        def stop(said: Mapping[str, Any]) -> None:
            if said.get("step") == step:
                for worker in made.workers:
                    worker.send_signal(signal.SIGSTOP)

        result = trained(made, stop)
    assert result["outcome"] == "published"
    said = f"Trained without Dask's workers: Dask's scheduler {made.address} has had no worker for a minute that could"
    assert said in result["message"]
    assert not shards()


@pytest.mark.parametrize("step", ["fit lnirt", "fit embedding_lstm"])
def test_a_worker_that_is_frozen_leaves_its_work_to_the_other(
    step: str, trained: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_dask, "LOOK_SECONDS", 1.0)
    with cluster(tmp_path) as made:

        def stop(said: Mapping[str, Any]) -> None:
            if said.get("step") == step:
                made.workers[0].send_signal(signal.SIGSTOP)

        result = trained(made, stop)
    assert result["outcome"] == "published"
    assert "without Dask" not in result["message"]
    assert not shards()


def test_work_that_takes_long_is_waited_for_while_its_worker_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_dask, "LOOK_SECONDS", 0.3)  # so a worker is dead after four seconds
    with cluster(tmp_path) as made, on_dask.DaskEngine(made.address, lambda step: None) as dask:
        assert list(dask.map(busy, [12.0, 0.0])) == [True, True]


def busy(seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:  # never lets go of the interpreter by itself
        continue
    return True


def test_a_scheduler_that_is_killed_leaves_the_run_to_its_own_process_which_says_so(
    trained: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    with cluster(tmp_path) as made:

        def kill(said: Mapping[str, Any]) -> None:
            if said.get("step") == "fit embedding_lstm":
                made.scheduler.kill()

        result = trained(made, kill)
    assert result["outcome"] == "published"
    lost = f"Trained without Dask's workers: Dask's scheduler {made.address} was lost"
    before, said, _ = result["message"].partition(lost)
    assert said
    assert "What is answered: " in before  # where it names a store, whoever is no admin is not told what follows
    assert not shards()
