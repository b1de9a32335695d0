"""The charts of the pages for admins: how good versions are, how long trainings take."""

from collections.abc import Sequence
from datetime import date
from math import ceil, floor
from typing import Literal

from markupsafe import Markup

from app.core.languages import Translator
from app.crud.model_versions import HeldOutScore
from app.crud.training_runs import Run
from app.domain.kinds import KINDS
from app.schemas.comparison import Comparison, KindQuality
from app.web.charts import Axis, Series, over, reliability
from app.web.names import model_name, role_name

COIN = 0.693  # log-loss of always saying 50 %
MOST_RUNS = 40
MOST_SERIES = 4  # that are told apart by their colours
STEP = 0.04  # that the axis of a log-loss begins and ends at, so that its four parts are whole hundredths


def held_out(translator: Translator, scored: Sequence[HeldOutScore]) -> Markup:
    """Draw the log-loss of each kind's versions, run by run."""
    runs = sorted({each.run_id for each in scored})[-MOST_RUNS:]
    found = {(each.kind, each.run_id): each.log_loss for each in scored}
    series = [
        Series(model_name(translator, kind), [found.get((kind, run)) for run in runs])
        for kind in KINDS
        if any((kind, run) in found for run in runs)
    ]
    series.append(Series(translator("tossing a coin"), [COIN] * len(runs), kind="dashes"))
    text = translator(
        "By training run, the newest at the right; lower is better. Each version is evaluated on the newest tasks of"
        " its time, which it did not learn from, so a step up may mean harder tasks rather than a worse model."
    )
    labels = [translator("run %(id)s", id=run) for run in runs]
    return over(translator, translator("Log-loss on unseen tasks"), text, labels, series, _around(translator, series))


def live(translator: Translator, groups: Sequence[tuple[float, float, int]]) -> Markup:
    """Draw what students were told, against what came of it."""
    text = translator(
        "Tasks grouped by the chance that students saw; the larger a dot, the more tasks. On the dashed line as many"
        " went right as predicted; below it the predictions were too high, above it too low."
    )
    axes = (translator("Predicted"), translator("Share right"))
    return reliability(translator, translator("Calibration in use"), text, groups, axes)


def by_day(translator: Translator, found: Comparison) -> Markup:
    """Draw the log-loss of the kinds with the most tasks, day by day."""
    shown = sorted(found.kinds, key=lambda each: -each.n)[:MOST_SERIES]
    days = sorted({day.day for each in shown for day in each.by_day})
    series = [_of_kind(translator, each, days) for each in shown]
    text = translator(
        "By the day on which the tasks were finished (UTC); lower is better, 0.69 is tossing a coin. Days with few"
        " tasks jump up and down by chance."
    )
    labels = [translator.short_day(day) for day in days]
    return over(translator, translator("Log-loss by day"), text, labels, series, _around(translator, series))


def _of_kind(translator: Translator, each: KindQuality, days: Sequence[date]) -> Series:
    values = {day.day: day.log_loss for day in each.by_day}
    kind: Literal["dashes", "line"] = "dashes" if each.role == "shadow" else "line"
    return Series(role_name(translator, each), [values.get(day) for day in days], kind=kind)


def seconds_by_run(translator: Translator, runs: Sequence[Run]) -> Markup:
    """Draw how long trainings took, the oldest first."""
    shown = [run for run in runs if seconds(run) is not None][:MOST_RUNS][::-1]
    series = [Series(translator("time"), [seconds(run) for run in shown], kind="bars")]
    text = translator("From beginning to end, the newest at the right. From scratch takes longer than continuing.")
    labels = [translator("run %(id)s", id=run.id) for run in shown]
    return over(
        translator,
        translator("How long trainings take"),
        text,
        labels,
        series,
        Axis("seconds", name=translator("Time")),
    )


def seconds(run: Run) -> float | None:
    if run.started_at is None or run.finished_at is None:
        return None
    return (run.finished_at - run.started_at).total_seconds()


def _around(translator: Translator, series: Sequence[Series]) -> Axis:
    """An axis that shows differences: log-losses lie close together, far from 0."""
    values = [value for each in series for value in each.values if value is not None] or [COIN]
    low, high = STEP * max(floor(min(values) / STEP - 0.2), 0), STEP * ceil(max(values) / STEP + 0.2)
    return Axis("signed", low, high, translator("Log-loss"))
