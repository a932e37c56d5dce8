"""`reldn convert label-studio`."""

import json
from pathlib import Path

import numpy as np
import pytest

from reldn_d2.data import load_coco_relations, load_label_studio
from tests.builders.commands import line_of_refusal, run_reldn
from tests.builders.label_studio_files import annotation, picture, region, relation, task, write_export

REGIONS = (region("a", "cup", (50, 50, 5, 5, 45)), region("b", "person", (50, 10, 20, 80)))


@pytest.fixture
def export(tmp_path: Path) -> Path:
    for name in ("one.png", "two.png"):
        picture(tmp_path / "photos" / name)
    one = task(4, annotation(*REGIONS, relation("a", "b", "on", direction="left")))
    return write_export(tmp_path, one, task(5, annotation(), image="two.png"), task(6))


def test_the_file_holds_what_the_loader_reads_and_the_counts_are_printed(
    export: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, output = export.parent / "photos", export.parent / "out"
    words = ("convert", "label-studio", "--input", export, "--image-root", photos, "--output", output)
    assert run_reldn(*words, "--name", "checked") == 0
    counted, written, register = capsys.readouterr().out.splitlines()
    assert counted.endswith(
        f"{export}: 2 images; tasks without an annotation, left out: 1 (first in task 6); rotated boxes, "
        "replaced by the upright box around each: 1 (first in task 4); relations of direction 'left', read "
        "from to_id to from_id: 1 (first in task 4)"
    )
    summary = "was written: 2 images (1 without relationships), 2 entities, 1 relationships"
    assert written == f"{output / 'checked.json'} {summary}"
    assert 'register_coco_relations("checked_coco"' in register
    assert run_reldn(*words, "--name", "checked") == 0
    again = capsys.readouterr().out.splitlines()
    assert again[0].endswith(counted[counted.index(str(export)) :])
    assert again[1] == written.replace("was written", "is up to date")
    found, expected = load_coco_relations(output / "checked.json", photos), load_label_studio(export, photos)
    assert [x["image_id"] for x in found] == [4, 5]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one["annotations"].boxes, other["annotations"].boxes, rtol=0, atol=1e-6)
        np.testing.assert_array_equal(one["annotations"].classes, other["annotations"].classes)
        np.testing.assert_array_equal(one["relations"], other["relations"])


def test_classes_come_from_another_file(export: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = export.parent
    words = ("convert", "label-studio", "--input", export, "--image-root", folder / "photos")
    lists = {"categories": ["table", "person", "cup"], "predicates": ["near", "on"]}
    content = {kind: [{"id": i, "name": x} for i, x in enumerate(names)] for kind, names in lists.items()}
    other = folder / "train.json"
    other.write_text(json.dumps(content))
    assert run_reldn(*words, "--output", folder / "out", "--vocabulary", other) == 0
    written = json.loads((folder / "out" / "export.json").read_text())
    assert {kind: [x["name"] for x in written[kind]] for kind in lists} == lists
    content["predicates"][1]["name"] = "onto"
    other.write_text(json.dumps(content))
    line = line_of_refusal(capsys, *words, "--output", folder / "out", "--vocabulary", other)
    assert "'on' (similar: 'onto')" in line


def test_options_reach_the_loader(export: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = export.parent / "photos"
    words = ("convert", "label-studio", "--input", export, "--image-root", photos, "--output", photos / "out")
    assert "Did you mean" in line_of_refusal(capsys, *words, "--annotator", "11")
    (photos / "two.png").unlink()
    line = line_of_refusal(capsys, *words)
    assert "this concerns 1 of 2 tasks" in line
    assert run_reldn(*words, "--skip-missing-images") == 0
    assert "tasks whose picture is missing, left out: 1 (first in task 5)" in capsys.readouterr().out
    assert "'photo' of 'data' is None" in line_of_refusal(capsys, *words, "--image-key", "photo")
