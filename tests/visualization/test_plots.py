from pathlib import Path
from xml.etree import ElementTree

import pytest

from reldn_d2.visualization.curves import curves_svg, loss_curves, read_metrics

SVG = "{http://www.w3.org/2000/svg}"

METRICS = """\
{"iteration": 19, "total_loss": 3.5, "loss_rel_ce": 3.0, "lr": 0.01, "rank_data_time": 0.1}
{"iteration": 39, "total_loss": 2.5, "loss_rel_ce": 2.0, "loss_rel_entity": 0.5}

{"iteration": 59, "relation/R@50": 12.5}
{"iteration": 79, "total_loss": NaN, "loss_rel_ce": Infinity, "note": "text"}
{"data_time": 1.0}
{"iteration": 39, "total_loss": 2.25, "loss_rel_entity": 0.25}
"""


@pytest.fixture
def metrics_file(tmp_path: Path) -> Path:
    path = tmp_path / "metrics.json"
    path.write_text(METRICS)
    return path


def test_lines_with_different_keys_make_curves(metrics_file: Path) -> None:
    curves = read_metrics(metrics_file)
    assert curves == {
        "total_loss": {19: 3.5, 39: 2.25},
        "loss_rel_ce": {19: 3.0, 39: 2.0},
        "lr": {19: 0.01},
        "rank_data_time": {19: 0.1},
        "loss_rel_entity": {39: 0.25},
        "relation/R@50": {59: 12.5},
    }
    assert list(loss_curves(curves)) == ["loss_rel_ce", "loss_rel_entity", "total_loss"]


def test_iterations_rise_after_a_resume(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text('{"iteration": 9, "a": 1}\n{"iteration": 19, "a": 2}\n{"iteration": 4, "a": 3}\n')
    assert list(read_metrics(path)["a"].items()) == [(4, 3.0), (9, 1.0), (19, 2.0)]


def test_a_line_that_is_still_being_written_is_left_out(metrics_file: Path) -> None:
    complete = read_metrics(metrics_file)
    metrics_file.write_text(METRICS + '{"iteration": 99, "total_')
    assert read_metrics(metrics_file) == complete
    metrics_file.write_text(METRICS + '{"iteration": 99, "lr": 0.5}')
    assert read_metrics(metrics_file)["lr"] == {19: 0.01, 99: 0.5}


@pytest.mark.parametrize("line", ['{"iteration": 1,', "[1, 2]", "3"])
def test_a_broken_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(f'{{"iteration": 0}}\n{line}\n')
    with pytest.raises(ValueError, match=r"metrics\.json, line 2"):
        read_metrics(path)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_metrics(tmp_path / "metrics.json")


def points_of(markup: str) -> list[list[tuple[float, float]]]:
    """The points of the curves: the lines of width 2."""
    lines = ElementTree.fromstring(markup).iter(f"{SVG}polyline")
    return [
        [(float(p.split(",")[0]), float(p.split(",")[1])) for p in line.attrib["points"].split()]
        for line in lines
        if line.attrib["stroke-width"] == "2"
    ]


def test_points_are_placed_in_proportion() -> None:
    markup = curves_svg(
        {"a": {0: 0.0, 50: 5.0, 100: 10.0}, "empty": {}, "b": {100: 5.0}}, width=720, height=340
    )
    a, b = points_of(markup)
    # The axes run from 0 to 100 over x in [58, 684] and from 0 to 10 over y in [296, 30].
    assert a == [(58.0, 296.0), (371.0, 163.0), (684.0, 30.0)]
    assert b == [(684.0, 163.0)]
    texts = [node.text for node in ElementTree.fromstring(markup).iter(f"{SVG}text")]
    assert {"loss", "iteration", "a  10", "b  5", "0", "100"} <= set(texts)


@pytest.mark.parametrize("curve", [{0: 0.0}, {5: 3.0}, {0: -1.0, 9: -0.5}, {0: 1e-9, 10**6: 1e9}])
def test_extreme_curves_stay_inside(curve: dict[int, float]) -> None:
    (points,) = points_of(curves_svg({"<a>": curve}))
    assert len(points) == len(curve)
    assert all(58 <= x <= 684 and 30 <= y <= 296 for x, y in points)


def test_no_curve_says_so() -> None:
    assert "no values" in curves_svg({"a": {}})
