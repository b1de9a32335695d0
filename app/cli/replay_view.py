"""`smartstudy replay`: the figures as tables."""

from itertools import compress
from math import isnan
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table

from app.core.settings import settings
from app.ml.evaluation.prequential import GROUPS, OF_ALL, OF_STUDENT, ReplayReport, Score

FIGURES = ("auc", "log_loss", "brier", "calibration_error", "rmse_log_time", "mae_seconds")
HEADS = ("AUC", "log-loss", "Brier", "calib. error", "RMSE log s", "MAE s")
GROWING = {  # groups by the heads of their columns
    "The installation's first tasks, of all students together": {f"{end:,}": name for end, name in OF_ALL.items()},
    "Each student's first tasks": {f"{end:,}": name for end, name in OF_STUDENT.items()} | {"51-": "later"},
}
SHORT = {"log_loss": "log-loss", "rmse_log_time": "RMSE log s"}  # figures by group


LOOK: dict[str, Any] = {
    "title_justify": "left", "box": SIMPLE_HEAD, "pad_edge": False, "padding": (0, 0, 0, 1), "collapse_padding": True,
}  # fmt: skip


def arguments(retrain_every: int | None, early: bool) -> dict[str, Any]:
    """What the service on these settings would do."""
    given = settings()
    return {
        "retrain_every": retrain_every or given.retrain_every,
        "min_training": given.min_training_tasks,
        "early": early,
        "p_limits": (given.min_probability, given.max_probability),
        "seconds_limits": (given.min_seconds, given.max_seconds),
    }


def show(report: ReplayReport, console: Console) -> None:
    """All tasks by all figures, then the first ones by two."""
    by_group = {group: [score for score in report.scores if score.group == group] for group in GROUPS}
    if report.tasks and report.scores:
        console.print(_table(by_group["overall"]))
        for title, groups in GROWING.items():
            console.print(_growing(title, _telling({head: by_group[group] for head, group in groups.items()})))
    for line in _remarks(report):
        console.print(line, highlight=False)


def _table(scores: list[Score]) -> Table:
    table = Table(Column("model", no_wrap=True), title=f"All tasks ({scores[0].n:,})", **LOOK)
    for head in HEADS:
        table.add_column(head, justify="right")
    best = {name: _best(name, scores) for name in FIGURES}
    for score in scores:
        table.add_row(score.model, *(_figure(getattr(score, name), best[name], 4) for name in FIGURES))
    return table


def _telling(groups: dict[str, list[Score]]) -> dict[str, list[Score]]:
    """Those that hold tasks, and other ones than the group before."""
    sizes = [scores[0].n for scores in groups.values()]
    new = [n and n != before for n, before in zip(sizes, [0, *sizes], strict=False)]
    return dict(compress(groups.items(), new))


def _growing(title: str, groups: dict[str, list[Score]]) -> Table:
    """A column for each group, of one figure after the other."""
    table = Table(Column("model", no_wrap=True), title=title, **LOOK)
    for figure in SHORT.values():
        for place, head in enumerate(groups):
            table.add_column(f"{'' if place else figure}\n{head}", justify="right", no_wrap=True)
    table.add_row("tasks", *[f"{scores[0].n:,}" for scores in groups.values()] * len(SHORT), style="dim")
    columns = [_column(name, scores) for name in SHORT for scores in groups.values()]
    for score, *cells in zip(next(iter(groups.values())), *columns, strict=True):
        table.add_row(score.model, *cells)
    return table


def _column(name: str, scores: list[Score]) -> list[str]:
    best = _best(name, scores)
    return [_figure(getattr(score, name), best, 3) for score in scores]


def _best(name: str, scores: list[Score]) -> float:
    values = [value for score in scores if not isnan(value := getattr(score, name))]
    return (max if name == "auc" else min)(values, default=float("nan"))


def _figure(value: float, best: float, digits: int) -> str:
    shown = "-" if isnan(value) else f"{value:.{digits}f}"
    return f"[bold]{shown}[/bold]" if value == best else shown


def _remarks(report: ReplayReport) -> list[str]:
    remarks = [
        f"{report.tasks:,} tasks of {report.students:,} students; the best figure of each column is bold. Every answer "
        "is made from what was finished by then. `served` is what the service would have said; a kind by itself says "
        "50 % and 60 s until its first training."
    ]
    for name, trainings in report.trainings.items():
        if trainings or report.failures[name]:
            many = "training" if trainings == 1 else "trainings"
            remarks.append(
                f"{name}: {trainings} {many}, the last ones every {report.retrain_every:,} finished tasks, in "
                f"{report.seconds[name]:.0f} s; {report.by_prior[name]:,} answered by the prior, 50 % and 60 s."
            )
        remarks += [f"{name}: a training failed {failure}" for failure in report.failures[name][:5]]
    low, high = report.limits
    if report.times:
        remarks.append(
            f"Times are answered within {low:.3g} to {high:.3g} s; {report.outside:.0%} of the real ones lie outside "
            "(MIN_SECONDS and MAX_SECONDS change that)."
        )
    return remarks
