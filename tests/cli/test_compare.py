"""The table that compares runs: golden numbers, reports, and runs that can't be compared."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from reldn_d2.cli.compare import DRAWING_FILE, REPORT_FILE
from reldn_d2.evaluation.io.results import PER_IMAGE_FILE, save_per_image
from reldn_d2.evaluation.metrics import PerImageRecall
from tests.builders.commands import line_of_refusal, run_reldn, usage_error

# Half of the images have 1 relationship, and half have 4.
IMAGES = 120


def run(root: Path, name: str, hits: Sequence[float], task: str = "prdcls", images: int = IMAGES) -> str:
    """Results whose images have these hits in turn. All relationships are found without the constraint."""
    folder = root / name / "inference" / "party_test" / task
    folder.mkdir(parents=True)
    truths = np.resize([1, 4], images)
    found = {"R@50": np.resize(hits, images), "ngR@50": truths}
    counts = PerImageRecall(tuple(map(str, range(images))), truths, found)
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
    low, high = map(float, rows[0][6:8])
    # The gain of 100 points in half of the images has a standard error of 50 / sqrt(120). The interval rests
    # on 60 images, so its tails are those of 97.5 %.
    assert (low, high) == pytest.approx((50 - 2.24 * 4.56, 50 + 2.24 * 4.56), abs=1)
    assert rows[0][8] == "shown: higher" and rows[4][6:] == ["-", "-", "equal on every image"]
    rows = table(capsys, "--base", base, "--input", one, "--averages", "micro")
    assert [row[2] for row in rows] == ["micro"]


def test_runs_that_can_not_be_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, other = run(tmp_path, "base", [0, 1]), run(tmp_path, "other", [0, 1], task="sgdet")
    for args, message in (
        ((other,), f"{base} is of party_test prdcls, and {other} of party_test sgdet"),
        ((base, "--protocol", "reldn"), "has no protocol reldn, but motifs"),
        (
            (base, "--metrics", "mR@50"),
            "has no counts of mR@50 of protocol motifs in each image, which an interval needs, but those of "
            "R@50, ngR@50. Mean recall, F@K, P@K, AP",
        ),
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


def test_results_in_folders_of_any_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Saved predictions are scored into a folder beside them: a_scored, b_scored."""
    for name, hits in (("a", [0, 1]), ("b", [1, 1])):
        Path(run(tmp_path, name, hits)).rename(tmp_path / f"{name}_scored")
    Path(run(tmp_path, "c", [1, 1], task="sgdet")).rename(tmp_path / "c_scored")
    a, b, c = (str(tmp_path / f"{name}_scored") for name in "abc")
    rows = table(capsys, "--base", a, "--input", b, "--averages", "micro")
    assert [row[:6] for row in rows] == [["b_scored", "R@50", "micro", "40.00", "20.00", "20.00"]]
    message = line_of_refusal(capsys, "compare", "--base", a, "--input", c)
    assert f"{a} is of party_test prdcls, and {c} of party_test sgdet" in message


def test_a_misspelt_protocol_is_answered_with_similar_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = run(tmp_path, "base", [0, 1])
    message = line_of_refusal(capsys, "compare", "--base", base, "--input", base, "--protocol", "motif")
    assert message.endswith("has no protocol motif, but motifs: did you mean motifs?")


def test_a_rounded_zero_has_no_sign(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, one = (run(tmp_path, name, hits) for name, hits in (("base", [1, 1]), ("one", [0.99996, 1])))
    rows = table(capsys, "--base", base, "--input", one, "--averages", "macro")
    assert rows[0][5:] == ["0.00", "0.00", "0.00", "shown: lower"]


def test_few_images_have_no_interval(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, one = (run(tmp_path, name, hits, images=98) for name, hits in (("base", [0, 1]), ("one", [1, 1])))
    assert run_reldn("compare", "--base", base, "--input", one) == 0
    printed = capsys.readouterr().out
    assert printed.count("too few images") == 2
    assert "Too few images: the runs differ in fewer than 50 (micro: weighted" in printed


def test_the_notes_say_what_the_intervals_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, one = (run(tmp_path, name, hits) for name, hits in (("base", [0, 1]), ("one", [1, 1])))
    assert run_reldn("compare", "--base", base, "--input", one, base, one, "--averages", "macro") == 0
    *_, first, second = capsys.readouterr().out.splitlines()
    assert first == (
        "Intervals: BCa bootstrap over test images. They say nothing about other seeds of training."
    )
    assert second == (
        "Differences: 3, with an interval: 2. Each interval is for one difference. If all models were equal, "
        "0.1 of them would be shown by chance, on average."
    )


def seeds(root: Path, name: str, all_hits: list[list[int]]) -> list[str]:
    """The results of several trainings."""
    return [run(root, f"{name}/seed{i}", hits) for i, hits in enumerate(all_hits, start=1)]


def test_several_trainings_of_each_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = seeds(tmp_path, "base", [[0, 1], [0, 1, 0, 2], [1, 1, 0, 1]])
    one = seeds(tmp_path, "one", [[1, 1], [1, 2], [1, 1, 1, 2], [1, 2, 1, 1], [1, 1]])
    two = seeds(tmp_path, "two", [[0, 1, 0, 3], [1, 1, 0, 1], [0, 2]])
    words = ("--base", *base, "--averages", "macro")
    rows = table(capsys, *words, "--with", *one, "--with", *two)
    assert [row[:6] for row in rows] == [
        # base: 12.5, 18.75, 37.5; one: 62.5, 75, 68.75, 68.75, 62.5; two: 25, 37.5, 25
        ["one/seed1 and 4 more", "R@50", "macro", "67.50", "22.92", "44.58"],
        ["two/seed1 and 2 more", "R@50", "macro", "29.17", "22.92", "6.25"],
    ]
    assert [row[8] for row in rows] == ["shown: higher, few seeds", "not shown, few seeds"]
    assert run_reldn("compare", *words, "--with", *one) == 0
    printed = capsys.readouterr().out
    assert "Intervals: t, over test images and seeds of training (3, 5 runs; the base is first)." in printed
    assert "Few seeds: fewer than 5 runs of a model" in printed
    assert run_reldn("compare", "--base", *one, "--with", *reversed(one)) == 0
    assert "ew seeds" not in capsys.readouterr().out


def test_what_is_no_comparison_of_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = seeds(tmp_path, "base", [[0, 1], [1, 1]])
    for words, message in (
        (("--base", one), "there is nothing to compare with --base: give --input or --with"),
        (("--base", one, two, "--input", one), "give the runs of the other model with --with"),
        (("--base", one, two, "--with", one), "needs several of each model"),
        (("--base", one, "--with", one, two), "needs several of each model"),
    ):
        assert message in usage_error(capsys, "compare", *words)
    message = line_of_refusal(capsys, "compare", "--base", one, two, "--with", two, one)
    assert message == "an interval over seeds needs at least 3 trainings of each model, not 2 and 2"
    message = line_of_refusal(capsys, "compare", "--base", one, two, "--with", two, two)
    assert message == f"{two} is given twice for one model: give runs of different seeds"


def test_a_report_has_a_drawing_and_recalls_with_intervals(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, one = (run(tmp_path, name, hits) for name, hits in (("base", [0, 1]), ("on<e>", [1, 1])))
    report = tmp_path / "new" / "report"
    rows = table(capsys, "--base", base, "--input", one, "--output", str(report))
    assert {path.name for path in report.iterdir()} == {REPORT_FILE, DRAWING_FILE}
    text = (report / REPORT_FILE).read_text()
    assert re.search(
        rf"!\[2 differences .* 2 shown higher, 0 shown lower\..*\]\({re.escape(DRAWING_FILE)}\)", text
    )
    lines = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line[:1] == "|"
    ]
    assert lines[2:4] == rows and [row[:4] for row in lines[6:]] == [
        ["base", "R@50", "macro", "12.50"],
        ["base", "R@50", "micro", "20.00"],
        ["`on<e>`", "R@50", "macro", "62.50"],
        ["`on<e>`", "R@50", "micro", "40.00"],
    ]
    assert all(float(row[4]) < float(row[3]) < float(row[5]) for row in lines[6:])
    drawing = (report / DRAWING_FILE).read_text()
    assert drawing.startswith("<svg ") and "R@50, macro: on&lt;e&gt;" in drawing
