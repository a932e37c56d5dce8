from pathlib import Path

import pytest

from reldn_d2.visualization.plots import loss_curves, read_metrics

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
