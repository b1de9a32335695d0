"""Tries k = 1, 2, 3 ... until no fault strikes, of every scenario, mode and seed; several cases at a time."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context

from rich.table import Table

from faults.cases import Case, Outcome, played
from faults.failpoints import KILL, MODES
from faults.fixtures import Worlds
from faults.scenarios import SCENARIOS

MOST = 1000  # points of a scenario: there are not that many


@dataclass(frozen=True, slots=True)
class Plan:
    """What to try."""

    scenarios: Sequence[str]
    modes: Sequence[str]
    seeds: Sequence[int]
    step: int = 1  # every which point
    jobs: int = 2

    def shared(self, mode: str) -> int:
        """Kills are tried at every point with every seed; for other faults the seeds share the points between them."""
        return 1 if mode == KILL else len(self.seeds)

    def sweeps(self) -> Iterator[tuple[str, str, int]]:
        for seed in self.seeds:
            for name in self.scenarios:
                for mode in self.modes:
                    if mode in SCENARIOS[name].modes:
                        yield name, mode, seed


@dataclass
class Findings:
    """All that came of it."""

    tried: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    points: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    broken: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        if outcome.point is not None:
            self.tried[outcome.case.scenario, outcome.case.mode] += 1
            self.points[outcome.case.scenario].add(outcome.point)
        if outcome.broken:
            self.broken.append(outcome)

    @property
    def faults(self) -> int:
        return sum(self.tried.values())

    def never(self, plan: Plan) -> list[str]:
        """Modes that were to be tried and had no point anywhere: then the suite no longer sees what it looks at."""
        return [mode for mode in plan.modes if not any(each == mode and n for (_, each), n in self.tried.items())]

    def table(self) -> Table:
        modes = [mode for mode in MODES if any(mode == each for _, each in self.tried)]
        shown = Table("scenario", "points", *modes, "tried", "survived", "broken", title="Faults")
        for name in self.points:
            each = [self.tried[name, mode] for mode in modes]
            bad = len({one.case for one in self.broken if one.case.scenario == name and one.point})
            row = (len(self.points[name]), *each, sum(each), sum(each) - bad, bad)
            shown.add_row(name, *map(str, row))
        return shown


def sweep(worlds: Worlds, plan: Plan, say: Callable[[Case, Findings], None]) -> Findings:
    """Everything that is planned."""
    findings = Findings()
    for name, _, seed in plan.sweeps():
        scenario = SCENARIOS[name]
        worlds.like(scenario.start(seed), seed, scenario.kinds)  # made before there are several processes
    with ProcessPoolExecutor(plan.jobs, get_context("fork"), _remember, (worlds,)) as pool:
        for name, mode, seed in plan.sweeps():
            step = plan.step * SCENARIOS[name].step * plan.shared(mode)
            for outcome in _until_none_strikes(pool, plan.jobs, name, mode, seed, step):
                findings.add(outcome)
                say(outcome.case, findings)
    return findings


def _until_none_strikes(
    pool: ProcessPoolExecutor, jobs: int, name: str, mode: str, seed: int, step: int
) -> Iterator[Outcome]:
    """Every `step`-th point, beginning with another one for each seed; a few at a time."""
    first = 1 + seed % step
    for k in range(first, MOST, step * jobs):
        cases = [Case(name, mode, k + place * step, seed) for place in range(jobs)]
        outcomes = list(pool.map(_played, cases))
        yield from outcomes
        if any(outcome.point is None for outcome in outcomes):
            return


_worlds: list[Worlds] = []


def _remember(worlds: Worlds) -> None:
    _worlds[:] = [worlds]


def _played(case: Case) -> Outcome:
    return played(_worlds[0], case)
