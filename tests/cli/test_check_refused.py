"""`reldn check` names every record that a loader refuses, grouped by kind, and checks the others."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.builders.commands import run_reldn
from tests.builders.vg150_files import Photo, h5_arrays, image_data, write_files


def write_coco(folder: Path, change: Callable[[dict[str, Any]], None], name: str = "a.json") -> Path:
    """Three images with two annotations and one relation each, changed."""
    images = [{"id": i, "file_name": f"{i}.png", "height": 30, "width": 40} for i in (1, 2, 3)]
    for number, image in enumerate(images):
        Image.new("RGB", (40, 30), (9, 9, 80 * number)).save(folder / str(image["file_name"]))
    annotations = [
        {"id": n, "image_id": 1 + n // 2, "category_id": 1 + n % 2, "bbox": [3, 3, 20 + n, 20]}
        for n in range(6)
    ]
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "cup"}],
        "predicates": [{"id": 1, "name": "holds"}, {"id": 2, "name": "on"}],
        "relations": [
            {"id": i, "image_id": 1 + i, "subject_id": 2 * i, "object_id": 2 * i + 1, "predicate_id": 1}
            for i in range(3)
        ],
    }
    change(content)
    path = folder / name
    path.write_text(json.dumps(content))
    return path


def six_damages(content: dict[str, Any]) -> None:
    boxes = [record["bbox"] for record in content["annotations"]]
    boxes[0][3], boxes[2][2], boxes[5][0] = 0, -4, 35
    content["annotations"][4]["category_id"] = 99
    content["relations"][0]["predicate_id"] = 55
    content["relations"][1]["object_id"] = 999


def check(*words: object) -> int:
    return run_reldn("check", *words)


def test_six_damages_of_one_file_are_all_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, output, page = write_coco(tmp_path, six_damages), tmp_path / "out.json", tmp_path / "page.html"
    words = ("--annotations", path, "--image-root", tmp_path, "--output", output, "--html", page)
    assert check(*words) == 1
    text = capsys.readouterr().out
    for line in (
        "error refused (box that has no positive size): 2",
        f"    {path}: annotation 0: the box [3, 3, 20, 0] has no positive size",
        f"    {path}: annotation 2: the box [3, 3, -4, 20] has no positive size",
        "error refused (box that is outside its image): 1",
        "error refused (category_id that 'categories' does not have): 1",
        f"    {path}: annotation 4: 'categories' has no id 99",
        "error refused (predicate_id that 'predicates' does not have): 1",
        "error refused (object_id that 'annotations' does not have): 1",
        f"    {path}: relation 1: 'annotations' has no id 999",
    ):
        assert f"{line}\n" in text
    # What names a refused record is left out without a message of its own.
    assert text.count("error refused") == 5 and "relation 2:" not in text
    (report,) = json.loads(output.read_text())["data_sets"]
    found = {problem["about"]: problem["count"] for problem in report["problems"] if problem["is_error"]}
    assert sum(found.values()) == 6 and found["box that has no positive size"] == 2
    assert "has no positive size" in page.read_text()


def test_problems_of_other_records_and_pictures_are_found_in_the_same_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(content: dict[str, Any]) -> None:
        content["annotations"][0]["bbox"] = None
        content["relations"].append(dict(content["relations"][2], id=7))

    path = write_coco(tmp_path, change)
    (tmp_path / "2.png").unlink()
    assert check("--annotations", path, "--image-root", tmp_path) == 1
    text = capsys.readouterr().out
    for line in (
        "error refused (box that is not four numbers): 1",
        "error missing_image: 1",
        "note repeated_rel",
    ):
        assert line in text


def test_of_many_records_the_first_are_named_and_all_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(content: dict[str, Any]) -> None:
        content["relations"] += [
            {"id": i, "subject_id": 0, "object_id": i, "predicate_id": 1} for i in range(100, 1100)
        ]

    assert check("--annotations", write_coco(tmp_path, change), "--image-root", tmp_path) == 1
    text = capsys.readouterr().out
    assert "error refused (object_id that 'annotations' does not have): 1,000\n" in text
    assert "relation 104: " in text and "relation 105: " not in text and "\n    ...\n" in text


def test_all_splits_of_a_data_file_are_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_coco(tmp_path, six_damages, "train.json")
    write_coco(tmp_path, lambda content: content["images"][1].pop("width"), "test.json")
    data = tmp_path / "party.yaml"
    data.write_text(
        "train: {annotations: train.json, images: .}\ntest: {annotations: test.json, images: .}\n"
    )
    assert check("--data", data) == 1
    text = capsys.readouterr().out
    assert text.count("error refused") == 6 and "record 1 of 'images' (id 2): lacks ['width']" in text
    # The pictures of the training split, as far as it is known, are those of the test split.
    assert "note shared_picture (with party_train): 2 in 2 images" in text


def test_damaged_classes_of_a_data_file_hide_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(content: dict[str, Any]) -> None:
        six_damages(content)
        content["predicates"] += [{"id": "3", "name": "by"}, {"id": 4, "name": "on"}]

    write_coco(tmp_path, change, "train.json")
    data = tmp_path / "party.yaml"
    data.write_text("train: {annotations: train.json, images: .}\n")
    assert check("--data", data) == 1
    text = capsys.readouterr().out
    assert text.count("error refused") == 6
    assert "error refused (record of 'predicates' that is no class): 2\n" in text


def test_classes_that_differ_because_some_are_refused_are_named_with_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_coco(tmp_path, lambda content: content["predicates"][1].pop("name"), "train.json")
    write_coco(tmp_path, lambda content: None, "test.json")
    data = tmp_path / "party.yaml"
    data.write_text(
        "train: {annotations: train.json, images: .}\ntest: {annotations: test.json, images: .}\n"
    )
    assert check("--data", data) == 2
    message = capsys.readouterr().err
    assert "must have the same predicates" in message
    assert "Refused before that: record of 'predicates' that lacks a key: 1, first record 1" in message


def test_all_kinds_of_wrong_rows_of_vg150_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = [Photo(i) for i in range(10, 20)]
    arrays = h5_arrays(photos)
    arrays["labels"][[3, 4]] = 151
    arrays["predicates"][6] = 0
    arrays["boxes_1024"][7, 2] = -1
    arrays["split"][8] = 1
    write_files(tmp_path / "vg", arrays, image_data(photos))
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    (tmp_path / "register.py").write_text(
        "from reldn_d2.data import register_vg150\n"
        f"register_vg150('refused_vg', {str(tmp_path / 'vg')!r}, 'trainval')\n"
    )
    assert check("--import", tmp_path / "register.py", "--dataset", "refused_vg") == 1
    text = capsys.readouterr().out
    for kind, count in (("labels", 2), ("predicates", 1), ("boxes_1024", 1), ("split", 1)):
        assert f"error refused (row of '{kind}'): {count}\n" in text
    # The others are checked. Image 18 is in no split; images 11, 12, 13 and 16 have no relationship left.
    assert "error missing_image: 5 in 5 images" in text and "confusable" in text
