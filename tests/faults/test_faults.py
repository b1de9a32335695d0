"""A short round of faults: `make faults` and the commands in `faults/` go on for longer."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from subprocess import run

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.ml.serving.version_store import VersionStore
from faults import invariants, soak, trainings
from faults.failpoints import FILE_ERRORS, KILL, LOST, Failpoints, Fault
from faults.soak import Sample

REPOSITORY = Path(__file__).parents[2]


def told_by(module: str, *arguments: str) -> str:
    """What a command prints; it has to end well. A process of its own: it forks, and patches what it imports."""
    command = [sys.executable, "-m", module, *arguments]
    done = run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_every_step_of_a_training_is_where_the_faults_look_for_it() -> None:
    assert [step for step in trainings.STEPS if not callable(attrgetter(step[1])(import_module(step[0])))] == []


@pytest.mark.slow
def test_a_short_round_of_faults_breaks_nothing() -> None:
    assert "0 broke" in told_by("faults", "--short")


@pytest.mark.slow
@pytest.mark.parametrize(
    "stand_in",
    [(), ("--moto", os.environ.get("MOTO_SERVER", "")), ("--azurite", os.environ.get("AZURITE_BLOB", ""))],
    ids=["a folder", "S3", "Azure"],
)
def test_machines_with_disks_of_their_own_answer_by_the_right_version(stand_in: Sequence[str]) -> None:
    if stand_in and not stand_in[1]:
        pytest.skip("MOTO_SERVER or AZURITE_BLOB names the program of an environment of its own")
    assert "0 broke" in told_by("faults.store", "--trainings", "1", "--seconds-away", "5", *stand_in)


@pytest.mark.slow
def test_no_completion_is_lost_when_the_web_process_is_killed() -> None:
    assert "0 broke" in told_by("faults.kills", "--kills", "2", "--clients", "4")


@pytest.mark.parametrize(
    "module", ["faults", *(f"faults.{n}" for n in ("kills", "triggers", "load", "soak", "paused", "store"))]
)
def test_help_says_what_is_tried(module: str) -> None:
    assert f"python -m {module}" in told_by(module, "--help")


@pytest.mark.parametrize(
    ("mode", "areas"), [(KILL, ["file", "database", "training"]), ("EIO", ["file"]), (LOST, ["database"])]
)
def test_a_fault_strikes_at_the_kth_point_that_it_knows_and_only_there(mode: str, areas: Sequence[str]) -> None:
    points = Failpoints(Fault(mode, 2))
    struck = [
        (turn, area) for turn in range(4) for area in ("file", "database", "training") if points.strikes(area, "here")
    ]
    assert len(struck) == 1
    assert points.reached == 4 * len(areas)


@pytest.mark.parametrize("mode", FILE_ERRORS)
def test_a_failing_file_fails_as_the_system_would(mode: str) -> None:
    with pytest.raises(OSError, match="weights") as raised:
        Failpoints(Fault(mode, 1)).fail("weights.npz")
    assert raised.value.errno == FILE_ERRORS[mode]


@pytest.fixture
def spoilt(db: Session, environment: Path) -> list[str]:
    """What is said of a database whose counter is one too high and whose files are nobody's."""
    (environment / "models" / "versions" / "lnirt-1-abandoned").mkdir(parents=True)
    db.execute(text("UPDATE embedding_model_tracker SET n_samples_since_training = 1"))
    db.commit()
    url = db.get_bind().engine.url.render_as_string(hide_password=False).replace("+psycopg2", "")
    return invariants.broken(url, VersionStore(environment / "models"), settled=True)


def test_what_does_not_hold_is_told(spoilt: list[str]) -> None:
    assert [sentence.split(",")[0] for sentence in spoilt] == [
        "0 tasks are completed",
        "1 folders belong to no version: versions/lnirt-1-abandoned.",
    ]


def test_growth_is_told_and_a_level_that_holds_is_not() -> None:
    flat = [Sample(100.0, 5, 20)] * 30
    assert soak.grown("web", flat) == []
    assert len(soak.grown("web", [*flat, *[Sample(120.0, 15, 40)] * 30])) == 3
