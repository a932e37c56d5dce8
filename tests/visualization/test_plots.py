import re
from collections.abc import Callable

import numpy as np
import pytest
from matplotlib import rc_context

from reldn_d2.evaluation import Difference
from reldn_d2.visualization.plots import bars_svg, curves_svg, differences_svg
from reldn_d2.visualization.svg import Svg

from .svg_parts import extent, paths_of, texts_of

BLUE, ORANGE, GREY = "#2f7bd9", "#e0662b", "#7b8794"


def curves_of(markup: str) -> list[np.ndarray]:
    """The points of the curves: the lines of width 2, without their samples in the legend."""
    return [
        points for points in paths_of(markup, "stroke-width: 2") if not np.isclose(np.ptp(points[:, 0]), 26)
    ]


def test_points_are_placed_in_proportion() -> None:
    curves = {"a": {0: 0.0, 50: 5.0, 100: 10.0}, "empty": {}, "b": {0: 10.0, 100: 5.0}}
    markup = curves_svg(curves, width=720, height=340)
    a, b = curves_of(markup)
    (left, bottom), (right, top) = a[0], a[-1]
    assert 0 < left < 100 < 600 < right < 720 and 0 < top < 50 < 250 < bottom < 340
    middle = ((left + right) / 2, (top + bottom) / 2)
    assert np.allclose(a, [(left, bottom), middle, (right, top)], atol=1e-3)
    assert np.allclose(b, [(left, top), (right, middle[1])], atol=1e-3)
    assert {"loss", "iteration", "a  10", "b  5", "0", "100"} <= set(texts_of(markup))


def test_each_curve_ends_in_a_dot_of_its_colour() -> None:
    markup = curves_svg({"a": {0: 0.0, 50: 5.0}, "b": {50: 2.0}})
    dots = paths_of(markup, "stroke-width: 6")
    assert len(dots) == 2 and all(np.ptp(dot, axis=0).max() == 0 for dot in dots)
    assert (dots[0][-1] == curves_of(markup)[0][-1]).all()
    for colour in (BLUE, ORANGE):
        assert len(re.findall(f"stroke: {colour}; stroke-width: 6; stroke-linecap: round", markup)) == 1


@pytest.mark.parametrize("curve", [{0: 0.0}, {5: 3.0}, {0: -1.0, 9: -0.5}, {0: 1e-9, 10**6: 1e9}])
def test_extreme_curves_stay_inside(curve: dict[int, float]) -> None:
    markup = curves_svg({"<a>": curve})
    (dot,) = paths_of(markup, "stroke-width: 6")
    for points in (dot, *curves_of(markup)):
        x0, y0, x1, y1 = extent(points)
        assert 0 < x0 <= x1 < 720 and 0 < y0 <= y1 < 340


def test_no_curve_says_so() -> None:
    assert texts_of(curves_svg({"a": {}})) == ["no values recorded"]


def widths_of(markup: str) -> list[float]:
    """Widths of the bars."""
    boxes = [extent(points) for points in paths_of(markup, f"fill: {BLUE}")]
    return [round(x1 - x0, 2) for x0, _, x1, _ in boxes]


def test_bars_are_as_long_as_their_counts() -> None:
    markup = bars_svg([("on", 1500), ("under", 450), ("at", 0)], columns=1)
    assert widths_of(markup) == [100.0, 30.0, 0.0]
    assert texts_of(markup) == ["on", "under", "at", "1,500 · 76.9 %", "450 · 23.1 %", "0 · 0.0 %"]


def test_names_and_counts_lie_beside_their_bars() -> None:
    markup = bars_svg([("on", 1500), ("under", 450)], columns=1)
    found = re.findall(r'x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]+)<', markup)
    place = {text: (float(x), float(y)) for x, y, text in found}
    for bar, name, count in zip(
        paths_of(markup, f"fill: {BLUE}"), ["on", "under"], ["1,500 · 76.9 %", "450 · 23.1 %"], strict=True
    ):
        x0, y0, x1, y1 = extent(bar)
        assert place[name][0] < x0 and place[count][0] > x1
        assert y0 < place[name][1] < y1 + 2 and y0 < place[count][1] < y1 + 2


def test_rare_names_have_a_bar_that_can_be_seen() -> None:
    assert widths_of(bars_svg([("on", 1_000_000), ("under", 1)]))[1] == 1.5


def test_columns_are_filled_one_after_the_other() -> None:
    markup = bars_svg([(str(i), 1) for i in range(5)], columns=2)
    boxes = [extent(points) for points in paths_of(markup, f"fill: {BLUE}")]
    first, second = sorted({box[0] for box in boxes})
    assert [box[0] for box in boxes] == [first] * 3 + [second] * 2
    assert [box[1] for box in boxes[:2]] == [box[1] for box in boxes[3:]]
    assert boxes[0][1] < boxes[1][1] < boxes[2][1]


def test_names_are_escaped_and_long_ones_cut() -> None:
    texts = texts_of(bars_svg([("<&> $x$", 1), ("x" * 40, 1)]))
    assert "<&> $x$" in texts and "x" * 20 + "…" in texts


def test_nothing_to_count() -> None:
    assert texts_of(bars_svg([])) == ["no counts"]
    markup = bars_svg([("on", 0)])
    assert widths_of(markup) == [0.0] and texts_of(markup) == ["on", "0"]


@pytest.mark.parametrize("draw", [lambda: curves_svg({"a": {0: 1.0, 9: 2.0}}), lambda: bars_svg([("on", 5)])])
def test_plots_can_share_a_page(draw: Callable[[], Svg]) -> None:
    markup = draw()
    assert markup == draw()
    with rc_context({"text.color": "white", "xtick.color": "white", "font.size": 5, "axes.grid": True}):
        assert markup == draw()
    assert markup.startswith("<svg ") and 'role="img"' in markup and 'aria-label="' in markup
    assert not re.search(r"\bid=|href=|url\(|<style|<metadata|<\?xml", markup)
    # Texts and lines follow the colours of the page.
    assert "currentColor" in markup and "#000000" not in markup


def test_differences_lie_at_their_places() -> None:
    rows = [
        ("up", Difference(4.0, 2.0, 6.0, 100)),
        ("none", Difference(-1.0, -3.0, 1.0, 100)),
        ("few", Difference(2.0, 1.0, 3.0, 3)),
    ]
    markup = differences_svg(rows)
    (blue,) = paths_of(markup, f"stroke: {BLUE}", "stroke-width: 2")
    (grey,) = paths_of(markup, f"stroke: {GREY}", "stroke-width: 2")
    dots = [path[0] for path in paths_of(markup, "stroke-width: 8")]
    pixels = (blue[1, 0] - blue[0, 0]) / 4  # of a point
    assert pixels > 10
    assert (grey[:, 0] - blue[0, 0]) / pixels == pytest.approx([-5, -1], abs=0.01)
    assert [(dot[0] - blue[0, 0]) / pixels for dot in dots] == pytest.approx([2, -3, 0], abs=0.01)
    zero = paths_of(markup, "stroke-opacity: 0.5")[0]
    assert (zero[0, 0] - blue[0, 0]) / pixels == pytest.approx(-2, abs=0.01)
    # From the top to the bottom
    assert blue[0, 1] == dots[0][1] < grey[0, 1] == dots[1][1] < dots[2][1]
    assert {"up", "none", "few", "+4.0 (+2.0 to +6.0)", "-1.0 (-3.0 to +1.0)", "+2.0"} <= {*texts_of(markup)}
    assert 'aria-label="Differences in points: up +4.0 (+2.0 to +6.0); none' in markup


def test_equal_models_are_drawn_and_no_difference_says_so() -> None:
    assert "+0.0" in texts_of(differences_svg([("<a>", Difference(0.0, 0.0, 0.0, 0))]))
    assert texts_of(differences_svg([])) == ["no differences"]
