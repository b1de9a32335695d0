"""`smartstudy evaluate`: the table in the terminal."""

from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from app.ml.evaluation.benchmark import BenchmarkResult, Contestant, Score

COLUMNS = {
    "auc": ("AUC", ".4f", max),
    "log_loss": ("log-\nloss", ".4f", min),
    "brier": ("Brier", ".3f", min),
    "calibration_error": ("ECE", ".3f", min),
    "rmse_log_time": ("RMSE\nlog t", ".4f", min),
    "mae_seconds": ("MAE\ns", ".3g", min),
    "time_interval_coverage": ("80 %\nholds", ".1%", None),
    "train_seconds": ("train\ns", ".1f", None),
}


def chosen(contestants: Sequence[Contestant], only: Sequence[str] | None) -> list[Contestant]:
    """Those that were asked for by name, or all. Raises ValueError with the names there are."""
    names = [each.name for each in contestants]
    for name in only or ():
        if name not in names:
            raise ValueError(f"There is no model {name!r}; there are {', '.join(names)}.")
    return [each for each in contestants if not only or each.name in only]


def show(found: BenchmarkResult, facts: Mapping[str, object], console: Console) -> None:
    """Scores by model, the best of each column in bold; then who could not take part, and why."""
    title = (
        "Trained on {train_tasks:,} tasks of {train_students:,} students, "
        "judged on {test_tasks:,} of {test_students:,} others."
    )
    console.print(title.format(**facts))
    shown = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 0, 0, 1), collapse_padding=True)
    shown.add_column("model", overflow="fold", max_width=21)
    for heading, _, _ in COLUMNS.values():
        shown.add_column(heading, justify="right", no_wrap=True, min_width=4)
    for each in found.scores:
        shown.add_row(each.model, *(_cell(each, column, found.scores) for column in COLUMNS))
    if found.scores:
        console.print(shown)
    console.print(
        "ECE: expected calibration error of the probabilities, ten bins. RMSE log t: of the natural logarithm of the "
        "time; MAE: of the time. 80 % holds: times within their 10-90 % interval. The best of each column is bold.",
        style="dim",
    )
    for model, why in found.failures.items():
        console.print(f"{model} could not be trained: {why}")


def _cell(score: Score, column: str, scores: Sequence[Score]) -> str:
    _, form, best = COLUMNS[column]
    value = getattr(score, column)
    if value is None:
        return "-"
    text = format(value, form)
    others = [each for each in (getattr(s, column) for s in scores) if each is not None]
    return f"[bold]{text}[/bold]" if best and value == best(others) else text
