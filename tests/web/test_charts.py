import xml.etree.ElementTree as ET
from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from app.core.languages import Translator
from app.web import charts
from app.web.charts import Axis, Series

WORDS = Translator("en", UTC)
finite = st.floats(-1e6, 1e6)
maybe = st.none() | finite


def read(figure: Markup) -> ET.Element:
    """It is well-formed, and no attribute of it would be refused by the policy."""
    root = ET.fromstring(f"<div>{figure}</div>")  # noqa: S314  # our own
    assert not [e for e in root.iter() if "style" in e.attrib or any(a.startswith("on") for a in e.attrib)]
    return root


@given(st.lists(st.tuples(maybe, maybe, maybe), max_size=60), st.sampled_from(["line", "bars", "dashes", "dots"]))
def test_any_values_can_be_drawn_and_read(values: list[tuple[float | None, ...]], kind: str) -> None:
    columns = list(zip(*values, strict=True)) or [(), (), ()]
    labels = [f"day {place} <&>" for place in range(len(values))]
    mine = Series("mine", columns[0], columns[1], columns[2], kind)  # type: ignore[arg-type]
    series = [mine, Series("other", columns[1], kind="line")]
    root = read(charts.over(WORDS, "A <title>", "What is to be seen", labels, series, Axis("number", None)))
    svg = next(e for e in root.iter() if e.tag == "svg")
    assert (svg.attrib["role"], svg[0].text, svg[1].text) == ("img", "A <title>", "What is to be seen")
    assert svg.attrib["aria-labelledby"] == f"{svg[0].attrib['id']} {svg[1].attrib['id']}"
    assert len([e for e in root.iter() if e.tag == "tr"]) == len(values) + 1
    for each in svg.iter():
        for name in ("x", "y", "x1", "y1", "x2", "y2", "cx", "cy"):
            assert -1 <= float(each.attrib.get(name, 0)) <= charts.WIDTH + 1


def test_a_gap_in_the_values_is_a_gap_in_the_line() -> None:
    root = read(charts.over(WORDS, "t", "d", list("abcde"), [Series("mine", [0.1, 0.2, None, 0.4, 0.5])], Axis()))
    assert len([e for e in root.iter() if e.tag == "polyline"]) == 2
    assert "–" in "".join(root.itertext())


@pytest.mark.parametrize("real", [None, 38.0, 1e6])
def test_an_interval_says_what_it_shows(real: float | None) -> None:
    text = "".join(read(charts.interval(WORDS, "Time", 24, 45, 83, real, "seconds")).itertext())
    assert "Predicted 45 s, in four of five cases between 24 s and 83 s." in text
    assert ("It took" in text) == (real is not None)


def test_a_calibration_plot_has_its_numbers_below() -> None:
    points = [(0.2, 0.3, 10), (0.8, 0.7, 40)]
    root = read(charts.reliability(WORDS, "t", "d", points, ("Predicted", "Right")))
    cells = [e.text for e in root.iter() if e.tag == "td"]
    assert cells == ["20%", "30%", "10", "80%", "70%", "40"]
