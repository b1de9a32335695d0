"""One fault, in a world of its own: it strikes, what must hold is checked, and the next attempt has to succeed."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from faults import child_process, database, files, invariants, trainings
from faults.failpoints import KILL, Failpoints, Fault
from faults.fixtures import World, Worlds
from faults.scenarios import SCENARIOS, Scenario, train

POINT = re.compile(r"^FAULT .*point \d+, (.*)$", re.MULTILINE)
SUPERVISED = "The training process was killed by signal 9 (SIGKILL)."


@dataclass(frozen=True, slots=True)
class Case:
    """What is tried; how to try it again."""

    scenario: str
    mode: str
    k: int
    seed: int

    def __str__(self) -> str:
        return f"--scenario '{self.scenario}' --mode {self.mode} --k {self.k} --seed {self.seed}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it."""

    case: Case
    point: str | None  # that went wrong; none: there is no k-th one
    broken: tuple[str, ...]
    printed: str


def played(worlds: Worlds, case: Case) -> Outcome:
    """Play it; nothing of it is left."""
    scenario = SCENARIOS[case.scenario]
    start = worlds.like(scenario.start(case.seed), case.seed, scenario.kinds)
    number = f"{list(SCENARIOS).index(case.scenario)}_{case.mode.lower()}_{case.k}_{case.seed}"
    with worlds.copy(start, number) as world:
        attempt = child_process.done(lambda tell: _attempt(world, scenario, case, tell))
        point = next(iter(POINT.findall(attempt.printed)), None)
        broken = [f"The attempt hung at {point}."] if attempt.hung else []
        if point is None and attempt.code:
            broken.append(f"Without a fault the attempt failed, with code {attempt.code}.")
        broken += _told_in(child_process.done(lambda tell: _after(world, scenario, case, attempt.told, tell)))
        return Outcome(case, point, tuple(broken), attempt.printed)


def _attempt(world: World, scenario: Scenario, case: Case, tell: Callable[[Any], None]) -> None:
    """The process that meets the fault. What it raises then is no break; what it leaves behind may be one."""
    world.enter(RETRAIN_EVERY="5" if scenario.attempt is train else "1000")
    points = Failpoints(Fault(case.mode, case.k))
    trainings.install(points)
    database.install(points, world.url)
    files.install(points, world.model_dir)
    scenario.attempt(world, case.seed, tell)


def _after(world: World, scenario: Scenario, case: Case, told: list[Any], tell: Callable[[Any], None]) -> None:
    world.enter(RETRAIN_EVERY="5" if scenario.attempt is train else "1000")
    if case.mode == KILL and case.seed % 2:
        _supervisor_records()
    tell(invariants.broken(world.url, world.store))
    scenario.again(world, case.seed, told)
    tell(invariants.broken(world.url, world.store, settled=scenario.attempt is train))


def _supervisor_records() -> None:
    """Only the training process was killed: the web process says so. (Of an even seed both were.)"""
    from app.core.database import new_session
    from app.crud import training_runs
    from app.ml.training.run import record_failure

    with new_session().begin() as db:
        for run in training_runs.newest(db, 1):
            record_failure(db, run.id, "failed", SUPERVISED)


def _told_in(after: child_process.Ended) -> list[str]:
    told = [sentence for each in after.told for sentence in each]
    if after.hung:
        return [*told, "The next attempt hung."]
    if after.code:
        return [*told, f"The next attempt failed: {(after.printed.strip().splitlines() or ['no word'])[-1]}"]
    return told
