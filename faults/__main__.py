"""Faults, one at a time: the k-th file, database or training call fails, or the process is killed there.

    python -m faults [--seeds 2] [--scenario NAME] [--mode MODE] [--k K --seed S] [--short]

For k = 1, 2, 3 ... until none strikes, in a training run, completions, an import and a promotion with its rollback.
A kill is tried at every point with every seed; for the other faults the seeds share the points between them.
After each, what must hold is checked (`faults/invariants.py`), and the next attempt has to succeed. Each case has a
database and model files of its own, on a server that is gone at the end. The exit code is 1 where something broke; each
break names the options that play it again.
"""

import argparse
import sys
import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from app.core.one_thread import use_one_thread

use_one_thread()  # before anything imports NumPy

from faults import suite  # noqa: E402
from faults.cases import Case, Outcome, played  # noqa: E402
from faults.failpoints import KILL, LOST, MODES  # noqa: E402
from faults.fixtures import Worlds, worlds  # noqa: E402
from faults.scenarios import SCENARIOS  # noqa: E402

console = Console(width=None if sys.stdout.isatty() else 120)
SHORT = suite.Plan(("run", "completion", "import", "promotion"), (KILL, "ENOSPC", LOST, "MemoryError"), (1,), step=9)


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    _import_everything()
    with worlds() as made:
        if given.k is not None:
            return _one(made, Case(given.scenario or "run", given.mode or KILL, given.k, given.seed))
        return _all(made, _plan(given))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=2, help="how many; they vary data and start")
    parser.add_argument("--scenario", choices=list(SCENARIOS), help="only this one")
    parser.add_argument("--mode", choices=MODES, help="only this kind of fault")
    parser.add_argument("--k", type=int, help="only this point; with --seed, it plays one case again")
    parser.add_argument("--seed", type=int, default=0, help="the seed of that case, or the first of several")
    parser.add_argument("--jobs", type=int, default=2, help="cases at a time")
    parser.add_argument(
        "--short", action="store_true", help="every ninth point of one seed: what `make test-slow` runs"
    )
    return parser


def _plan(given: argparse.Namespace) -> suite.Plan:
    if given.short:
        return SHORT
    names = (given.scenario,) if given.scenario else tuple(SCENARIOS)
    modes = (given.mode,) if given.mode else MODES
    return suite.Plan(names, modes, range(given.seed, given.seed + given.seeds), jobs=given.jobs)


def _import_everything() -> None:
    """Once, here: the processes of the cases are forked from this one. No thread may be started before."""
    import keras  # noqa: F401
    import tensorflow  # noqa: F401

    import app.main
    import app.ml.embedding_model
    import app.ml.kinds.attention
    import app.ml.lnirt.model
    import app.ml.networks.fit
    import app.ml.training.run  # noqa: F401


def _one(made: Worlds, case: Case) -> int:
    outcome = played(made, case)
    print(outcome.printed)
    console.print(f"{case}: {outcome.point or 'there is no such point'}", markup=False)
    _tell([outcome] if outcome.broken else [])
    return 1 if outcome.broken else 0


def _all(made: Worlds, plan: suite.Plan) -> int:
    started = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[said]}"), TimeElapsedColumn())
    # No thread of its own: this process forks.
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False, transient=True) as progress:
        shown, at = progress.add_task("faults", total=None, said=""), [("", "", -1)]

        def say(case: Case, found: suite.Findings) -> None:
            if (now := (case.scenario, case.mode, case.seed)) != at[0] and not sys.stderr.isatty():
                print(f"{', '.join(map(str, now))}: {found.faults} tried so far", file=sys.stderr, flush=True)
            at[0] = now
            said = f"{found.faults} tried, {len(found.broken)} broke"
            progress.update(shown, description=f"{case.scenario}, {case.mode}, seed {case.seed}", said=said)
            progress.refresh()
            _tell([each for each in found.broken if each.case == case])

        found = suite.sweep(made, plan, say)
    console.print(found.table())
    survived = found.faults - len([each for each in found.broken if each.point])
    seconds = time.monotonic() - started
    console.print(f"{found.faults} faults tried, {survived} survived, {len(found.broken)} broke, in {seconds:.0f} s.")
    if never := found.never(plan):
        console.print(f"BROKEN No point was found for {', '.join(never)}.", style="red")
    return 1 if found.broken or never else 0


def _tell(broken: Sequence[Outcome]) -> None:
    for each in broken:
        console.print(f"BROKEN {each.case}\n  at {each.point}", style="red", markup=False, soft_wrap=True)
        for sentence in each.broken:
            console.print(f"  {sentence}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
