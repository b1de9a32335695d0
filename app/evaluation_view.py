"""`smartstudy evaluate`: the table in the terminal."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from app.ml.evaluation import Contestant, Score

COLUMNS = {
    "auc": ("AUC", ".4f", max),
    "log_loss": ("log-loss", ".4f", min),
    "brier": ("Brier", ".4f", min),
    "calibration_error": ("calibration\nerror", ".4f", min),
    "rmse_log_time": ("RMSE\nlog time", ".4f", min),
    "mae_seconds": ("MAE\ns", ".3f", min),
    "time_interval_coverage": ("80 % interval\nholds", ".1%", None),
    "train_seconds": ("training\ns", ".1f", None),
}


def chosen(contestants: Sequence[Contestant], only: Sequence[str] | None) -> list[Contestant]:
    """Those that were asked for by name, or all. Raises ValueError with the names there are."""
    names = [each.name for each in contestants]
    for name in only or ():
        if name not in names:
            raise ValueError(f"There is no model {name!r}; there are {', '.join(names)}.")
    return [each for each in contestants if not only or each.name in only]


def show(scores: Sequence[Score], failures: Mapping[str, str], facts: Mapping[str, object], console: Console) -> None:
    """Scores by model, the best of each column in bold; then who could not take part, and why."""
    title = "Trained on {train_tasks:,} tasks of {train_students:,} students, judged on {test_tasks:,} of {test_students:,} others"  # noqa: E501
    shown = Table("model", title=title.format(**facts), title_justify="left")
    for heading, _, _ in COLUMNS.values():
        shown.add_column(heading, justify="right")
    for each in scores:
        shown.add_row(each.model, *(_cell(each, column, scores) for column in COLUMNS))
    console.print(shown)
    for model, why in failures.items():
        console.print(f"{model} could not be trained: {why}")


def _cell(score: Score, column: str, scores: Sequence[Score]) -> str:
    _, form, best = COLUMNS[column]
    value = getattr(score, column)
    if value is None:
        return "-"
    text = format(value, form)
    others = [each for each in (getattr(s, column) for s in scores) if each is not None]
    return f"[bold]{text}[/bold]" if best and value == best(others) else text
