"""`smartstudy replay`: the figures as tables."""

from math import isnan
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from app.core.settings import settings
from app.ml.replay import GROUPS, ReplayReport, Score

TITLES = {
    "overall": "All tasks",
    "first 10": "Each student's first 10 tasks",
    "next 40": "The next 40",
    "later": "All later ones",
}
FIGURES = ("auc", "log_loss", "brier", "calibration_error", "rmse_log_time", "mae_seconds")
HEADS = ("AUC", "log-loss", "Brier", "calib. error", "RMSE log s", "MAE s")


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
    for group in GROUPS:
        scores = [score for score in report.scores if score.group == group]
        if scores and scores[0].n:
            console.print(_table(TITLES[group], scores))
    for line in _remarks(report):
        console.print(line, highlight=False)


def _table(title: str, scores: list[Score]) -> Table:
    table = Table(Column("model", no_wrap=True), title=f"{title} ({scores[0].n:,})", title_justify="left")
    for head in HEADS:
        table.add_column(head, justify="right")
    best = {name: _best(name, scores) for name in FIGURES}
    for score in scores:
        table.add_row(score.model, *(_figure(getattr(score, name), best[name]) for name in FIGURES))
    return table


def _best(name: str, scores: list[Score]) -> float:
    values = [value for score in scores if not isnan(value := getattr(score, name))]
    return (max if name == "auc" else min)(values, default=float("nan"))


def _figure(value: float, best: float) -> str:
    shown = "-" if isnan(value) else f"{value:.4f}"
    return f"[bold]{shown}[/bold]" if value == best else shown


def _remarks(report: ReplayReport) -> list[str]:
    remarks = [
        f"{report.tasks:,} tasks of {report.students:,} students; the best figure of each column is bold. Every answer "
        "is what the service would have said at that moment: the baselines, too, know only what was finished by then."
    ]
    for name, trainings in report.trainings.items():
        if trainings or report.failures[name]:
            remarks.append(
                f"{name}: {trainings} trainings, the last ones every {report.retrain_every:,} finished tasks, in "
                f"{report.seconds[name]:.0f} s; {report.by_prior[name]:,} tasks came before the first: the prior's."
            )
        remarks += [f"{name}: a training failed {failure}" for failure in report.failures[name][:5]]
    low, high = report.limits
    remarks.append(
        f"Times are answered within {low:.3g} to {high:.3g} s; {report.outside:.0%} of the real ones lie outside "
        "(MIN_SECONDS and MAX_SECONDS change that)."
    )
    return remarks
