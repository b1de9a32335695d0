"""Pictures of a run: how the ways compare, and how everything grows."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from benchmarks.findings import OURS, PHASE, Curve, Results, Row, Target
from benchmarks.table import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACROSS = 3  # small pictures side by side
COLOURS = {OURS: "#1b6ca8", "documents": "#c0392b", "raw asyncpg": "#7f8c8d", "bare route": "#b8bfc2"}
OTHERS = "#e08e0b"
MET, MISSED = "#2e8b57", "#c0392b"


def save(results: Results, folder: Path, name: str = "latest") -> list[Path]:
    """Write what there is to show; the files."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {"targets": targets(results.rows), "ways": ways(results.rows), "curves": curves(results.curves)}
    paths = []
    for what, figure in made.items():
        if figure is not None:
            paths.append(folder / f"{name}-{what}.svg")
            figure.savefig(paths[-1], metadata={"Date": None})
    return paths


def _figure(width: float, height: float) -> "Figure":
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    rcParams |= {"svg.hashsalt": "smartstudy", "axes.spines.top": False, "axes.spines.right": False, "font.size": 9}
    return Figure(figsize=(width, height), layout="constrained")


def targets(rows: list[Row]) -> "Figure | None":
    """How far each figure is from its target: 1 is on it, left of it is better."""
    shown = [row for row in rows if row.target and row.target.limit > 0 and row.target.reached > 0]
    if not shown:
        return None
    figure = _figure(8, 1.4 + 0.3 * len(shown))
    axes = figure.subplots()
    shown.reverse()
    used = [_used(row.target) for row in shown if row.target]
    for place, row in enumerate(shown):
        colour = MET if row.target and row.target.met else MISSED
        axes.plot([1, used[place]], [place, place], color=colour, linewidth=3, solid_capstyle="round")
        axes.plot([used[place]], [place], "o", color=colour)
    axes.axvline(1, color="black", linewidth=0.8)
    _log(axes, "x", [1.0, *used])
    axes.set_yticks(range(len(shown)), [f"{row.what}: {row.target}" for row in shown])
    axes.set_xlabel("share of the target used up (log scale)\nleft of 1: met, right of 1: missed")
    figure.suptitle("SmartStudy: targets")
    return figure


def _used(target: Target) -> float:
    """1 is right on it, less is better."""
    used = target.reached / target.limit
    return 1 / used if target.sign == ">=" else used


def ways(rows: list[Row]) -> "Figure | None":
    """The ways beside each other, one small picture per row."""
    shown = [row for row in rows if len(row.figures) > 1 and all(figure > 0 for figure in row.figures.values())]
    if not shown:
        return None
    lines = -(-len(shown) // ACROSS)
    figure = _figure(4 * ACROSS, 1.7 * lines + 0.5)
    for axes, row in zip(_places(figure, lines, len(shown)), shown, strict=True):
        for place, (way, value) in enumerate(reversed(row.figures.items())):
            axes.plot([value], [place], "o", color=_colour(way), markersize=7)
            axes.annotate(number(value), (value, place), xytext=(7, -3), textcoords="offset points")
        axes.set_yticks(range(len(row.figures)), list(reversed(row.figures)))
        axes.set_ylim(-0.6, len(row.figures) - 0.4)
        _log(axes, "x", row.figures.values())
        axes.grid(axis="y", color="#dddddd", linewidth=0.6)
        axes.set_title(f"{row.what} ({row.unit})" if row.unit else row.what, fontsize=9)
    figure.suptitle("SmartStudy beside other ways: medians, log scales")
    return figure


def curves(found: list[Curve]) -> "Figure | None":
    """One small picture per panel, all log-log but the phases."""
    panels = list(dict.fromkeys((curve.panel, curve.along) for curve in found))
    if not panels:
        return None
    lines = -(-len(panels) // ACROSS)
    figure = _figure(4 * ACROSS, 2.8 * lines + 0.5)
    for axes, (panel, along) in zip(_places(figure, lines, len(panels)), panels, strict=True):
        _panel(axes, [curve for curve in found if (curve.panel, curve.along) == (panel, along)])
    figure.suptitle("SmartStudy: how it grows (log-log but for phases)")
    return figure


def _panel(axes: "Axes", mine: list[Curve]) -> None:
    """Lines of one small picture."""
    for place, curve in enumerate(mine):
        colour = COLOURS.get(curve.line, (COLOURS[OURS], OTHERS)[place % 2])
        axes.plot(curve.x, curve.y, "o-", label=curve.line, color=colour, markersize=4)
    if mine[0].along == PHASE:
        axes.set_ylim(bottom=0)
        axes.set_xticks(mine[0].x)
    else:
        _log(axes, "x", [x for curve in mine for x in curve.x])
        _log(axes, "y", [y for curve in mine for y in curve.y])
    axes.grid(which="major", color="#dddddd", linewidth=0.6)
    axes.set_title(mine[0].panel, fontsize=10)
    axes.set_xlabel(mine[0].along)
    axes.legend(frameon=False, fontsize=8)


def _log(axes: "Axes", which: Literal["x", "y"], values: Iterable[float]) -> None:
    """A log scale of a decade or more, so that little looks like little, with few, plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = min(found := list(values)), max(found)
    room = max((high / low) ** 0.35, (10 * low / high) ** 0.5)
    axes.set(**{f"{which}scale": "log", f"{which}lim": (low / room, high * room)})
    axis = axes.xaxis if which == "x" else axes.yaxis
    wide = high * room / (low / room)
    axis.set_major_locator(LogLocator(subs=(1.0,) if wide > 100 else (1.0, 2.0, 5.0), numticks=6))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _colour(way: str) -> str:
    return COLOURS.get(way, COLOURS[OURS] if way.startswith(OURS) else OTHERS)


def _places(figure: "Figure", lines: int, wanted: int) -> "list[Axes]":
    """The places for small pictures; those too many stay empty."""
    places: list[Axes] = list(figure.subplots(lines, ACROSS, squeeze=False).ravel())
    for axes in places[wanted:]:
        axes.axis("off")
    return places[:wanted]
