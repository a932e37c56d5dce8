"""The summary of a run names its numbers and its files."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from reldn_d2.engine.summary import (
    Summary,
    files_of_run,
    finished_evaluation,
    finished_results,
    notes_on_results,
    save_evaluation,
)

RESULTS = {"sgdet/motifs": {"R@20": 1.0, "R@50": 2.0}, "sgdet/confusion": {"proximal_right": 3.0}}
SETTINGS = {"TASK": '"sgdet"', "PROTOCOLS": '["motifs"]'}


def parts_of(folder: Path, *test_sets: str, relations: bool = True, **changes: Any) -> Any:
    """What a summary needs of the parts of a run."""
    keys = SimpleNamespace(task="TASK", protocols="PROTOCOLS")
    values = {
        "output_dir": str(folder),
        "test_datasets": test_sets,
        "is_relation_model": relations,
        "max_iter": 3,
        "keys": keys,
        "settings": lambda: {**SETTINGS, "OTHER": "1"},
    }
    return SimpleNamespace(**{**values, **changes})


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_only_files_that_exist_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "model_final.pth", "log.txt", "inference/a/sgdet/relation_results.md")
    found = files_of_run(parts_of(tmp_path, "a"), RESULTS, trained=True)
    assert {name: Path(file).relative_to(tmp_path).as_posix() for name, file in found.items()} == {
        "weights": "model_final.pth",
        "results": "inference/a/sgdet/relation_results.md",
        "log": "log.txt",
        "summary": "summary.md",
    }
    alone = files_of_run(parts_of(tmp_path, "a"), RESULTS, trained=False)
    assert [*alone] == ["results", "log", "summary"] and alone["summary"].endswith("inference/summary.md")


def test_several_data_sets_have_their_own_files(tmp_path: Path) -> None:
    for name in "ab":
        touch(
            tmp_path,
            f"inference/{name}/prdcls/relation_results.md",
            f"inference/{name}/coco_instances_results.json",
        )
    results = {f"{name}/prdcls/motifs": {"R@50": 1.0} for name in "ab"}
    found = files_of_run(parts_of(tmp_path, "a", "b"), results, trained=True)
    assert {"results on a", "results on b"} <= {*found}
    boxes = {f"{name}/bbox": {"AP": 1.0} for name in "ab"}
    found = files_of_run(parts_of(tmp_path, "a", "b", relations=False), boxes, trained=True)
    assert found["predictions on b"] == str(tmp_path / "inference" / "b" / "coco_instances_results.json")


def test_the_best_weights_say_what_they_reached(tmp_path: Path) -> None:
    touch(tmp_path, "model_best.pth")
    found = files_of_run(parts_of(tmp_path), {}, trained=True, best="R@50: 3.00")
    assert found["best weights"] == f"{tmp_path / 'model_best.pth'} (R@50: 3.00)"


def test_screen_and_document_say_the_same() -> None:
    summary = Summary("The end", ("a",), SETTINGS, RESULTS, {"weights": "x.pth"}, 3)
    screen, document = summary.for_the_screen(), summary.as_markdown()
    assert screen.splitlines() == [
        "The end",
        "  R@50 of sgdet/motifs: 2.00 (on a)",
        "",
        "  sgdet/motifs     R@50 2.00",
        "  sgdet/confusion  proximal_right 3.00",
        "",
        "  weights  x.pth",
    ]
    assert document.startswith("# The end\n\n**R@50 of sgdet/motifs: 2.00 (on a)**\n\n| protocol")
    assert "| sgdet/confusion | proximal_right 3.00" in document and "| weights | `x.pth`" in document


def test_images_that_are_not_scored_are_in_the_notes(tmp_path: Path) -> None:
    parts = parts_of(tmp_path, "a", "b")
    results = {f"{name}/{task}/confusion": {} for name in "ab" for task in ("sgdet", "prdcls")}
    assert notes_on_results(parts, {**results, "bbox": {"AP": 1.0}}) == []
    for place in ("a/sgdet", "b/prdcls", "a/sgcls"):
        touch(tmp_path, f"inference/{place}/relation_excluded.json")
        note = {"confusion": f"2 images of {place} are not scored."}
        (tmp_path / "inference" / place / "relation_excluded.json").write_text(json.dumps(note))
    # sgcls is of an earlier evaluation.
    notes = [
        "a, sgdet/confusion: 2 images of a/sgdet are not scored.",
        "b, prdcls/confusion: 2 images of b/prdcls are not scored.",
    ]
    assert notes_on_results(parts, results) == notes
    assert notes_on_results(parts, results, ["b"]) == notes[1:]
    assert (
        "a, sgdet/confusion: 2 images"
        in Summary("The end", "ab", SETTINGS, RESULTS, notes=notes).as_markdown()
    )


def test_a_run_without_evaluation_says_so() -> None:
    summary = Summary("The end", (), {}, {})
    assert summary.for_the_screen() == "The end\n  There are no numbers: nothing was evaluated."
    assert "nothing was evaluated" in summary.as_markdown()


IDENTITY = {"weights (sha256)": "0a1b"}


@pytest.mark.parametrize(
    ("changes", "length", "identity", "same"),
    [
        ({}, 3, IDENTITY, True),
        ({}, 4, IDENTITY, False),
        ({}, 3, {"weights (sha256)": "0a1c"}, False),
        ({"test_datasets": ("b",)}, 3, IDENTITY, False),
        ({"settings": dict}, 3, IDENTITY, False),
    ],
)
def test_results_are_found_again_if_the_run_is_the_same(
    changes: dict[str, Any], length: int, identity: dict[str, str], same: bool, tmp_path: Path
) -> None:
    run, other = parts_of(tmp_path, "a"), parts_of(tmp_path, "a", **changes)
    assert finished_results(run, 3, IDENTITY) is finished_evaluation(run, 3, IDENTITY) is None
    Summary("The end", ("a",), SETTINGS, RESULTS, {}, 3, identity=IDENTITY).save(tmp_path)
    save_evaluation(run, 3, IDENTITY, RESULTS)
    for find in (finished_results, finished_evaluation):
        assert find(other, length, identity) == (RESULTS if same else None)


def test_numbers_of_numpy_are_saved(tmp_path: Path) -> None:
    run = parts_of(tmp_path, "a")
    save_evaluation(run, 3, IDENTITY, {"bbox": {"AP": np.float32(0.5)}})
    assert finished_evaluation(run, 3, IDENTITY) == {"bbox": {"AP": 0.5}}


def test_half_a_summary_is_none(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text('{"iterations": 3')
    assert finished_results(parts_of(tmp_path, "a"), 3, IDENTITY) is None
    (tmp_path / "summary.json").write_text("{}")
    assert finished_results(parts_of(tmp_path, "a"), 3, IDENTITY) is None
