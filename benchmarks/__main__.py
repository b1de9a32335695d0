"""Measures SmartStudy side by side with the source documents' way of doing it and with what the machine allows.

    python -m benchmarks [--full] [--only post,patch] [--json FILE] [--plots FOLDER]

Everything runs on this machine, in a temporary folder, with databases and ports of its own, and is gone at the end but
for the results. Parts, in their order:

"""

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from benchmarks import (
    during_training,
    growth,
    history,
    in_bulk,
    plots,
    prediction,
    start,
    table,
    throughput,
    training_path,
)
from benchmarks.findings import Found, Results, facts
from benchmarks.sizes import FULL, SHORT, Sizes
from benchmarks.stage import Say, Stage

WIDTH = 140  # columns, where the output goes to a file
RESULTS = Path(__file__).parent / "results"
Part = Callable[[Stage], Found]

PARTS: dict[str, tuple[Part, str]] = {
    "prediction": (prediction.prediction, "one prediction without the database, beside Keras and the arithmetic alone"),
    # Before PATCH, whose made-up results would keep new versions out.
    "during": (during_training.during, "p99 of POST while trainings run and versions change, beside the idle service"),
    "post": (throughput.post, "POST under 16 clients, beside a raw insert, a bare route and the documents' way"),
    "patch": (throughput.patch, "PATCH likewise, and how many of 192 concurrent completions are counted"),
    "start": (start.start, "start to first prediction, and memory of the web process"),
    "history": (history.history, "POST and PATCH for a student with 10 past tasks and with 100,000"),
    "train": (training_path.training, "training V2 beside Keras fit, on 677 and on 100,000 tasks: seconds, log-loss"),
    "bulk": (in_bulk.bulk, "import, reading and features of very many tasks"),
    "growth": (growth.growth, "training runs, POST and memory from 100 tasks on, up to 10,000 (full: 1,000,000)"),
}


def main(arguments: Sequence[str] | None = None, sizes: Sizes | None = None) -> int:
    """The exit code: 1 if a part failed."""
    given = _parser().parse_args(arguments)
    sizes = sizes or (FULL if given.full else SHORT)
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    results = measured(given.only or list(PARTS), sizes, console)
    console.print(table.for_terminal(results))
    for part, why in results.failed.items():
        console.print(f"{part} failed: {why}", style="red", markup=False)
    console.print(table.told(results))
    results.save(given.json)
    for path in [given.json, *plots.save(results, given.plots, given.json.stem)]:
        console.print(f"wrote {path}", style="dim")
    return 1 if results.failed else 0


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, PARTS))
    parts = "\n".join(f"  {name:{width}}  {what}" for name, (_, what) in PARTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=f"{(__doc__ or '').rstrip()}\n\n{parts}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--full", action="store_true", help="up to a million tasks: half an hour instead of minutes")
    parser.add_argument("--only", type=_parts, metavar="PART,...", help="only these parts")
    parser.add_argument("--json", type=Path, default=RESULTS / "latest.json", help="where the figures go")
    parser.add_argument("--plots", type=Path, default=RESULTS, help="folder of the pictures")
    return parser


def _parts(names: str) -> list[str]:
    wanted = names.split(",")
    unknown = [name for name in wanted if name not in PARTS]
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    return [name for name in PARTS if name in wanted]


def measured(parts: list[str], sizes: Sizes, console: Console) -> Results:
    """One part after the other; one that fails doesn't lose the others."""
    begun = time.monotonic()
    found: list[Found] = []
    failed: dict[str, str] = {}
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name, _progress(console) as progress:
        Path(name).chmod(0o711)  # for root's PostgreSQL runs as another account
        with closing(Stage(Path(name), sizes, _said(progress, console))) as stage:
            for part in parts:
                since = time.monotonic()
                try:
                    found.append(PARTS[part][0](stage))
                except Exception as why:  # whatever it was, the other parts can be measured
                    failed[part] = f"{type(why).__name__}: {why}"
                    print(traceback.format_exc(), file=sys.stderr)
                else:
                    failed |= {part: found[-1].stopped} if found[-1].stopped else {}
                seconds[part] = round(time.monotonic() - since, 1)
    rows, curves = [row for each in found for row in each.rows], [curve for each in found for curve in each.curves]
    return Results(rows, curves, failed, facts(sizes.full, time.monotonic() - begun, seconds))


def _progress(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console, transient=True
    )


def _said(progress: Progress, console: Console) -> Say:
    """On a terminal one line that changes; elsewhere a line each."""
    shown = progress.add_task("starting", total=None)

    def say(what: str) -> None:
        progress.update(shown, description=what)
        if not console.is_terminal:
            print(what, file=sys.stderr, flush=True)

    return say


if __name__ == "__main__":
    sys.exit(main())
