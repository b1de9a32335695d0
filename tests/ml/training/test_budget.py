"""A run takes what fits into its time and memory; one that overruns makes the next one smaller, and pauses nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core import settings
from app.crud import training_control, training_runs
from app.ml.evaluation.simulated import school, simulate
from app.ml.training import budget, dataset, run
from app.ml.training.budget import Budget, WorkClock
from app.ml.training.reasons import RunReason
from app.ml.training.scheduler import Trainer, recorded
from app.ml.training.worker import TrainingDied, TrainingProcess, _Watchdog
from tests.conftest import SharedProcess
from tests.school import imported

TASKS = simulate(school(60, seed=5), 60, seed=5).attempts  # 3,600
SPIN = "import os, time\nwhile time.process_time() < 3: pass\nprint(time.process_time())"


@pytest.fixture
def trainer(db: Session, warm_process: SharedProcess) -> Iterator[Trainer]:
    made = Trainer(warm_process)
    yield made
    made.close()


def order(environment: Path, db: Session, **more: Any) -> run.Order:
    with db.begin():
        run_id = training_runs.ask(db)
    plain = run.Order(run_id, os.environ["DATABASE_URL"], str(environment / "models"), 5, 10, 3, forced=True)
    return replace(plain, **more)


def row(db: Session, run_id: int) -> Any:
    found = db.execute(text("SELECT * FROM training_runs WHERE id = :id"), {"id": run_id}).one()
    db.rollback()
    return found


def overran(db: Session, by: str = "time") -> None:
    """A run that took too much, and was ended before it had so much as read its tasks."""
    with db.begin():
        run_id = training_runs.ask(db)
        training_runs.start(db, run_id)
        recorded(db, run_id, {"outcome": "failed", "message": "Too long.", "overran": by})


@pytest.mark.skipif(sys.platform != "linux", reason="other systems don't say how long a process waited")
def test_seconds_in_which_others_had_the_processor_do_not_count() -> None:
    one = {min(os.sched_getaffinity(0))}
    others = [
        subprocess.Popen([sys.executable, "-c", SPIN], preexec_fn=lambda: os.sched_setaffinity(0, one))
        for _ in range(2)
    ]
    process = subprocess.Popen(
        [sys.executable, "-c", SPIN],
        stdout=subprocess.PIPE,
        preexec_fn=lambda: os.sched_setaffinity(0, one),
    )
    clock, begun, worked = WorkClock(process.pid), time.monotonic(), 0.0
    while process.poll() is None:
        worked = clock.seconds()
        time.sleep(0.05)
    wall = time.monotonic() - begun
    for each in others:
        each.wait()
    assert wall > 5  # three took turns
    assert worked < wall * 0.75


def test_a_run_for_which_all_tasks_would_be_too_many_takes_whole_students_of_them_and_says_so(
    db: Session, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "SECONDS_PER_TASK", 0.01)
    asked = order(environment, db, seconds=20, kinds=["lnirt"])
    imported(db, TASKS)
    result = run.train(asked, lambda _: None)
    found = row(db, asked.run_id)
    assert result["outcome"] == "published"
    assert 1500 <= found.n_read <= 1700  # 17 s of 36
    assert result["message"].startswith(
        "Trained on 3,600 tasks and in service: version 1 of lnirt. "
        f"Took {found.n_read:,} of 3,600 tasks, whole students of them: all would take about 36 s of 20 s."
    )
    assert found.seconds > 0
    assert found.peak_bytes > 1 << 20
    assert (found.n_tasks, found.overran, found.rung) == (3600, None, 0)


def test_a_network_for_which_no_time_is_left_is_left_out_and_the_rest_is_published(
    db: Session, environment: Path
) -> None:
    asked = order(environment, db, seconds=3)
    imported(db, TASKS)
    result = run.train(asked, lambda _: None)
    assert result["outcome"] == "published"
    assert "embedding_v2 was left out: of 3 s there were too few left." in result["message"]


def test_a_network_that_would_take_too_long_stops_and_what_it_has_learnt_is_kept(
    db: Session, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = order(environment, db, seconds=600)
    imported(db, TASKS.take(slice(0, 600)))
    monkeypatch.setattr(budget.Share, "is_over", lambda _, step, __: step["epoch"] == 2)
    steps: list[Mapping[str, Any]] = []
    result = run.train(asked, steps.append)
    assert "embedding_v2 stopped after 2 of" in result["message"]
    assert max(step["epoch"] for step in steps if "epoch" in step) == 2
    report = db.scalar(text("SELECT report FROM model_versions WHERE kind = 'embedding_v2'"))
    assert report["cut_short"]


def test_networks_are_left_out_where_there_is_too_little_memory_for_them(db: Session, environment: Path) -> None:
    asked = order(environment, db, memory_bytes=700 << 20)
    imported(db, TASKS.take(slice(0, 600)))
    result = run.train(asked, lambda _: None)
    assert result["outcome"] == "published"
    assert "embedding_v2 was left out: networks take 1,000 MB of memory, and there are 700 MB." in result["message"]


def test_each_run_that_overran_makes_the_next_smaller_and_each_that_ends_well_larger_again(db: Session) -> None:
    imported(db, TASKS)

    def taken() -> tuple[int, bool]:
        with db.begin():
            plan = Budget(3600, None)
            return plan.rows(db, 36_000)[0], plan.lnirt_alone

    seen = [taken()]
    for _ in range(3):
        overran(db)
        seen.append(taken())
    assert seen == [(36_000, False), (18_000, False), (9_000, True), (4_500, True)]
    with db.begin():
        run_id = training_runs.ask(db)
        training_runs.start(db, run_id)
        training_runs.finish(db, run_id, "published", "Well.")
    assert taken() == (9_000, True)


def ended_well(db: Session) -> int:
    """A run from scratch on the rung where it stood."""
    with db.begin():
        run_id = training_runs.ask(db)
        training_runs.start(db, run_id)
        training_runs.finish(db, run_id, "published", "Well.")
    return int(row(db, run_id).rung)


def test_what_killed_a_run_is_tried_again_more_and_more_seldom(db: Session) -> None:
    killed = []
    for n in range(100):
        with db.begin():
            too_much = training_runs.rung(db)[0] < 1
        if too_much:
            overran(db, "memory")
            killed.append(n)
        else:
            assert ended_well(db) == 1
    assert killed == [0, 2, 5, 10, 19, 36, 69]
    assert [ended_well(db) for _ in range(4)] == [1, 1, 0, 0]  # the machine has got more memory
    overran(db, "memory")  # once
    assert [ended_well(db) for _ in range(2)] == [1, 0]


def test_the_ladder_is_climbed_rung_by_rung_after_one_fall(db: Session) -> None:
    for _ in range(4):
        overran(db)
    assert [ended_well(db) for _ in range(5)] == [4, 3, 2, 1, 0]


def test_runs_that_overrun_never_pause_trainings(db: Session, trainer: Trainer) -> None:
    imported(db, TASKS.take(slice(0, 600)))
    for by in ("time", "memory") * 4:
        overran(db, by)
    with db.begin():
        control = training_control.read(db)
    assert (control.is_paused, control.failures) == (False, 8)
    result = trainer.train_now()
    assert result["outcome"] == "published"
    assert "embedding_v2 was left out: earlier trainings took more than there is." in result["message"]


def test_a_budget_that_is_smaller_than_the_smallest_run_is_answered_by_the_smallest_run(
    db: Session, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported(db, TASKS)
    monkeypatch.setenv("TRAINING_TIMEOUT_SECONDS", "0.1")
    settings.settings.cache_clear()
    result = trainer.train_now()
    assert result["outcome"] == "published"
    assert "of 3,600 tasks, whole students of them: all would take about 0 s of 0.1 s." in result["message"]


def test_a_run_that_is_about_to_use_too_much_before_it_reads_stands_on_its_rung_by_then(
    db: Session, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(run, "get_ready", out_of_memory)
    rungs = []
    for _ in range(4):
        asked = order(environment, db)
        assert run.train(asked, lambda _: None)["overran"] == "memory"
        rungs.append(row(db, asked.run_id).rung)
    assert rungs == [0, 1, 2, 3]


def cost(db: Session, kind: str, rows: int, seconds: float) -> None:
    """A version that took so long to be fitted to so many tasks."""
    with db.begin():
        report = {"train_seconds": seconds, "rows": rows}
        values = {"kind": kind, "report": json.dumps(report), "folder": f"{kind}-{seconds}", "rows": rows}
        db.execute(
            text(
                "INSERT INTO model_versions (kind, folder, files, n_tasks, scores, report, state, reason) "
                "VALUES (:kind, :folder, '{}', :rows, '{}', CAST(:report AS jsonb), 'rejected', '')"
            ),
            values,
        )


def test_one_training_during_which_the_machine_stood_still_makes_the_next_no_smaller(db: Session) -> None:
    cost(db, "lnirt", 100_000, 3)
    cost(db, "lnirt", 100_000, 600)
    with db.begin():
        assert Budget(60, None).rows(db, 100_000)[0] == 100_000


def test_a_run_whose_new_tasks_are_all_held_out_comes_to_models(
    db: Session, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "ALWAYS", 0)
    imported(db, TASKS.take(slice(0, 600)))
    more = {"trained": ("embedding_v2", "lnirt"), "retrain_every": 0}
    run.train(order(environment, db, **more), lambda _: None)
    asked = order(environment, db, **more, forced=False)
    result = run.train(asked, lambda _: None)
    assert result["outcome"] in ("published", "rejected")
    assert "could not be trained" not in result["message"]
    assert not row(db, asked.run_id).from_scratch


@pytest.mark.parametrize(("tasks", "from_scratch"), [(2_400, False), (3_600, True)])
def test_what_seems_too_long_is_put_off_until_the_tasks_have_grown_twice_over_and_then_measured_anew(
    tasks: int, from_scratch: bool, db: Session, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "ALWAYS", 0)
    imported(db, TASKS.take(slice(0, 1_200)))
    few = {"trained": ("embedding_v2", "lnirt"), "retrain_every": 0}
    run.train(order(environment, db, **few), lambda _: None)
    imported(db, TASKS.take(slice(tasks)))
    monkeypatch.setattr(budget, "SECONDS_PER_TASK", 1.0)
    asked = order(environment, db, **few, forced=False, seconds=60)
    said = run.train(asked, lambda _: None)["message"]
    assert row(db, asked.run_id).from_scratch is from_scratch
    assert ("Went on instead of from scratch" in said) is not from_scratch


def test_a_network_that_once_took_absurdly_long_is_tried_again(db: Session) -> None:
    cost(db, "embedding_v2", 40_000, 36_000)
    with db.begin():
        plan = Budget(60, None, ["embedding_v2"])
        taken = plan.taken(db, "embedding_v2", TASKS)
    assert taken is not None
    assert 900 <= len(taken) <= 1_100


def test_what_a_network_takes_anyway_is_not_taken_for_what_each_of_few_tasks_takes(db: Session) -> None:
    cost(db, "embedding_v2", 1_200, 3.5)
    with db.begin():
        assert Budget(8, None, ["embedding_v2"]).taken(db, "embedding_v2", TASKS) is not None


def folder(at: Path, **files: object) -> None:
    at.mkdir(parents=True, exist_ok=True)
    for name, said in files.items():
        (at / name.replace("_", ".", 1)).write_text(f"{said}\n")


def test_the_memory_of_every_control_group_that_a_process_lies_in_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own := tmp_path / "own").write_text("3:cpu:/\n0::/school.slice/web.service\n")
    monkeypatch.setattr(budget, "OWN_GROUPS", own)
    monkeypatch.setattr(budget, "GROUPS", tmp_path)
    monkeypatch.setattr(budget, "_free", lambda: 8 << 30)
    slice_, service = tmp_path / "school.slice", tmp_path / "school.slice" / "web.service"
    folder(slice_, memory_max=1 << 30, memory_high="max", memory_current=600 << 20, memory_stat="inactive_file 0")
    folder(service, memory_max="max", memory_high="max", memory_current=600 << 20, memory_stat="inactive_file 0")
    assert budget.memory_limit(None) == round(0.8 * (424 << 20))
    (service / "memory.high").write_text("800000000")
    assert budget.memory_limit(None) == round(0.8 * (800_000_000 - (600 << 20)))


def test_the_memory_of_a_container_whose_path_is_the_hosts_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own := tmp_path / "own").write_text("4:memory:/docker/1f2e\n0::/\n")
    monkeypatch.setattr(budget, "OWN_GROUPS", own)
    monkeypatch.setattr(budget, "GROUPS", tmp_path)
    monkeypatch.setattr(budget, "_free", lambda: 8 << 30)
    top = tmp_path / "memory"
    folder(
        top, memory_limit_in_bytes=1 << 30, memory_usage_in_bytes=500 << 20, memory_stat="total_inactive_file 1048576"
    )
    assert budget.memory_limit(None) == round(0.8 * (525 << 20))


def test_memory_that_the_warm_process_holds_is_its_own_to_use(
    db: Session, trainer: Trainer, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported(db, TASKS.take(slice(0, 600)))
    given: list[run.Order] = []
    monkeypatch.setattr(budget, "_free", lambda: 1 << 30)
    monkeypatch.setattr(budget, "_free_in_groups", lambda: None)

    def train(order: run.Order, *_: object) -> dict[str, Any]:
        given.append(order)
        return {"outcome": "failed", "message": "Only asked."}

    monkeypatch.setattr(trainer._process, "train", train)
    monkeypatch.setattr(type(trainer), "pid", os.getpid())
    trainer.train_now()
    assert given[0].memory_bytes == pytest.approx(0.8 * ((1 << 30) + budget.resident()), rel=0.1)


def test_under_a_limit_of_addresses_the_message_speaks_of_addresses(
    db: Session, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 3000 << 20
    monkeypatch.setattr(budget, "address_limit", lambda: most)
    assert budget.memory_limit(10_000) == most
    said = budget.why_no_networks(most)
    assert said
    assert said.text == "networks ask for 4,096 MB of addresses, and `ulimit -v` allows 3,000 MB"
    monkeypatch.setattr(budget, "_addresses_left", lambda: 100 << 20)
    with db.begin():
        rows, why = Budget(3600, most).rows(db, 1_048_576)
    assert (rows, why) == (524_288, "all would take about 200 MB more of addresses, and `ulimit -v` leaves 100 MB")


class Hanging(TrainingProcess):
    """Its child hangs, or takes ever more memory, once its seconds count."""

    work = "time.sleep(1000)"

    def _started(self) -> "subprocess.Popen[str]":
        begins = json.dumps(budget.BEGINS)
        code = f"import time; input(); print({begins!r}, flush=True); {self.work}"
        self._child = subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True)
        return self._child


def test_a_run_that_hangs_is_ended_when_its_time_is_over(
    db: Session, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "OVERDUE_AT_LEAST", 0.1)
    with pytest.raises(TrainingDied, match=r"took longer than 0\.75 s") as died:
        Hanging().train(order(environment, db), lambda _: None, 0.5)
    assert died.value.overran == "time"
    assert died.value.seconds >= 0.75


def test_a_run_that_takes_too_much_memory_is_ended_before_others_are(db: Session, environment: Path) -> None:
    process = Hanging()
    process.work = "held = [bytearray(1 << 20) for _ in range(200)]; time.sleep(1000)"
    with pytest.raises(TrainingDied, match="took more than 100 MB") as died:
        process.train(order(environment, db, memory_bytes=100 << 20), lambda _: None, 600)
    assert died.value.overran == "memory"
    assert died.value.peak_bytes > 100 << 20


def test_a_run_that_a_person_kills_overran_nothing(db: Session, environment: Path) -> None:
    process = Hanging()
    process.work = "import os; os.kill(os.getpid(), 9)"
    with pytest.raises(TrainingDied, match="killed by signal 9") as died:
        process.train(order(environment, db), lambda _: None, 600)
    assert died.value.overran is None


@pytest.mark.skipif(sys.platform != "linux", reason="other systems don't say how long a process waited")
def test_a_training_that_others_keep_from_the_processor_is_not_taken_for_dead() -> None:
    one = {min(os.sched_getaffinity(0))}

    def last() -> None:
        os.sched_setaffinity(0, one)
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))

    endless = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(endless, text=True, preexec_fn=lambda: os.sched_setaffinity(0, one)) for _ in range(2)]
    starved = subprocess.Popen(endless, preexec_fn=last, text=True)
    try:
        with _Watchdog(starved, 600, 3) as watchdog:
            time.sleep(6)
            assert (watchdog.why_ended, starved.poll()) == (None, None)
            starved.send_signal(signal.SIGSTOP)  # now it is not ready either
            assert starved.wait(60) == -signal.SIGKILL
        assert watchdog.why_ended is RunReason.SILENT
    finally:
        for each in (starved, *others):
            each.kill()
            each.wait()
