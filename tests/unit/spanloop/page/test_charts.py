"""Charts: what cannot be drawn is left out, and what stands in them is text."""

from xml.etree import ElementTree as ET

import pytest

from spanloop.page import charts


def parsed(chart: str) -> ET.Element:
    return ET.fromstring(chart)


def test_lines_leave_out_what_is_no_number_and_thin_what_cannot_be_seen() -> None:
    """The least and the largest of every stretch stay."""
    points = [(float(index), 1000.0 if index == 5001 else float(index % 7)) for index in range(10_000)]

    chart = parsed(charts.lines({"a": [*points, (3.0, float("nan"))], "b": []}, title="loss"))

    (line,) = (element for element in chart if element.tag == "polyline")
    drawn = line.attrib["points"].split()
    assert 300 < len(drawn) < 1000
    assert any(point.endswith(",6.0") for point in drawn), "the one large value is at the top"
    assert "1e+03" in chart.attrib["aria-label"]


@pytest.mark.parametrize("series", [{}, {"a": []}, {"a": [(1.0, 1.0)]}, {"a": [(1.0, float("inf"))]}])
def test_too_little_for_a_line_draws_nothing(series: dict[str, list[tuple[float, float]]]) -> None:
    """A page then says that there is nothing."""
    assert charts.lines(series, title="x") == ""


def test_bars_stand_on_zero_and_hold_any_label() -> None:
    """A label is a tool's name, and so may be anything."""
    chart = charts.bars([("<script>alert(1)</script>", 2.0), ("b", -1.0), ("c", float("nan"))], title="x")

    assert "<script" not in chart
    heights = [float(bar.attrib["height"]) for bar in parsed(chart) if bar.tag == "rect"]
    assert heights == pytest.approx([70 * 2 / 3, 70 / 3], abs=0.1)
    assert charts.bars([], title="x") == ""


@pytest.mark.parametrize(("low", "high", "kind"), [(0.1, 0.2, "plus"), (-0.2, -0.1, "minus"), (-0.1, 0.2, "open")])
def test_an_interval_says_by_its_colour_which_side_it_is_on(low: float, high: float, kind: str) -> None:
    """Where it holds zero, neither."""
    assert f'class="interval {kind}"' in charts.interval(low, high, None, bounds=(-1, 1), title="gain")
    assert charts.interval(0, float("inf"), None, bounds=(0, 1), title="gain") == ""
