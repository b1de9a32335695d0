"""What `evaluate`, `replay` and `tune` print: figures of models beside one another, and what to know of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import compress
from typing import Any, NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from app.cli.tables import table
from app.ml.evaluation.benchmark import BenchmarkResult
from app.ml.evaluation.prequential import OF_ALL, OF_STUDENT, SCORE_GROUPS, ReplayReport, ReplayScore
from app.ml.evaluation.tuning import Verdict
from app.ml.evaluation.tuning_study import Study, Trial


class Figure(NamedTuple):
    """A column of figures."""

    heading: str
    form: str
    best: Callable[[list[float]], float] | None = None


FIGURES = {
    "auc": Figure("AUC", ".4f", max),
    "log_loss": Figure("log-loss", ".4f", min),
    "brier": Figure("Brier", ".4f", min),
    "calibration_error": Figure("ECE", ".4f", min),
    "rmse_log_time": Figure("RMSE\nlog t", ".4f", min),
    "mae_seconds": Figure("MAE\ns", ".3g", min),
}
MORE = {"time_interval_coverage": Figure("80 %\nholds", ".1%"), "train_seconds": Figure("train\ns", ".1f")}
BY_GROUP = ("log_loss", "rmse_log_time")
GROWING = {  # groups by the heads of their columns
    "The installation's first tasks, of all students together": {f"{end:,}": name for end, name in OF_ALL.items()},
    "Each student's first tasks": {f"{end:,}": name for end, name in OF_STUDENT.items()} | {"51-": "later"},
}
LEGEND = (
    "ECE: expected calibration error of the probabilities, ten bins. RMSE log t: of the natural logarithm of the time; "
    "MAE: of the time. The best of each column is bold."
)
HOLDS = " 80 % holds: times within their 10-90 % interval."
FAILURES_SHOWN = 5  # of one model


def evaluated(found: BenchmarkResult, facts: Mapping[str, object]) -> Group:
    """Scores by model, the best of each column in bold; then who could not take part, and why."""
    title = (
        "Trained on {train_tasks:,} tasks of {train_students:,} students, "
        "judged on {test_tasks:,} of {test_students:,} others."
    )
    parts: list[RenderableType] = [title.format(**facts)]
    if found.scores:
        parts.append(_by_model(found.scores, FIGURES | MORE))
    failures = (f"{model} could not be trained: {why}" for model, why in found.failures.items())
    return Group(*parts, Text(LEGEND + HOLDS, style="dim"), *failures)


def replayed(report: ReplayReport) -> Group:
    """All tasks by all figures, then the first ones by two."""
    by_group = {group: [score for score in report.scores if score.group == group] for group in SCORE_GROUPS}
    parts: list[RenderableType] = []
    if report.tasks and report.scores:
        parts.append(_by_model(by_group["overall"], FIGURES, f"All tasks ({report.tasks:,})"))
        for title, groups in GROWING.items():
            parts.append(_growing(title, _telling({head: by_group[group] for head, group in groups.items()})))
        parts.append(Text(LEGEND, style="dim"))
    return Group(*parts, *_remarks(report))


def _by_model(scores: Sequence[Any], figures: Mapping[str, Figure], title: str | None = None) -> Table:
    """A row for each model."""
    columns = [_column(scores, name, figure) for name, figure in figures.items()]
    rows = zip([score.model for score in scores], *columns, strict=True)
    return table(["model"], [figure.heading for figure in figures.values()], rows, title)


def _column(scores: Sequence[Any], name: str, figure: Figure) -> list[Text]:
    """A cell of each score, the best in bold; a dash where it is not defined."""
    values = [getattr(score, name) for score in scores]
    known = [value for value in values if value is not None]
    best = figure.best(known) if figure.best and known else None
    return [
        Text(format(value, figure.form), style="bold" if value == best else "") if value in known else Text("-")
        for value in values
    ]


def _telling(groups: dict[str, list[ReplayScore]]) -> dict[str, list[ReplayScore]]:
    """Those that hold tasks, and other ones than the group before."""
    sizes = [scores[0].n for scores in groups.values()]
    new = [n and n != before for n, before in zip(sizes, [0, *sizes], strict=False)]
    return dict(compress(groups.items(), new))


def _growing(title: str, groups: dict[str, list[ReplayScore]]) -> Table:
    """A column for each group, of one figure after the other."""
    headings, columns = [], []
    for name in BY_GROUP:
        figure = FIGURES[name]._replace(form=".3f")
        for place, (head, scores) in enumerate(groups.items()):
            headings.append(f"{'' if place else figure.heading.replace(chr(10), ' ')}\n{head}")
            columns.append([Text(f"{scores[0].n:,}", style="dim"), *_column(scores, name, figure)])
    models = [score.model for score in next(iter(groups.values()))]
    rows = zip([Text("tasks", style="dim"), *models], *columns, strict=True)
    return table(["model"], headings, rows, title)


def _remarks(report: ReplayReport) -> Iterator[str]:
    yield (
        f"{report.tasks:,} tasks of {report.students:,} students. Every answer is made from what was finished by then. "
        "`served` is what the service would have said; a kind by itself says 50 % and 60 s until its first training."
    )
    for name, trainings in report.trainings.items():
        if trainings or report.failures[name]:
            many = "training" if trainings == 1 else "trainings"
            yield (
                f"{name}: {trainings} {many}, the last ones every {report.retrain_every:,} finished tasks, in "
                f"{report.seconds[name]:.0f} s; {report.by_prior[name]:,} answered by the prior, 50 % and 60 s."
            )
        yield from (f"{name}: a training failed {failure}" for failure in report.failures[name][:FAILURES_SHOWN])
    if report.times:
        low, high = report.limits
        yield (
            f"Times are answered within {low:.3g} to {high:.3g} s; {report.outside:.0%} of the real ones lie outside "
            "(MIN_SECONDS and MAX_SECONDS change that)."
        )


def study_begins(study: Study) -> str:
    """What the trials are about."""
    parts = study.parts
    return (
        f"Study {study.name}: {len(parts.shown) + len(parts.hidden):,} tasks, of which trials learn from "
        f"{parts.learnt:,} and are judged on {len(parts.unseen):,} of unseen students and "
        f"{len(parts.seen) - parts.learnt:,} newest ones; {len(parts.hidden):,} of hidden students decide at the end. "
        f"Trials with a score so far: {study.completed():,}."
    )


def best_trial(trial: Trial) -> str:
    return "" if trial.best_score is None else f"; best {trial.best_score:.4f} of trial {trial.best}"


def trial_ended(trial: Trial) -> str:
    result = f"no model: {trial.failure}" if trial.score is None else f"loss {trial.score:.4f}"
    return f"trial {trial.number}: {result} in {trial.seconds:.1f} s{best_trial(trial)}"


def study_stopped(study: Study, again: str) -> str:
    return (
        f"Stopped. {study.completed():,} trials are kept in the study {study.name}; `{again}` goes on with it, "
        "with `--trials 0` it only judges the best so far."
    )


def tuned(study: Study, verdict: Verdict | None) -> Group:
    """The defaults and the best on the hidden students, and whether the latter are taken up."""
    if verdict is None:
        return Group(f"None of {study.completed():,} trials is better than the default settings; nothing is changed.")
    rows = [
        (name, *(f"{getattr(verdict, which + figure):.4f}" for figure in ("", "_log_loss", "_rmse_log_time")))
        for name, which in (("default", "default"), (f"trial {verdict.trial}", "best"))
    ]
    title = f"{verdict.tasks:,} tasks of {verdict.students:,} hidden students"
    difference = f"a loss lower by {verdict.gain:.4f} (standard error {verdict.error:.4f})"
    if verdict.is_better:
        outcome = (
            f"{difference}: they are stored.\n"
            "Trainings from scratch take them up, `smartstudy train` at once; the gate decides as always."
        )
    elif verdict.gain > 0:
        outcome = f"{difference}, which is not clearly better; nothing is changed."
    else:
        outcome = "no lower loss; nothing is changed."
    return Group(
        table(["settings"], ["loss", "log-loss", "RMSE log t"], rows, title),
        f"The settings of trial {verdict.trial} have {outcome}",
    )
