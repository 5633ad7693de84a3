"""Figures: the numbers where they belong, page colours, text as text, equal bytes."""

import re
import xml.etree.ElementTree as ET

import pytest

from agentsearch_eval.metrics import Interval
from agentsearch_eval.plots import (
    DARK,
    LIGHT,
    VARIABLES,
    Curve,
    Difference,
    Point,
    forest,
    row_styles,
    success_against,
)

ROWS = [f"row {i}" for i in range(24)]


def point(cost, success, width=0.1):
    return Point(
        Interval(cost, 0.9 * cost, 1.1 * cost), Interval(success, success - width, success + width)
    )


def curve(row, *points):
    return Curve(row_styles(ROWS)[row], points)


def parsed(svg):
    return ET.fromstring(svg)


def markers(svg, colour):
    """Where markers of a colour stand: x to the right, y upwards."""
    found = []
    for use in parsed(svg).iter("use"):
        drawn = f"fill: {colour}" in use.get("style", "")
        if drawn and float(use.get("x")) > 0:  # a band stands at the origin
            found.append((float(use.get("x")), -float(use.get("y"))))
    return found


def texts(svg):
    return ["".join(each.itertext()) for each in parsed(svg).iter("text")]


# -- styles ----------------------------------------------------------------------------


def test_no_two_rows_look_the_same():
    styles = row_styles(ROWS)
    assert len({(style.colour, style.marker) for style in styles.values()}) == len(ROWS)
    assert len(LIGHT) == len(DARK) == len({*LIGHT}) == len({*DARK})


def test_ceilings_are_grey_and_use_up_no_colour():
    plain, marked = row_styles(["a", "b"]), row_styles(["a", "oracle", "b"], ["oracle"])
    assert marked["oracle"].colour is None
    assert marked["b"] == plain["b"]


# -- success against cost --------------------------------------------------------------


def test_points_stand_where_their_numbers_say():
    svg = success_against([curve("row 0", point(10, 0.2)), curve("row 1", point(30, 0.8))], "calls")
    [(x0, y0)], [(x1, y1)] = markers(svg, "var(--row-0)"), markers(svg, "var(--row-1)")
    assert x0 < x1 and y0 < y1


def test_distances_are_in_proportion():
    three = [curve(f"row {i}", point(10 * i, 0.2 * i)) for i in (1, 2, 4)]
    svg = success_against(three, "calls")
    (x1, y1), (x2, y2), (x4, y4) = (markers(svg, f"var(--row-{i})")[0] for i in (1, 2, 4))
    assert (x4 - x2) / (x2 - x1) == pytest.approx(2, rel=0.01)
    assert (y4 - y2) / (y2 - y1) == pytest.approx(2, rel=0.01)


def test_a_line_has_a_band_and_a_single_point_has_bars():
    line = success_against([curve("row 0", point(8, 0.2), point(16, 0.4))], "calls")
    single = success_against([curve("row 0", point(8, 0.2))], "calls")
    assert "opacity: 0.12" in line and "opacity: 0.12" not in single
    assert len(markers(line, "var(--row-0)")) == 2


def test_a_row_that_spends_the_same_at_every_budget_is_no_line():
    svg = success_against([curve("row 0", point(3, 0.2), point(3, 0.22))], "calls")
    assert "opacity: 0.12" not in svg


def test_wide_ranges_are_logarithmic_and_zero_stays():
    points = [curve(f"row {i}", point(10.0**i, 0.5)) for i in (0, 1, 2)]
    (x0, _), (x1, _), (x2, _) = (
        markers(success_against(points, "calls"), f"var(--row-{i})")[0] for i in (0, 1, 2)
    )
    assert x2 - x1 == pytest.approx(x1 - x0, rel=0.01)
    svg = success_against([*points, curve("row 3", point(0, 0.1))], "calls")
    assert {"0", "1", "10", "100"} <= set(texts(svg))
    assert markers(svg, "var(--row-3)")[0][0] < markers(svg, "var(--row-0)")[0][0]


def test_ceilings_are_lines_across():
    ceiling = Curve(row_styles(["o"], ["o"])["o"], (point(1000, 1.0),))
    plain = success_against([curve("row 0", point(10, 0.2))], "calls")
    svg = success_against([ceiling, curve("row 0", point(10, 0.2))], "calls")
    assert "stroke-dasharray" in svg and "stroke-dasharray" not in plain
    assert "1k" not in texts(svg)  # its cost does not stretch the axis


# -- differences -----------------------------------------------------------------------


def lines(*found):
    styles = row_styles(ROWS)
    return [Difference(f"row {i}", styles[f"row {i}"], each) for i, each in enumerate(found)]


def test_a_forest_orders_differences_around_zero():
    group = lines(Interval(-0.2, -0.3, -0.1), Interval(0.0, -0.1, 0.1), Interval(0.4, 0.3, 0.5))
    svg = forest({"32 calls": group}, "policy only")
    (x0, y0), (x1, y1), (x2, y2) = (markers(svg, f"var(--row-{i})")[0] for i in range(3))
    assert (x2 - x1) / (x1 - x0) == pytest.approx(2, rel=0.01)
    assert y0 > y1 > y2
    assert {"32 calls", "row 0", "row 2", "0", "−20", "+40"} <= set(texts(svg))
    assert "points of success more than policy only" in texts(svg)


def test_budgets_are_headings_in_bold():
    group = lines(Interval(0.1, 0.0, 0.2))
    svg = forest({"a": group, "b": group}, "x")
    bold = [t.text for t in parsed(svg).iter("text") if re.search("bold|700", t.get("style"))]
    assert bold == ["a", "b"]


def test_what_is_unreliable_is_hollow():
    [sure] = lines(Interval(0.1, 0.0, 0.2))
    [unsure] = lines(Interval(0.1, 0.0, 0.2, reliable=False))
    assert markers(forest({"b": [sure]}, "x"), "var(--row-0)")
    hollow = forest({"b": [unsure]}, "x")
    assert not markers(hollow, "var(--row-0)") and "stroke: var(--row-0)" in hollow


# -- as part of a page -----------------------------------------------------------------


def test_colours_are_those_of_the_page():
    svg = success_against([curve(row, point(10, 0.5)) for row in ROWS[:8]], "calls")
    assert not [colour for colour in VARIABLES if colour in svg]
    assert all(f"var(--row-{i})" in svg for i in range(8))
    assert not re.search("#(?!m|p|C|D)[0-9a-f]{6}", svg)


def test_equal_numbers_give_equal_bytes_and_no_date():
    once, again = (success_against([curve("row 0", point(1, 0.5))], "calls") for _ in range(2))
    assert once == again and not re.search(r"20\d\d-|metadata|https?:", once)


def test_names_of_two_figures_on_a_page_differ():
    same = [curve("row 0", point(1, 0.5))]
    one, two = (
        set(re.findall('id="([^"]*)"', success_against(same, "calls", salt))) for salt in "ab"
    )
    assert one and not one & two


def test_labels_are_text_and_escaped():
    style = row_styles(["x"])["x"]
    name = "<b>&amp; $\\frac{1}{2}$"
    svg = forest({"b": [Difference(name, style, Interval(0.1, 0.0, 0.2))]}, '"<i>')
    assert name in texts(svg) and 'points of success more than "<i>' in texts(svg)
    assert parsed(svg).get("aria-label") == 'differences to "<i>'


def test_a_figure_scales_with_the_page():
    root = parsed(success_against([curve("row 0", point(1, 0.5))], "calls"))
    assert root.get("viewBox") and root.get("width") is None and root.get("height") is None
