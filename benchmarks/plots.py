"""Pictures of a run: how the ways compare, and how everything grows."""

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.findings import OURS, Curve, Results, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACROSS = 3  # small pictures side by side
COLOURS = {OURS: "#1b6ca8", "documents": "#c0392b", "raw asyncpg": "#7f8c8d", "bare route": "#b8bfc2"}
OTHERS = "#e08e0b"


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
    for place, row in enumerate(reversed(shown)):
        assert row.target
        used = row.target.reached / row.target.limit
        used = 1 / used if row.target.sign == ">=" else used
        colour = "#2e8b57" if row.target.met else "#c0392b"
        axes.plot([1, used], [place, place], color=colour, linewidth=3, solid_capstyle="round")
        axes.plot([used], [place], "o", color=colour)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yticks(range(len(shown)), [f"{row.what}  ({row.target})" for row in reversed(shown)])
    axes.set_xlabel("share of what the target allows (log scale): left of 1 met, right of it missed")
    figure.suptitle("SmartStudy: targets")
    return figure


def ways(rows: list[Row]) -> "Figure | None":
    """The ways beside each other, one small picture per row."""
    shown = [row for row in rows if len(row.figures) > 1 and all(figure > 0 for figure in row.figures.values())]
    if not shown:
        return None
    lines = -(-len(shown) // ACROSS)
    figure = _figure(4 * ACROSS, 1.7 * lines + 0.5)
    for axes, row in zip(_all(figure, lines), shown, strict=False):
        names = list(reversed(row.figures))
        bars = axes.barh(names, [row.figures[way] for way in names], color=[_colour(way) for way in names])
        axes.bar_label(bars, fmt="{:,.4g}", padding=3)
        axes.set_xscale("log")
        axes.margins(x=0.3)
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
    for axes, (panel, along) in zip(_all(figure, lines), panels, strict=False):
        mine = [curve for curve in found if (curve.panel, curve.along) == (panel, along)]
        for place, curve in enumerate(mine):
            colour = _colour(curve.line) if curve.line in COLOURS else (COLOURS[OURS], OTHERS)[place % 2]
            axes.plot(curve.x, curve.y, "o-", label=curve.line, color=colour, markersize=4)
        if along == "phase":
            axes.set_ylim(bottom=0)
        else:
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.grid(which="major", color="#dddddd", linewidth=0.6)
        axes.set_title(panel, fontsize=10)
        axes.set_xlabel(along)
        axes.legend(frameon=False, fontsize=8)
    figure.suptitle("SmartStudy: how it grows (log-log but for phases)")
    return figure


def _colour(way: str) -> str:
    return COLOURS.get(way, COLOURS[OURS] if way.startswith(OURS) else OTHERS)


def _all(figure: "Figure", lines: int) -> "list[Axes]":
    """The places for small pictures; those too many stay empty."""
    places: list[Axes] = list(figure.subplots(lines, ACROSS, squeeze=False).ravel())
    for axes in places:
        axes.axis("off")
    return places
