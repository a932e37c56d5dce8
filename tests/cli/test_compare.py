"""The table that compares runs: golden numbers, and runs that can't be compared."""

from pathlib import Path

import numpy as np
import pytest

from reldn_d2.evaluation.io.results import PER_IMAGE_FILE, save_per_image
from reldn_d2.evaluation.metrics import PerImageRecall
from tests.builders.commands import line_of_refusal, run_reldn

TRUTHS = np.array([1, 4])


def run(root: Path, name: str, hits: list[int], task: str = "prdcls") -> str:
    folder = root / name / "inference" / "party_test" / task
    folder.mkdir(parents=True)
    counts = PerImageRecall(("a", "b"), TRUTHS, {"R@50": np.array(hits), "ngR@50": TRUTHS})
    save_per_image(folder / PER_IMAGE_FILE, {"motifs": counts}, dataset_name="party_test", task=task)
    return str(folder)


def table(capsys: pytest.CaptureFixture[str], *args: str) -> list[list[str]]:
    assert run_reldn("compare", *args) == 0
    lines = capsys.readouterr().out.splitlines()
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")][2:]


def test_runs_beside_a_base(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, one, two = (run(tmp_path, *x) for x in (("base", [0, 1]), ("one", [1, 1]), ("two", [0, 1])))
    rows = table(capsys, "--base", base, "--input", one, two, "--metrics", "R@50", "ngR@50")
    assert [row[:6] for row in rows] == [
        # The first image gains its only relationship: 100 / 2 points of the mean over images, 1 of 5 in all.
        ["one", "R@50", "macro", "62.50", "12.50", "50.00"],
        ["one", "R@50", "micro", "40.00", "20.00", "20.00"],
        ["one", "ngR@50", "macro", "100.00", "100.00", "0.00"],
        ["one", "ngR@50", "micro", "100.00", "100.00", "0.00"],
        ["two", "R@50", "macro", "12.50", "12.50", "0.00"],
        ["two", "R@50", "micro", "20.00", "20.00", "0.00"],
        ["two", "ngR@50", "macro", "100.00", "100.00", "0.00"],
        ["two", "ngR@50", "micro", "100.00", "100.00", "0.00"],
    ]
    # Two draws of two images: the gain is 0, 50 or 100 points.
    assert rows[0][6:] == ["0.00", "100.00"] and rows[4][6:] == ["0.00", "0.00"]
    rows = table(capsys, "--base", base, "--input", one, "--averages", "micro")
    assert [row[2] for row in rows] == ["micro"]


def test_runs_that_can_not_be_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, other = run(tmp_path, "base", [0, 1]), run(tmp_path, "other", [0, 1], task="sgdet")
    for args, message in (
        ((other,), "of different data sets or tasks"),
        ((base, "--protocol", "reldn"), "has no protocol reldn, but motifs"),
        ((base, "--metrics", "R@5"), "has no R@5 of protocol motifs, but R@50, ngR@50"),
    ):
        assert message in line_of_refusal(capsys, "compare", "--base", base, "--input", *args)


def test_folders_of_runs_are_enough_if_they_have_one_evaluation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, hits in (("base", [0, 1]), ("one", [1, 1])):
        run(tmp_path, name, hits)
    base, one = str(tmp_path / "base"), str(tmp_path / "one")
    rows = table(capsys, "--base", base, "--input", one, "--averages", "micro")
    assert [row[:6] for row in rows] == [["one", "R@50", "micro", "40.00", "20.00", "20.00"]]
    run(tmp_path, "one", [0, 1], task="sgdet")
    message = line_of_refusal(capsys, "compare", "--base", base, "--input", one)
    assert message == (
        f"{one} has results of party_test/prdcls, party_test/sgdet: choose --dataset or --task"
    )
    assert table(capsys, "--base", base, "--input", one, "--averages", "micro", "--task", "prdcls") == rows
    run(tmp_path, "two", [0, 1], task="sgdet")
    for words in ((tmp_path / "two", "--task", "prdcls"), (one, "--dataset", "other"), (tmp_path,)):
        message = line_of_refusal(capsys, "compare", "--base", base, "--input", *words)
        assert "has no results (" in message and "OUTPUT_DIR/inference/DATASET/TASK" in message


def test_a_misspelt_protocol_is_answered_with_similar_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = run(tmp_path, "base", [0, 1])
    message = line_of_refusal(capsys, "compare", "--base", base, "--input", base, "--protocol", "motif")
    assert message.endswith("has no protocol motif, but motifs: did you mean motifs?")
