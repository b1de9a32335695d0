"""The charts of the analytics page."""

from collections.abc import Mapping, Sequence
from datetime import date
from functools import partial
from typing import TYPE_CHECKING

from markupsafe import Markup

from app.analytics.overview import Point
from app.analytics.statistics import Judged, TaskStatistics
from app.core.languages import Translator
from app.domain.tasks import Task
from app.ml.explanation.values import Effect, Explanation
from app.web import charts
from app.web.charts import Axis, Series, axis_end
from app.web.names import feature_name, feature_value, part_name

if TYPE_CHECKING:
    from app.ml.lnirt.ability import Place

ROUND_SECONDS = (2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 3600, 7200, 21_600)  # apart, the lines of an axis


def success_chart(translator: Translator, days: Mapping[date, TaskStatistics]) -> Markup:
    """Draw the share right, and what was predicted."""
    return charts.over(
        translator,
        translator("Share right, day by day"),
        _with_line(translator, translator("Each bar is the share of a day's tasks that you got right."), days),
        [translator.short_day(day) for day in days],
        [
            Series(translator("Right"), [each.right for each in days.values()], kind="bars"),
            *_where_predicted(Series(translator("Predicted"), [each.chance for each in days.values()])),
        ],
        Axis("percent", 0, 1, translator("Share right")),
    )  # fmt: skip


def time_chart(translator: Translator, days: Mapping[date, TaskStatistics]) -> Markup:
    """Draw the median time, and what was predicted."""
    most = max(max(each.seconds, each.expected_seconds or 0.0) for each in days.values())
    bars = translator("Each bar is the median time of a day's tasks: half took longer.")
    return charts.over(
        translator,
        translator("Time for a task, day by day"),
        _with_line(translator, bars, days),
        [translator.short_day(day) for day in days],
        [
            Series(translator("Your time"), [each.seconds for each in days.values()], kind="bars"),
            *_where_predicted(Series(translator("Predicted"), [each.expected_seconds for each in days.values()])),
        ],
        Axis("seconds", 0, axis_end(most, ROUND_SECONDS), translator("Time for a task")),
    )  # fmt: skip


def _with_line(translator: Translator, bars: str, days: Mapping[date, TaskStatistics]) -> str:
    """Say what there is to be seen."""
    if all(each.chance is None for each in days.values()):
        return bars
    return f"{bars} " + translator("The line is what had been predicted for them.")


def _where_predicted(series: Series) -> list[Series]:
    return [series] if any(value is not None for value in series.values) else []


def trajectory_charts(translator: Translator, points: Sequence[Point]) -> tuple[Markup, Markup] | None:
    """Draw ability and speed, as places among 100 students, over the window; none where there are too few of either."""
    if not points:
        return None
    named = [
        translator.short_day(each.day) if each.day else translator("task %(n)s", n=each.after) for each in points[1:]
    ]
    standings = [each.standing for each in points]
    draw = partial(_trajectory, translator, [translator("before"), *named])
    return (
        draw(
            translator("Ability over time"), translator("more able than, of 100"), [each.ability for each in standings]
        ),
        draw(translator("Speed over time"), translator("quicker than, of 100"), [each.speed for each in standings]),
    )


def _trajectory(
    translator: Translator, labels: Sequence[str], title: str, called: str, places: "Sequence[Place]"
) -> Markup:
    text = translator("How many of 100 students you are ahead of; in four of five cases it is within the band.")
    low, middle, high = ([round(100 * getattr(each, name)) for each in places] for name in ("low", "middle", "high"))
    return charts.over(
        translator, title, text, labels, [Series(called, middle, low, high)], Axis("number", 0, 100, called)
    )


def reliability(translator: Translator, judged: Judged) -> Markup | None:
    """Draw predicted against real; none while there are too few."""
    if judged.missing or not judged.groups:
        return None
    return charts.reliability(
        translator,
        translator("Predicted chance and result"),
        translator("Each dot is a group of tasks with about the same chance, a bigger one for more of them.")
        + " "
        + translator("On the dashed line it came as predicted; below it the chance was too high, above it too low."),
        judged.groups,
        (translator("Predicted"), translator("Right")),
    )  # fmt: skip


def why_chart(translator: Translator, task: Task, found: Explanation) -> Markup | None:
    """Draw how far each feature or part of LNIRT moved the chance; none where there are no numbers."""
    effects: Sequence[Effect] = found.parts or found.features or ()
    if not effects:
        return None
    columns, named = list[str](), list[tuple[str, ...]]()
    if found.parts:
        named = [(part_name(translator, each.part, task),) for each in found.parts]
    else:
        columns = [translator("You"), translator("Average")]
        for each in found.features or ():
            values = [feature_value(translator, each.feature, value) for value in (each.value, each.average)]
            named.append((feature_name(translator, each.feature), *values))
    moved = [
        (translator.points(effect.correctness_effect), f"{translator.signed(effect.time_effect_seconds)} s")
        for effect in effects
    ]
    return charts.up_and_down(
        translator,
        translator("What moved the chance"),
        translator("In percentage points: bars to the right moved the chance up, bars to the left moved it down."),
        [(row[0], effect.correctness_effect, by[0]) for row, effect, by in zip(named, effects, moved, strict=True)],
        [translator("What"), *columns, translator("Chance"), translator("Time")],
        [(*row, *by) for row, by in zip(named, moved, strict=True)],
    )
