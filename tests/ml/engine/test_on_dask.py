"""Workers of Dask give what this process gives. The cluster is one within the test's process: no network."""

import io
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.domain.attempts import COLUMNS, Attempts
from app.ml.engine import on_dask
from app.ml.engine.local import EngineLost, LocalEngine, at_work, by_student, current
from app.ml.engine.on_dask import DaskEngine
from app.ml.evaluation import tuning
from app.ml.evaluation.benchmark import contestants, evaluate, split_by_student
from app.ml.evaluation.simulated import school, simulate
from app.ml.features.inputs import inputs_at
from app.ml.lnirt import data
from app.ml.lnirt.model import FittedLnirt, fitted_items
from app.ml.networks import side_by_side
from app.ml.registry import BY_NAME
from app.ml.training import run
from app.ml.training.workers import Workers

distributed = pytest.importorskip("distributed")

TOPICS = ("Algebra", "Calculus", "Waves")
ATTEMPTS = simulate(school(60, TOPICS, learning=0.25, seed=3), 40, seed=3).attempts
OURS = on_dask.versions()


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """The address of a scheduler with two workers."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, protocol="inproc://", dashboard_address=None
    ) as cluster:
        yield cluster.scheduler_address


@contextmanager
def engine(scheduler: str, store: Path, said: list[Any] | None = None) -> Iterator[DaskEngine]:
    said = [] if said is None else said
    with DaskEngine(scheduler, said.append, store.as_uri(), "shards") as made, at_work(made):
        yield made


def test_results_come_in_the_order_of_the_pieces(scheduler: str, tmp_path: Path) -> None:
    with engine(scheduler, tmp_path) as dask:
        assert list(dask.map(scaled, range(20), 3)) == [3 * each for each in range(20)]


def scaled(piece: int, factor: int) -> int:
    return piece * factor


def test_an_error_of_the_work_is_raised_as_it_was(scheduler: str, tmp_path: Path) -> None:
    def failing(_: int) -> None:
        raise ValueError("no model")

    with engine(scheduler, tmp_path) as dask, pytest.raises(ValueError, match="no model"):
        list(dask.map(failing, [1]))


def test_steps_of_workers_are_told_to_whoever_watches_the_run(scheduler: str, tmp_path: Path) -> None:
    said: list[Any] = []
    with engine(scheduler, tmp_path, said) as dask:
        list(dask.map(lambda epoch: current().say({"epoch": epoch}), [7]))
        while not said:  # an event takes its own way
            list(dask.map(scaled, [1], 1))
    assert said[0]["epoch"] == 7


def test_workers_themselves_work_locally(scheduler: str, tmp_path: Path) -> None:
    with engine(scheduler, tmp_path) as dask:
        assert list(dask.map(lambda _: isinstance(current(), LocalEngine), [1])) == [True]


@given(st.integers(1, 3000))
def test_shards_hold_whole_students_and_every_row_once(rows: int) -> None:
    parts = list(by_student(ATTEMPTS.student, rows))
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(len(ATTEMPTS)))
    students = [set(ATTEMPTS.student[part].tolist()) for part in parts]
    assert sum(map(len, students)) == len(set[int]().union(*students))


@pytest.mark.parametrize("rows", [40, 137, 5_000])
def test_features_of_shards_are_those_of_all_rows_to_the_bit(
    rows: int, scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side_by_side, "SHARD_ROWS", rows)
    with engine(scheduler, tmp_path) as dask:
        shards = list(side_by_side.shards(ATTEMPTS))
        found, past = next(dask.map(side_by_side.joined, [shards], names(ATTEMPTS)))
    assert np.array_equal(past, inputs_at(ATTEMPTS, np.arange(len(ATTEMPTS))))
    assert all(np.array_equal(getattr(found, name), getattr(ATTEMPTS, name)) for name in COLUMNS)


def names(attempts: Attempts) -> Sequence[tuple[str, ...]]:
    return attempts.students, attempts.topics, attempts.items


@pytest.mark.parametrize("answers", [150, 700])
def test_lnirt_of_shards_at_workers_is_that_of_this_process(
    answers: int, scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = fitted_items(ATTEMPTS)
    monkeypatch.setattr(data, "SHARD_ANSWERS", answers)
    with engine(scheduler, tmp_path):
        there = fitted_items(ATTEMPTS)
    assert len(list((tmp_path / "shards").iterdir())) > 2
    np.testing.assert_allclose(numbers(there), numbers(here), rtol=1e-9, atol=1e-9)


def numbers(fitted: FittedLnirt) -> NDArray[np.float64]:
    return np.array([list(item) for item in fitted.bank.items.values()], np.float64)


def test_a_network_fitted_at_a_worker_has_the_weights_that_it_has_here(scheduler: str, tmp_path: Path) -> None:
    base, settings = fitted_items(ATTEMPTS).served(), {"epochs": (2, 2)}
    with engine(scheduler, tmp_path) as dask:
        task = ("embedding_v2", settings, run.shared_out("embedding_v2", settings, ATTEMPTS))
        there = next(dask.map(run.fit_network, [task], base, names(ATTEMPTS))).state.arrays()
    here: Any = run.from_scratch(BY_NAME["embedding_v2"], ATTEMPTS, settings, base)(lambda step: None)
    assert here.state.arrays().keys() == there.keys()
    for name, array in here.state.arrays().items():
        np.testing.assert_array_equal(array, there[name])


def test_a_network_that_can_not_be_fitted_at_a_worker_is_told_and_the_others_go_on(
    scheduler: str, tmp_path: Path
) -> None:
    few = ATTEMPTS.take(slice(5))
    with engine(scheduler, tmp_path) as dask:
        tasks = [(kind, None, run.shared_out(kind, None, few)) for kind in ("embedding_v2", "embedding_lstm")]
        base = fitted_items(ATTEMPTS).served()
        said = [str(each) for each in dask.map(run.fit_network, tasks, base, names(few))]
    assert said == ["expected at least 8 attempts, got 5"] * 2


def test_a_worker_of_another_version_is_refused_with_a_sentence(
    scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine(scheduler, tmp_path) as dask:
        task = ({**OURS, "smartstudy": "0.1"}, "topic", 1, pickle.dumps((2,)))
        done = dask.map(lambda _: on_dask._done(scaled, *task), [1])
        with pytest.raises(
            EngineLost, match=r"has smartstudy \S+, the training process 0\.1: install the same on both"
        ):
            next(done)


@pytest.mark.parametrize("theirs", [{"smartstudy": "0.1"}, ImportError("No module named 'app'")])
def test_a_scheduler_of_another_version_is_refused_with_a_sentence(
    theirs: Any, scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_on_scheduler(*_: object) -> Any:
        if isinstance(theirs, Exception):
            raise theirs
        return theirs

    monkeypatch.setattr(distributed.Client, "run_on_scheduler", run_on_scheduler)
    with pytest.raises(EngineLost, match=r"has smartstudy 0\.1, the training process|has no SmartStudy of our version"):
        DaskEngine(scheduler, lambda step: None)


def test_workers_that_have_not_the_code_are_told_of(scheduler: str, tmp_path: Path) -> None:
    def work(_: int) -> None:
        raise ImportError("cannot import name 'shards'")

    with engine(scheduler, tmp_path) as dask, pytest.raises(EngineLost, match="can't do it: cannot import name"):
        list(dask.map(work, [1]))


def test_a_store_that_a_worker_does_not_reach_is_told(scheduler: str, tmp_path: Path) -> None:
    with engine(scheduler, tmp_path) as dask:
        elsewhere = (tmp_path / "elsewhere").as_uri()
        with pytest.raises(EngineLost, match="all machines must reach MODEL_URL"):
            next(dask.map(lambda file: on_dask._loaded(dict, elsewhere, file), ["shards/0.npz"]))


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.9, -1.0], ids=["nothing", "half", "most", "other bytes"])
def test_a_shard_that_the_store_kept_half_of_is_told(tmp_path: Path, kept: float) -> None:
    packed = io.BytesIO()
    np.savez(packed, allow_pickle=False, rows=np.arange(1000))
    whole = packed.getvalue()
    content = whole[: int(kept * len(whole))] if kept >= 0 else whole[:500] + b"?" * 100 + whole[600:]
    (tmp_path / "0.npz").write_bytes(content)
    with pytest.raises(EngineLost, match="not what was written there"):
        on_dask._loaded(dict, tmp_path.as_uri(), "0.npz")


def test_without_a_scheduler_this_process_does_the_work_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_dask, "CONNECT_SECONDS", 0.2)
    workers = Workers(lambda step: None)
    with workers.hired("tcp://127.0.0.1:9", tmp_path.as_uri(), "shards"):
        assert workers.are_here
        assert workers.do(scaled, 2, 3) == 6
    assert workers.lost
    assert workers.lost.startswith("Dask's scheduler tcp://127.0.0.1:9 can't be reached")


def test_a_scheduler_that_takes_connections_and_says_nothing_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_dask, "CONNECT_SECONDS", 0.5)
    monkeypatch.setattr(on_dask, "HUNG_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(EngineLost, match="can't be reached: it does not answer"):
            DaskEngine(address, lambda step: None)


def test_tls_without_certificates_is_told_of() -> None:
    with pytest.raises(EngineLost, match=r"tls://127.0.0.1:9 can't be reached: TLS expects"):
        DaskEngine("tls://127.0.0.1:9", lambda step: None)


def test_what_workers_lost_is_done_anew_in_this_process(scheduler: str, tmp_path: Path) -> None:
    def work() -> str:
        if not isinstance(current(), LocalEngine):
            raise EngineLost("They died.")
        return "done"

    workers = Workers(lambda step: None)
    with workers.hired(scheduler, tmp_path.as_uri(), "shards"):
        assert not workers.are_here
        assert workers.do(work) == "done"
        assert workers.are_here
    assert workers.lost == "They died."


def test_evaluated_models_have_the_scores_side_by_side_that_they_have_here(scheduler: str, tmp_path: Path) -> None:
    train, test = split_by_student(ATTEMPTS)
    some = [each for each in contestants() if each.name in ("prior", "item mean", "lnirt")]
    here = evaluate(train, test, some)
    with engine(scheduler, tmp_path) as dask:
        there = evaluate(train, test, some, engine=dask)
    assert [replace(each, train_seconds=0) for each in there.scores] == [
        replace(each, train_seconds=0) for each in here.scores
    ]


def test_the_verdict_of_a_tuning_is_reached_side_by_side(
    scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = tuning.parted(ATTEMPTS)
    loss = {None: 0.7, 2: 0.5}

    def on_hidden(kind: str, settings: Any, parts: tuning.Parts, *_: object) -> tuning.Losses:
        losses = np.full(len(parts.hidden), loss[settings and settings["epochs"]])
        return tuning.Losses(losses, losses)

    monkeypatch.setattr(tuning, "_on_hidden", on_hidden)
    with engine(scheduler, tmp_path) as dask:
        verdict = tuning.compared("embedding_v2", {"epochs": 2}, 1, parts, 0, dask)
    assert verdict.default_log_loss == pytest.approx(0.7)
    assert verdict.best_log_loss == pytest.approx(0.5)


def test_who_works_locally_imports_nothing_of_dask(tmp_path: Path) -> None:
    code = "import sys, app.main, app.ml.training.run; sys.exit(any(m in sys.modules for m in ('dask', 'distributed')))"
    env = {**os.environ, "DATA_DIR": str(tmp_path), "ENGINE": "local"}
    assert subprocess.run([sys.executable, "-c", code], env=env, check=False).returncode == 0
