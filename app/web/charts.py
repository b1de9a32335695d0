"""Charts as SVG, drawn here: no script, no style attribute, colours by class, and the numbers as a table below.

Each function returns a <figure>: the picture with a title and a description for who can't see it, and the numbers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count, groupby
from math import floor, log10
from typing import Literal

from markupsafe import Markup

from app.core.languages import MINUTE, Translator

WIDTH, HEIGHT = 640.0, 240.0
NARROW = 400.0  # of a strip
LEFT, RIGHT, TOP, BOTTOM = 60.0, 12.0, 40.0, 30.0
GRID_LINES = 4
LABELS, LONGEST_LABEL = 7, 14  # along the x axis at the most, and characters of each
COLOURS = 4
DOTS = 40  # values; a line through more of them has none
numbering = count(1)  # of the elements that others refer to

Unit = Literal["percent", "seconds", "number", "signed"]
Rows = Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Series:
    """Values at the places of the x axis; None where there are none. `low` and `high` make a band, and bars stand on
    `base`, where they are to stand on others.
    """

    label: str
    values: Sequence[float | None]
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()
    kind: Literal["line", "bars", "dashes", "dots"] = "line"
    base: Sequence[float] = ()

    @property
    def tops(self) -> Sequence[float | None]:
        """Where each value is drawn."""
        if not self.base:
            return self.values
        return [None if value is None else value + below for value, below in zip(self.values, self.base, strict=True)]


@dataclass(frozen=True, slots=True)
class Axis:
    """What the y axis shows, from where to where (None: as the values need), and what it is called."""

    unit: Unit = "percent"
    low: float | None = 0.0
    high: float | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class _Scale:
    low: float
    high: float
    places: int

    def x(self, place: float) -> float:
        inner = WIDTH - LEFT - RIGHT
        return LEFT + inner * (place + 0.5) / max(self.places, 1)

    def y(self, value: float) -> float:
        inner = HEIGHT - TOP - BOTTOM
        share = (value - self.low) / ((self.high - self.low) or 1)
        return TOP + inner * (1 - min(max(share, 0.0), 1.0))


# The elements; what is written into them is escaped.
LINE = Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>')
TICK = Markup('<text class="tick" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>')
ALONG = Markup(
    '<text class="tick along" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>'
)  # phones show them in two rows
DOT = Markup('<circle class="{} dot" cx="{:.1f}" cy="{:.1f}" r="{:.1f}"><title>{}</title></circle>')
BAR = Markup(
    '<rect class="{} bar" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="2"><title>{}</title></rect>'
)
PATH = Markup('<polyline class="{} line" points="{}"/>')
BAND = Markup('<polygon class="{} band" points="{}"/>')
KEY = Markup('<li><svg viewBox="0 0 20 12" aria-hidden="true">{}</svg>{}</li>')
BAR_KEY = Markup('<rect class="s{} key" x="1" y="1" width="18" height="10" rx="2"/>')
LINE_KEY = Markup('<line class="s{} line{}" x1="1" y1="6" x2="19" y2="6"/>')
BAND_KEY = Markup('<rect class="s{} band" x="1" y="1" width="18" height="10"/>')
DOT_KEY = Markup('<circle class="s{} dot" cx="10" cy="6" r="4"/>')
IDEAL_KEY = Markup('<line class="ideal" x1="1" y1="6" x2="19" y2="6"/>')
VALUE_KEY = Markup('<circle class="value" cx="10" cy="6" r="5"/>')
RANGE_KEY = Markup('<line class="range" x1="5" y1="6" x2="15" y2="6"/>')
REAL_KEY = Markup('<line class="real" x1="10" y1="0" x2="10" y2="12"/>')
PICTURE = Markup(
    '<svg class="{kind}" viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-labelledby="c{n}t c{n}d">'
    '<title id="c{n}t">{title}</title><desc id="c{n}d">{text}</desc>{parts}</svg>'
)
FIGURE = Markup(
    '<figure class="chart"><figcaption>{title}</figcaption>{drawn}{legend}'
    '<details><summary>{numbers}<span class="hidden">: {title}</span></summary><p class="hint">{text}</p>'
    '<div class="scroll" tabindex="0" role="region" aria-label="{title}">{table}</div></details></figure>'
)
STRIP = Markup(
    '<figure class="chart"><figcaption>{title} <span class="hint">{text}</span></figcaption>{drawn}{legend}</figure>'
)
NOTHING = Markup("")


def over(
    translator: Translator, title: str, text: str, labels: Sequence[str], series: Sequence[Series], axis: Axis
) -> Markup:
    """Draw series over days, topics or tasks: `labels` name the x axis' places, `text` says what is to be seen."""
    scale = _Scale(*_range(series, axis), len(labels))
    parts = [*_grid(scale, translator, axis), *_names(scale, labels)]
    for place, each in enumerate(series):
        shown = partial(_shown, translator, axis.unit, labels, each)
        drawn = _bars if each.kind == "bars" else _lines
        parts += drawn(scale, each, f"s{place % COLOURS + 1}", shown)
    head, rows = ["", *(each.label for each in series)], _rows(translator, labels, series, axis)
    return _figure(translator, title, text, parts, head, rows, _legend(translator, series))


def reliability(
    translator: Translator, title: str, text: str, points: Sequence[tuple[float, float, int]], axes: tuple[str, str]
) -> Markup:
    """Draw the predicted share against what came of it, in groups of n tasks; on the line they agree.

    `axes` are what the shares from left to right and from bottom to top are called.
    """
    scale = _Scale(0, 1, 1)

    def x(share: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * share

    parts = [
        *_grid(scale, translator, Axis("percent", 0, 1, f"↑ {axes[1]}")),
        LINE.format("ideal", x(0), scale.y(0), x(1), scale.y(1)),
    ]
    parts += [
        TICK.format(x(share), HEIGHT - 10, "end" if share == 1 else "middle", translator.percent(share))
        for share in (0, 0.25, 0.5, 0.75, 1)
    ]
    most = max((n for *_, n in points), default=1)
    for predicted, observed, n in points:
        told = f"{translator.percent(predicted)} / {translator.percent(observed)} ({translator.number(n)})"
        parts.append(DOT.format("s1", x(predicted), scale.y(observed), 4 + 8 * (n / most) ** 0.5, told))
    keys = [
        KEY.format(DOT_KEY.format(1), translator("a group of tasks, larger for more of them")),
        KEY.format(IDEAL_KEY, translator("exactly as predicted")),
    ]
    rows = [(translator.percent(p), translator.percent(o), translator.number(n)) for p, o, n in points]
    parts.append(TICK.format(WIDTH - RIGHT, scale.y(0) - 8, "end", f"{axes[0]} →"))
    return _figure(translator, title, text, parts, [*axes, translator("Tasks")], rows, _keys(keys))


def up_and_down(
    translator: Translator,
    title: str,
    text: str,
    bars: Sequence[tuple[str, float, str]],
    head: Sequence[str],
    rows: Rows,
) -> Markup:
    """Draw bars to the left (down) and right (up) of a middle: what each is called, its length, and that in words."""
    longest = max((abs(length) for _, length, _ in bars), default=0) or 1
    middle, row = NARROW / 2, 38.0
    parts = [LINE.format("grid", middle, 18, middle, row * len(bars))]
    for y, (name, length, said) in ((place * row, bar) for place, bar in enumerate(bars)):
        reach = abs(length) / longest * middle
        parts += [TICK.format(0, y + 13, "start", name), TICK.format(NARROW, y + 13, "end", said)]
        left = middle - reach if length < 0 else middle
        parts.append(BAR.format("s2" if length < 0 else "s3", left, y + 20, reach, 10, f"{name}: {said}"))
    return _figure(translator, title, text, parts, head, rows, size=(NARROW, row * len(bars), "strip"))


def interval(
    translator: Translator, title: str, low: float, value: float, high: float, real: float | None, unit: Unit
) -> Markup:
    """Draw a prediction with its 80 % interval on a strip, and what really happened."""
    end = 1.0 if unit == "percent" else max(high, real or 0) * 1.08

    def x(at: float) -> float:
        return 8 + 384 * min(max(at / end, 0), 1)

    parts = [LINE.format("rail", x(0), 18, x(end), 18), LINE.format("range", x(low), 18, x(high), 18)]
    parts.append(Markup('<circle class="value" cx="{:.1f}" cy="18" r="8"/>').format(x(value)))
    keys = [KEY.format(VALUE_KEY, translator("predicted")), KEY.format(RANGE_KEY, translator("four of five cases"))]
    text = translator(
        "Predicted %(value)s, in four of five cases between %(low)s and %(high)s.",
        value=with_unit(translator, value, unit),
        low=with_unit(translator, low, unit),
        high=with_unit(translator, high, unit),
    )
    if real is not None:
        parts.append(LINE.format("real", x(real), 2, x(real), 34))
        keys.append(KEY.format(REAL_KEY, translator("actual")))
        text += " " + translator("It took %(real)s.", real=with_unit(translator, real, unit))
    parts += [
        TICK.format(x(at), 50, anchor, with_unit(translator, at, unit)) for at, anchor in ((0, "start"), (end, "end"))
    ]
    return STRIP.format(
        title=title, text=text, drawn=_picture(title, text, parts, 400, 54, "strip"), legend=_keys(keys)
    )


def axis_end(most: float, steps: Sequence[float]) -> float | None:
    """Return where an axis ends that has one of these steps between its lines; none where `most` is too high."""
    return next((GRID_LINES * step for step in steps if GRID_LINES * step >= most), None)


def with_unit(translator: Translator, value: float | None, unit: Unit) -> str:
    """Return a value with its unit."""
    if value is None:
        return "–"
    if unit == "percent":
        return translator.percent(value)
    if unit == "seconds":
        return translator.seconds(value)
    return translator.number(value, 2 if unit == "signed" else 1)


def _shown(translator: Translator, unit: Unit, labels: Sequence[str], series: Series, place: int) -> str:
    return f"{labels[place]}: {series.label} {with_unit(translator, series.values[place], unit)}"


def _range(series: Sequence[Series], axis: Axis) -> tuple[float, float]:
    """Return where the y axis begins and ends; around 0 where it may begin anywhere."""
    found = [v for each in series for part in (each.tops, each.low, each.high) for v in part if v is not None]
    if axis.low is None:
        reach = max([*map(abs, found), 0.5]) * 1.1
        return -reach, reach
    if axis.high is not None:
        return axis.low, axis.high
    return axis.low, axis.low + GRID_LINES * _round_step((max([*found, axis.low]) - axis.low) / GRID_LINES)


def _round_step(least: float) -> float:
    """Return the least of 1, 2, 2.5, 5 and 10 times a power of ten that is not below this."""
    if least <= 0:
        return 0.25
    power: float = 10.0 ** floor(log10(least))
    return next((times * power for times in (1, 2, 2.5, 5) if times * power >= least), 10 * power)


def _grid(scale: _Scale, translator: Translator, axis: Axis) -> list[Markup]:
    parts = []
    for line in range(GRID_LINES + 1):
        value = scale.low + (scale.high - scale.low) * line / GRID_LINES
        y = scale.y(value)
        parts.append(LINE.format("grid", LEFT, y, WIDTH - RIGHT, y))
        parts.append(TICK.format(LEFT - 6, y + 4, "end", _short(translator, value, axis.unit)))
    return [*parts, TICK.format(0, 16, "start", axis.name)] if axis.name else parts


def _short(translator: Translator, value: float, unit: Unit) -> str:
    """Return a value with its unit where there is little room."""
    if unit == "seconds" and value >= 2 * MINUTE:
        return f"{translator.number(value / MINUTE, 1 if value < 10 * MINUTE else 0)} min"
    return with_unit(translator, value, unit)


def _names(scale: _Scale, labels: Sequence[str]) -> list[Markup]:
    """Draw the labels below the axis; not all of them where there are many."""
    step = max(-(-len(labels) // LABELS), 1)
    return [
        ALONG.format(scale.x(place), HEIGHT - 10, "middle", _cut(labels[place]))
        for place in range(0, len(labels), step)
    ]  # fmt: skip


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_LABEL else f"{text[: LONGEST_LABEL - 1]}…"


def _lines(scale: _Scale, series: Series, colour: str, shown: Callable[[int], str]) -> list[Markup]:
    parts = []
    for run in _runs(series.low):
        there, back = _points(scale, series.high, run), _points(scale, series.low, run[::-1])
        parts.append(BAND.format(colour, f"{there} {back}"))
    if series.kind != "dots":
        style = f"{colour} dashed" if series.kind == "dashes" else colour
        parts += [PATH.format(style, _points(scale, series.values, run)) for run in _runs(series.values)]
    if series.kind == "dots" or len(series.values) <= DOTS:
        parts += [
            DOT.format(colour, scale.x(place), scale.y(value), 5.5 if series.kind == "dots" else 3.5, shown(place))
            for place, value in enumerate(series.values)
            if value is not None
        ]
    return parts


def _bars(scale: _Scale, series: Series, colour: str, shown: Callable[[int], str]) -> list[Markup]:
    width = min(0.7 * (WIDTH - LEFT - RIGHT) / max(scale.places, 1), 48)
    feet = [scale.y(foot) for foot in series.base] or [scale.y(scale.low)] * len(series.values)
    return [
        BAR.format(
            colour, scale.x(place) - width / 2, scale.y(top), width, max(foot - scale.y(top), 1), shown(place)
        )
        for place, (top, foot) in enumerate(zip(series.tops, feet, strict=True))
        if top is not None
    ]  # fmt: skip


def _points(scale: _Scale, values: Sequence[float | None], places: Sequence[int]) -> str:
    return " ".join(f"{scale.x(place):.1f},{scale.y(values[place] or 0.0):.1f}" for place in places)


def _runs(values: Sequence[float | None]) -> list[list[int]]:
    """Return the places of values, in stretches without a gap."""
    stretches = groupby(range(len(values)), lambda place: values[place] is None)
    return [list(places) for is_gap, places in stretches if not is_gap]


def _legend(translator: Translator, series: Sequence[Series]) -> Markup:
    """Say what each colour is, and each band."""
    items = list[Markup]()
    for place, each in enumerate(series):
        colour = place % COLOURS + 1
        if all(value is None for value in each.values):
            continue
        if each.kind == "bars":
            mark = BAR_KEY.format(colour)
        elif each.kind == "dots":
            mark = DOT_KEY.format(colour)
        else:
            mark = LINE_KEY.format(colour, " dashed" if each.kind == "dashes" else "")
        items.append(KEY.format(mark, each.label))
        if each.low:
            items.append(KEY.format(BAND_KEY.format(colour), translator("where it lies in four of five cases")))
    return _keys(items)


def _keys(items: Sequence[Markup]) -> Markup:
    return Markup('<ul class="legend">{}</ul>').format(NOTHING.join(items))


def _rows(translator: Translator, labels: Sequence[str], series: Sequence[Series], axis: Axis) -> Rows:
    """Return the numbers below the picture."""

    def cell(each: Series, place: int) -> str:
        text = with_unit(translator, each.values[place], axis.unit)
        if not each.low or each.values[place] is None:
            return text
        low, high = (with_unit(translator, bound[place], axis.unit) for bound in (each.low, each.high))
        return f"{text} ({low} … {high})"

    return [(label, *(cell(each, place) for each in series)) for place, label in enumerate(labels)]


def _figure(
    translator: Translator, title: str, text: str, parts: Sequence[Markup], head: Sequence[str], rows: Rows,
    legend: Markup = NOTHING, size: tuple[float, float, str] = (WIDTH, HEIGHT, "plot"),
) -> Markup:  # fmt: skip
    names = [Markup("<th>{}</th>").format(name) if name else Markup("<td></td>") for name in head]
    first = Markup("<tr>{}</tr>").format(NOTHING.join(names))
    body = NOTHING.join(Markup("<tr><td>{}</td></tr>").format(Markup("</td><td>").join(row)) for row in rows)
    table = Markup("<table><thead>{}</thead><tbody>{}</tbody></table>").format(first, body)
    drawn, numbers = _picture(title, text, parts, *size), translator("How to read it, and the numbers")
    return FIGURE.format(title=title, text=text, drawn=drawn, legend=legend, numbers=numbers, table=table)


def _picture(title: str, text: str, parts: Sequence[Markup], width: float, height: float, kind: str) -> Markup:
    return PICTURE.format(
        kind=kind, width=width, height=height, n=next(numbering), title=title, text=text, parts=NOTHING.join(parts)
    )
