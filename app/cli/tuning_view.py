"""`smartstudy tune`: trials as they end, and what came of them."""

import sys
from collections.abc import Callable
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from app.ml.evaluation.tuning import Verdict
from app.ml.evaluation.tuning_study import Study, Trial


class Shown:
    """Trials on their way: a bar on a terminal, one line per trial elsewhere."""

    def __init__(self, progress: Progress, trials: int, console: Console) -> None:
        self._progress, self._console, self._is_terminal = progress, console, sys.stderr.isatty()
        self._task = progress.add_task("Trials", total=trials, detail="")
        self._best = ""

    def ended(self, trial: Trial) -> None:
        self._best = f"; best {trial.best_score:.4f} of trial {trial.best}" if trial.best_score is not None else ""
        self._progress.advance(self._task)
        if not self._is_terminal:
            self._console.print(line(trial), highlight=False, soft_wrap=True)

    def epoch(self, step: dict[str, Any]) -> None:
        which = f"trial {step['trial']}" if "trial" in step else "on the hidden students"
        self._progress.update(self._task, detail=f"{which}, epoch {step['epoch']} of {step['epochs']}{self._best}")


def line(trial: Trial) -> str:
    """Of a trial that has ended."""
    result = f"no model: {trial.failure}" if trial.score is None else f"loss {trial.score:.4f}"
    best = "" if trial.best_score is None else f"; best {trial.best_score:.4f} of trial {trial.best}"
    return f"trial {trial.number}: {result} in {trial.seconds:.1f} s{best}"


def opening(study: Study) -> str:
    """What the trials are about."""
    parts = study.parts
    return (
        f"Study {study.name}: {len(parts.shown) + len(parts.hidden):,} tasks, of which trials learn from "
        f"{parts.learnt:,} and are judged on {len(parts.unseen):,} of unseen students and "
        f"{len(parts.seen) - parts.learnt:,} newest ones; {len(parts.hidden):,} of hidden students decide at the end. "
        f"Trials with a score so far: {study.completed():,}."
    )


def stopped(study: Study, again: str) -> str:
    return (
        f"Stopped. {study.completed():,} trials are kept in the study {study.name}; `{again}` goes on with it, "
        "with `--trials 0` it only judges the best so far."
    )


def show(study: Study, verdict: Verdict | None, console: Console) -> None:
    """The defaults and the best on the hidden students, and whether the latter are taken up."""
    say: Callable[[str], None] = lambda text: console.print(text, highlight=False, soft_wrap=True)  # noqa: E731
    if verdict is None:
        say(f"None of {study.completed():,} trials is better than the default settings; nothing is changed.")
        return
    console.print(_table(verdict))
    difference = f"a loss lower by {verdict.gain:.4f} (standard error {verdict.error:.4f})"
    if verdict.is_better:
        say(f"The settings of trial {verdict.trial} have {difference}: they are stored.")
        say("Trainings from scratch take them up, `smartstudy train` at once; the gate decides as always.")
    else:
        why = f"{difference}, which is not clearly better" if verdict.gain > 0 else "no lower loss"
        say(f"The settings of trial {verdict.trial} have {why}; nothing is changed.")


def _table(verdict: Verdict) -> Table:
    title = f"{verdict.tasks:,} tasks of {verdict.students:,} hidden students"
    shown = Table(box=SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    for heading in ("settings", "loss", "log-loss", "RMSE log t"):
        shown.add_column(heading, justify="left" if heading == "settings" else "right", no_wrap=True)
    for name, which in (("default", "default"), (f"trial {verdict.trial}", "best")):
        figures = [getattr(verdict, each.format(which)) for each in ("{}", "{}_log_loss", "{}_rmse_log_time")]
        shown.add_row(name, *(f"{each:.4f}" for each in figures))
    return shown
