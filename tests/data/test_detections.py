import copy
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reldn_d2.data import detections_made_by, load_detections_into_dataset, save_detections

CLASSES = ["person", "cup", "table"]


def two_images() -> dict[int | str, Any]:
    boxes = np.array([[0, 0, 10, 20.5], [5, 5, 9, 9]], dtype=np.float32)
    return {7: (boxes, np.array([0.9, 0.25]), np.array([2, 0])), 3: ([], [], [])}


def change_archive(path: Path, **arrays: Any) -> None:
    with np.load(path) as archive:
        content = dict(archive)
    content.update(arrays)
    np.savez(path, **{key: value for key, value in content.items() if value is not None})


@pytest.mark.parametrize("name", [lambda i: i, lambda i: f"image-{i}"], ids=["integers", "strings"])
def test_detections_come_back_to_their_images(tmp_path: Path, name: Any) -> None:
    path = tmp_path / "detections.npz"
    saved = two_images()
    save_detections(path, {name(i): arrays for i, arrays in saved.items()}, CLASSES)
    data = [{"image_id": name(3), "height": 5}, {"image_id": name(7), "height": 6}]
    before = copy.deepcopy(data)
    loaded = load_detections_into_dataset(data, path, CLASSES)
    assert data == before
    assert [d["height"] for d in loaded] == [5, 6]
    empty, full = (d["detections"] for d in loaded)
    assert empty["boxes"].shape == (0, 4)
    assert empty["scores"].shape == empty["classes"].shape == (0,)
    np.testing.assert_array_equal(full["boxes"], saved[7][0])
    np.testing.assert_array_equal(full["scores"], np.array([0.9, 0.25], dtype=np.float32))
    assert full["classes"].tolist() == [2, 0]
    assert full["boxes"].dtype == full["scores"].dtype == np.float32
    assert full["classes"].dtype == np.int64


def test_a_file_without_images_is_valid(tmp_path: Path) -> None:
    save_detections(tmp_path / "none.npz", {}, CLASSES)
    assert load_detections_into_dataset([], tmp_path / "none.npz", CLASSES) == []


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (([[0, 0, 1, 1]], [0.5, 0.5], [0, 0]), "do not fit"),
        (([[0, 0, 1]], [0.5], [0]), "do not fit"),
        (([], [0.5], [0]), "do not fit"),
        (([[0, 0, 1, 1]], [0.5], [0, 1]), "do not fit"),
        (([[0, 0, 1, np.nan]], [0.5], [0]), "not finite"),
        (([[0, 0, 1, 1]], [1.5], [0]), r"score is not in \[0, 1\]"),
        (([[0, 0, 1, 1]], [np.nan], [0]), "score"),
        (([[0, 0, 1, 1]], [0.5], [3]), r"integer in \[0, 3\)"),
        (([[0, 0, 1, 1]], [0.5], [-1]), "integer in"),
        (([[0, 0, 1, 1]], [0.5], [0.5]), "integer in"),
    ],
)
def test_arrays_that_make_no_sense_are_not_written(tmp_path: Path, arrays: Any, message: str) -> None:
    path = tmp_path / "bad.npz"
    with pytest.raises(ValueError, match=message) as error:
        save_detections(path, {"good": ([], [], []), "wrong one": arrays}, CLASSES)
    assert str(path) in str(error.value)
    assert "'wrong one'" in str(error.value)
    assert not list(tmp_path.iterdir())


def test_mixed_image_ids_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="all integers or all strings"):
        save_detections(tmp_path / "bad.npz", {1: ([], [], []), "1": ([], [], [])}, CLASSES)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / "no.npz"))):
        load_detections_into_dataset([], tmp_path / "no.npz", CLASSES)


def test_missing_images_are_counted_and_named(tmp_path: Path) -> None:
    path = tmp_path / "detections.npz"
    save_detections(path, two_images(), CLASSES)
    data = [{"image_id": i} for i in (3, 4, 5)]
    with pytest.raises(ValueError, match="lacks 2 of 3 images, the first being image_id 4") as error:
        load_detections_into_dataset(data, path, CLASSES)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("in_file", "in_data", "message"),
    [
        (
            (3, 7),
            ("3", "7"),
            "has integers as image ids, such as 3, but the data set has strings, such as '3'",
        ),
        (
            ("3", "7"),
            (3, 7),
            "has strings as image ids, such as '3', but the data set has integers, such as 3",
        ),
        (("3", "7"), ("8", "7"), "lacks 1 of 2 images, the first being image_id '8'"),
        ((), (3, 7), "lacks 2 of 2 images"),
    ],
)
def test_ids_of_another_kind_are_told(
    in_file: tuple[Any, ...], in_data: tuple[Any, ...], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "detections.npz"
    save_detections(path, {image_id: ([], [], []) for image_id in in_file}, CLASSES)
    with pytest.raises(ValueError, match=re.escape(f"{path} {message}")):
        load_detections_into_dataset([{"image_id": image_id} for image_id in in_data], path, CLASSES)


BOX = [[0.0, 0, 1, 1]]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((BOX, ["high"], [0]), "'high' is no number"),
        ((BOX, ["0.5"], [0]), "'0.5' is no number"),
        (([["a", "b", "c", "d"]], [0.5], [0]), "'a', 'b', 'c', 'd'] is no number"),
        ((BOX, [0.5], None), r"boxes (1, 4), scores (1,), classes () do not fit each other"),
        ((BOX, None, [0]), r"boxes (1, 4), scores (), classes (1,) do not fit each other"),
        ((None, [0.5], [0]), r"boxes (), scores (1,), classes (1,) do not fit each other"),
        ((BOX, 0.5, [0]), r"boxes (1, 4), scores (), classes (1,) do not fit each other"),
        ((BOX, [None], [0]), "None is no number"),
        (([[0.0, 0, 1, 1], [2.0]], [0.5, 0.5], [0, 0]), "there are not three arrays of numbers"),
        ((BOX, [0.5]), "there are not three arrays of numbers"),
        (None, "there are not three arrays of numbers"),
        ((BOX, [0.5], ["cup"]), "a class is not an integer in [0, 3)"),
    ],
)  # fmt: skip
def test_what_is_no_array_of_numbers_is_not_written(given: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "detections.npz"
    with pytest.raises(ValueError, match=rf"{path}: detections of image_id 3: .*{re.escape(message)}.* Give"):
        save_detections(path, {3: given}, CLASSES)
    assert not path.exists()


@pytest.mark.parametrize("classes", [["person", "cup"], ["cup", "person", "table"], []])
def test_other_classes_are_refused(tmp_path: Path, classes: list[str]) -> None:
    path = tmp_path / "detections.npz"
    save_detections(path, two_images(), CLASSES)
    with pytest.raises(ValueError, match="was made for the classes 3 \\(person, cup, table"):
        load_detections_into_dataset([], path, classes)


def test_another_format_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "detections.npz"
    save_detections(path, two_images(), CLASSES)
    change_archive(path, format_version=np.array(99))
    with pytest.raises(ValueError, match="format version 99"):
        load_detections_into_dataset([], path, CLASSES)


@pytest.mark.parametrize("damage", ["text", "empty", "cut off", "array", "key", "pickle"])
def test_other_files_are_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "detections.npz"
    save_detections(path, two_images(), CLASSES)
    if damage == "text":
        path.write_text("not an archive")
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "cut off":
        path.write_bytes(path.read_bytes()[:-40])
    elif damage == "array":
        with path.open("wb") as stream:
            np.save(stream, np.zeros(3))
    elif damage == "key":
        change_archive(path, offsets=None)
    else:
        change_archive(path, image_ids=np.array([{}, {}], dtype=object))
    with pytest.raises(ValueError, match="not a complete detections file"):
        load_detections_into_dataset([], path, CLASSES)


def test_a_file_names_its_detector(tmp_path: Path) -> None:
    path = tmp_path / "found.npz"
    assert detections_made_by(path) == ""
    save_detections(path, two_images(), ["a", "b", "c"])
    assert detections_made_by(path) == ""
    save_detections(path, two_images(), ["a", "b", "c"], made_by="a detector")
    assert detections_made_by(path) == "a detector"
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="not a complete detections file"):
        detections_made_by(path)


@pytest.mark.parametrize(
    ("made_for", "read_for"), [("train", "test"), ("train", "train"), ("", "a"), ("a", "")]
)
def test_the_file_of_another_data_set_is_said(
    made_for: str, read_for: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "found.npz"
    save_detections(path, two_images(), CLASSES, dataset_name=made_for)
    assert len(load_detections_into_dataset([{"image_id": 7}], path, CLASSES, read_for)) == 1
    said = [f"{path} was made for data set train and is read for test. That"] if read_for == "test" else []
    assert [text[: len(said[0])] if said else text for text in caplog.messages] == said


def changed(path: Path, name: str, value: Any) -> Path:
    """The file as an earlier release would have written it, without digest, with another array."""
    save_detections(path, two_images(), CLASSES)
    change_archive(path, sha256=None, **{name: value})
    return path


BOXES = two_images()[7][0]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("offsets", np.array([0, 99999, 2]), "'offsets' must rise from 0 to 2, .* and falls between"),
        (
            "offsets",
            np.array([0, 1, 1]),
            "'offsets' must rise from 0 to 2, the number of boxes, but has 0 to 1",
        ),
        ("offsets", np.array([1, 2, 2]), "'offsets' must rise"),
        ("offsets", np.array([0, 2]), "'offsets' has shape"),
        ("offsets", np.array([0.0, 2, 2]), "'offsets' has the type float64"),
        (
            "boxes",
            BOXES * 10,
            "image_id 7: a box sticks out of its image by more than 2 pixels .*2 of 2 rows",
        ),
        ("boxes", BOXES / 100, "no box reaches beyond .* along the width, so the boxes must be shares"),
        ("boxes", BOXES * [1, 0.01, 1, 0.01], "along the height, so the boxes must be shares"),
        ("boxes", BOXES[:, [2, 3, 0, 1]], "image_id 7: a box has swapped corners"),
        ("boxes", BOXES * np.nan, "image_id 7: a box is not finite"),
        ("boxes", BOXES[:1], "'boxes' has shape"),
        ("boxes", BOXES.astype(np.float16), "'boxes' has the type float16"),
        ("scores", np.array([1e30, 0.5]), r"image_id 7: a score is not in \[0, 1\]"),
        ("classes", np.array([0, 3]), r"image_id 7: a class is not an integer in \[0, 3\)"),
        ("classes", np.array([0.0, 1.0]), "'classes' has the type float64"),
        ("image_ids", np.array([7, 7]), "1 images are there more than once, the first being image_id 7"),
        ("thing_classes", np.array([b"a", b"b", b"c"]), "'thing_classes' has the type"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, name: str, value: Any, message: str) -> None:
    path = changed(tmp_path / "found.npz", name, value)
    data = [{"image_id": i, "width": 20, "height": 30} for i in (3, 7)]
    with pytest.raises(ValueError, match=message) as error:
        load_detections_into_dataset(data, path, CLASSES)
    assert str(error.value).startswith(f"{path}: ")


def test_a_changed_file_does_not_have_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "found.npz"
    save_detections(path, two_images(), CLASSES)
    change_archive(path, scores=np.array([0.5, 0.5], dtype=np.float32))
    with pytest.raises(ValueError, match="changed or damaged after it was written"):
        load_detections_into_dataset([], path, CLASSES)
    change_archive(path, sha256=None)
    load_detections_into_dataset([], path, CLASSES)


def test_a_box_may_stick_out_a_little(tmp_path: Path) -> None:
    path = tmp_path / "found.npz"
    boxes = np.array([[-2, -3, 102, 303]], dtype=np.float32)
    save_detections(path, {1: (boxes, [0.5], [0])}, CLASSES)
    (loaded,) = load_detections_into_dataset([{"image_id": 1, "width": 100, "height": 300}], path, CLASSES)
    np.testing.assert_array_equal(loaded["detections"]["boxes"], boxes)
    # Nothing is known about an image without a size.
    load_detections_into_dataset([{"image_id": 1}], path, CLASSES)
    with pytest.raises(ValueError, match="picture of 100 x 299"):
        load_detections_into_dataset([{"image_id": 1, "width": 100, "height": 299}], path, CLASSES)


def test_boxes_with_swapped_corners_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="image_id 'a': a box has swapped corners"):
        save_detections(tmp_path / "x.npz", {"a": ([[5, 5, 1, 9]], [0.5], [0])}, CLASSES)
