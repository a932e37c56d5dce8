import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from reldn_d2.data import RelationDatasetMapper
from reldn_d2.data.datasets.visual_genome import vg150
from reldn_d2.data.datasets.visual_genome.vg150 import (
    OBJECT_CLASSES,
    PREDICATE_CLASSES,
    load_vg150,
    register_vg150,
)
from reldn_d2.structures.annotations import Annotations
from tests.builders.vg150_files import (
    TEST,
    TRAIN,
    Photo,
    dicts,
    h5_arrays,
    image_data,
    write_files,
    write_vg150,
)

H5 = "VG-SGG-with-attri.h5"
EMPTY: dict[str, Any] = {"relations": ()}
NAME = "test_vg150"


@pytest.fixture(autouse=True)
def two_for_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vg150, "VALIDATION_IMAGES", 2)


@pytest.fixture
def clean_catalog() -> Iterator[None]:
    yield
    for catalog in (DatasetCatalog, MetadataCatalog):
        if NAME in catalog.list():
            catalog.remove(NAME)


def ids(images: Sequence[dict[str, Any]]) -> list[int]:
    return [image["image_id"] for image in images]


# --- reading


def test_the_dataset_dicts_of_a_small_set(tmp_path: Path) -> None:
    tall = Photo(
        8,
        boxes=[(300, 512, 200, 1024), (300, 900, 100, 100), (100, 50, 20, 40)],
        labels=[150, 1, 2],
        relations=[(2, 0, 50), (0, 1, 1)],
        width=300,
        height=512,
    )
    write_vg150(tmp_path, [Photo(7), tall])
    first, second = load_vg150(tmp_path, "trainval")
    assert first["file_name"] == str(tmp_path / "VG_100K" / "7.jpg")
    assert (first["image_id"], first["width"], first["height"]) == (7, 512, 384)
    # half of the scaled pixels
    assert first["annotations"] == [
        {"bbox": [40, 35, 60, 65], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0, "iscrowd": 0},
        {"bbox": [150, 125, 250, 175], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 1, "iscrowd": 0},
    ]
    assert first["relations"].tolist() == [[0, 1, 0]]
    assert [a["bbox"] for a in second["annotations"]] == [
        [100, 0, 200, 512],
        [125, 425, 175, 475],
        [45, 15, 55, 35],
    ]
    assert [a["category_id"] for a in second["annotations"]] == [149, 0, 1]
    assert second["relations"].tolist() == [[2, 0, 49], [0, 1, 0]]
    for image in (first, second):
        assert isinstance(image["annotations"], Annotations)
        assert image["relations"].dtype == np.int64
        assert {type(image[key]) for key in ("image_id", "width", "height")} == {int}


def test_the_names_are_those_of_the_published_files(dev_data: Path) -> None:
    for file_name in ("VG-SGG-dicts-with-attri.json", "VG-SGG-dicts.json"):
        content = json.loads((dev_data / "vg150" / file_name).read_text())
        for key, names in (("idx_to_label", OBJECT_CLASSES), ("idx_to_predicate", PREDICATE_CLASSES)):
            assert content[key] == {str(number): name for number, name in enumerate(names, start=1)}


@pytest.mark.parametrize("file_name", ["VG-SGG-dicts-with-attri.json", "VG-SGG-dicts.json"])
def test_the_published_dicts_are_accepted(dev_data: Path, tmp_path: Path, file_name: str) -> None:
    write_files(tmp_path, h5_arrays([Photo(7)]), image_data([Photo(7)]), attributes="attri" in file_name)
    (tmp_path / file_name).write_bytes((dev_data / "vg150" / file_name).read_bytes())
    assert ids(load_vg150(tmp_path, "trainval")) == [7]


def test_coarse_boxes_are_read_if_there_are_no_others(tmp_path: Path) -> None:
    arrays = h5_arrays([Photo(7)])
    del arrays["boxes_1024"]
    write_files(tmp_path, arrays, image_data([Photo(7)]))
    (image,) = load_vg150(tmp_path, "trainval")
    assert [a["bbox"] for a in image["annotations"]] == [[40, 35, 60, 65], [150, 125, 250, 175]]


def test_the_finer_of_two_arrays_of_boxes_is_read(tmp_path: Path) -> None:
    arrays = h5_arrays([Photo(7)])
    arrays["boxes_512"] += 3
    write_files(tmp_path, arrays, image_data([Photo(7)]))
    assert load_vg150(tmp_path, "trainval")[0]["annotations"][0]["bbox"] == [40, 35, 60, 65]


@pytest.mark.parametrize("dtype", [np.int32, np.uint16, np.float32])
def test_boxes_may_have_any_type_of_numbers(tmp_path: Path, dtype: Any) -> None:
    arrays = h5_arrays([Photo(7, boxes=[(3, 101, 5, 7), (400, 300, 200, 100)])])
    arrays["boxes_1024"] = arrays["boxes_1024"].astype(dtype)
    write_files(tmp_path, arrays, image_data([Photo(7)]))
    assert load_vg150(tmp_path, "trainval")[0]["annotations"][0]["bbox"] == [0.25, 48.75, 2.75, 52.25]


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint64])
def test_other_arrays_may_have_any_type_of_integers(tmp_path: Path, dtype: Any) -> None:
    photos = [Photo(7), Photo(8, labels=(150, 1), relations=[(1, 0, 50)])]
    arrays = h5_arrays(photos)
    for key in ("labels", "relationships", "predicates", "split", "img_to_first_box", "img_to_last_box"):
        arrays[key] = arrays[key].astype(dtype)
    write_files(tmp_path, arrays, image_data(photos))
    _, image = load_vg150(tmp_path, "trainval")
    assert image["relations"].tolist() == [[1, 0, 49]] and image["relations"].dtype == np.int64
    assert image["annotations"].classes.tolist() == [149, 0]


def test_a_column_may_be_flat(tmp_path: Path) -> None:
    arrays = h5_arrays([Photo(7)])
    arrays["labels"], arrays["predicates"] = arrays["labels"][:, 0], arrays["predicates"][:, 0]
    write_files(tmp_path, arrays, image_data([Photo(7)]))
    assert load_vg150(tmp_path, "trainval")[0]["relations"].tolist() == [[0, 1, 0]]


def test_files_with_attributes_come_first(tmp_path: Path) -> None:
    write_files(tmp_path, h5_arrays([Photo(7)]), image_data([Photo(7)]), attributes=False)
    assert load_vg150(tmp_path, "trainval")[0]["annotations"][0]["category_id"] == 0
    other = [Photo(7, labels=(5, 5))]
    write_files(tmp_path, h5_arrays(other), image_data(other), attributes=True)
    assert load_vg150(tmp_path, "trainval")[0]["annotations"][0]["category_id"] == 4


def test_self_relations_and_repeats_stay(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_vg150(tmp_path, [Photo(7, relations=[(1, 1, 3), (0, 1, 2), (0, 1, 2)])])
    with caplog.at_level(logging.INFO):
        (image,) = load_vg150(tmp_path, "trainval")
    assert image["relations"].tolist() == [[1, 1, 2], [0, 1, 1], [0, 1, 1]]
    assert not caplog.messages


@st.composite
def some_photos(draw: st.DrawFn) -> list[Photo]:
    photos = []
    for image_id in draw(st.lists(st.integers(1, 99), unique=True, max_size=6)):
        number = st.integers(100, 200).map(float)
        boxes = draw(st.lists(st.tuples(number, number, number, number), max_size=4))
        end = st.integers(0, max(len(boxes) - 1, 0))
        row = st.tuples(end, end, st.integers(1, 50))
        photos.append(
            Photo(
                image_id,
                boxes,
                draw(st.lists(st.integers(1, 150), min_size=len(boxes), max_size=len(boxes))),
                draw(st.lists(row, max_size=5)) if boxes else [],
                split=draw(st.sampled_from([TRAIN, TEST])),
            )
        )
    return photos


@given(photos=some_photos())
def test_every_image_has_its_own_boxes_and_relationships(
    tmp_path_factory: pytest.TempPathFactory, photos: list[Photo]
) -> None:
    root = tmp_path_factory.mktemp("vg")
    write_vg150(root, photos)
    for split, number in (("trainval", TRAIN), ("test", TEST)):
        expected = [photo for photo in photos if photo.split == number]
        if not expected:
            with pytest.raises(ValueError, match="has no image in the split"):
                load_vg150(root, split, keep_empty=True)
            continue
        images = load_vg150(root, split, keep_empty=True)
        assert ids(images) == [photo.image_id for photo in expected]
        for image, photo in zip(images, expected, strict=True):
            corners = [
                [(x - w / 2) / 2, (y - h / 2) / 2, (x + w / 2) / 2, (y + h / 2) / 2]
                for x, y, w, h in photo.boxes
            ]
            assert [a["bbox"] for a in image["annotations"]] == corners
            assert [a["category_id"] + 1 for a in image["annotations"]] == list(photo.labels)
            assert [(s, o, p + 1) for s, o, p in image["relations"].tolist()] == list(photo.relations)


# --- boxes at the edge


def test_rounding_at_the_edge_is_clipped_without_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # 384 rows are 768 scaled ones
    write_vg150(tmp_path, [Photo(7, boxes=[(9.5, 384.5, 21, 769), (1000, 700, 50, 136)])])
    with caplog.at_level(logging.INFO):
        (image,) = load_vg150(tmp_path, "trainval")
    assert [a["bbox"] for a in image["annotations"]] == [[0, 0, 10, 384], [487.5, 316, 512, 384]]
    assert not caplog.messages


def test_boxes_that_stick_out_further_are_clipped_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_vg150(tmp_path, [Photo(3), Photo(7, boxes=[(9, 384, 23, 700), (400, 300, 200, 100)])])
    with caplog.at_level(logging.WARNING):
        images = load_vg150(tmp_path, "trainval")
    assert images[1]["annotations"][0]["bbox"] == [0, 17, 10.25, 367]
    assert images[1]["changed_boxes"].tolist() == [0] and "changed_boxes" not in images[0]
    (message,) = caplog.messages
    assert f"{H5}: 1 boxes that stick out" in message and "the first in image 7" in message


@given(data=st.data())
def test_boxes_keep_their_place_in_the_picture(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    width, height = (data.draw(st.integers(20, 3000)) for _ in range(2))
    longer = max(width, height)
    x0, y0 = data.draw(st.integers(0, width - 2)), data.draw(st.integers(0, height - 2))
    x1, y1 = data.draw(st.integers(x0 + 2, width)), data.draw(st.integers(y0 + 2, height))
    scaled = np.array([x0 + x1, y0 + y1, 2 * (x1 - x0), 2 * (y1 - y0)]) / 2 * 1024 / longer
    photo = Photo(7, [tuple(scaled)], [1], [(0, 0, 1)], width, height)
    root = tmp_path_factory.mktemp("vg")
    write_vg150(root, [photo])
    (image,) = load_vg150(root, "trainval")
    np.testing.assert_allclose(image["annotations"][0]["bbox"], [x0, y0, x1, y1], atol=1e-6 * longer)


# --- splits


def split_photos() -> list[Photo]:
    """Five of train with relationships, two of test, and some without."""
    without = {"relations": ()}
    return [
        Photo(20, **without),
        Photo(21),
        Photo(10, split=TEST),
        Photo(22, boxes=(), labels=(), **without),
        Photo(23),
        Photo(24),
        Photo(11, split=TEST, **without),
        Photo(25, **without),
        Photo(9),
        Photo(12, split=TEST),
        Photo(27),
    ]


@pytest.mark.parametrize(
    ("split", "related", "all_images"),
    [
        ("val", [21, 23], [21, 23]),
        ("train", [24, 9, 27], [20, 22, 24, 25, 9, 27]),
        ("trainval", [21, 23, 24, 9, 27], [20, 21, 22, 23, 24, 25, 9, 27]),
        ("test", [10, 12], [10, 11, 12]),
    ],
)
def test_the_splits(tmp_path: Path, split: str, related: list[int], all_images: list[int]) -> None:
    write_vg150(tmp_path, split_photos())
    assert ids(load_vg150(tmp_path, split)) == related
    images = load_vg150(tmp_path, split, keep_empty=True)
    assert ids(images) == all_images
    for image in images:
        photo = next(photo for photo in split_photos() if photo.image_id == image["image_id"])
        assert len(image["annotations"]) == len(photo.boxes)
        assert len(image["relations"]) == len(photo.relations)
        assert image["relations"].shape[1:] == (3,)


def test_validation_has_five_thousand_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert vg150.VALIDATION_IMAGES == vg150.SPLITS["val"] == 5_000
    assert vg150.SPLITS["train"] + vg150.SPLITS["val"] == vg150.SPLITS["trainval"] == 62_723
    assert vg150.SPLITS["test"] == 26_446


def test_a_split_without_images_is_an_error(tmp_path: Path) -> None:
    write_vg150(tmp_path, [Photo(7), Photo(8), Photo(9, relations=())])
    for split in ("train", "test"):
        with pytest.raises(
            ValueError,
            match=rf"{H5} has no image in the split '{split}'.*3 in train and 0 in test.*'trainval'",
        ):
            load_vg150(tmp_path, split)


def test_an_unknown_split_is_named() -> None:
    with pytest.raises(ValueError, match="not 'validation'"):
        load_vg150("anywhere", "validation")
    with pytest.raises(ValueError, match="not 'validation'"):
        register_vg150(NAME, "anywhere", "validation")
    assert NAME not in DatasetCatalog


def test_the_corrupt_images_may_be_listed_or_not(tmp_path: Path) -> None:
    photos = [Photo(1591, labels=(3, 4)), Photo(1593, labels=(5, 6)), Photo(4618, labels=(7, 8))]
    corrupt = [Photo(image_id) for image_id in (1592, 1722, 4616, 4617)]
    listed = sorted([*photos, *corrupt], key=lambda photo: photo.image_id)
    for images in (listed, photos):
        write_files(tmp_path, h5_arrays(photos), image_data(images))
        found = load_vg150(tmp_path, "trainval")
        assert ids(found) == [1591, 1593, 4618]
        assert [image["annotations"][0]["category_id"] for image in found] == [2, 4, 6]


# --- options


def optional_photos() -> list[Photo]:
    apart = [(100, 100, 40, 60), (400, 300, 200, 100), (110, 110, 40, 60)]
    edge_to_edge = [(100, 100, 40, 60), (140, 100, 40, 60)]
    return [
        Photo(1, apart, [1, 2, 3], [(0, 1, 9), (0, 2, 8), (0, 2, 7), (2, 0, 6), (0, 2, 8), (1, 1, 2)]),
        Photo(2, edge_to_edge),
        Photo(3, relations=()),
        Photo(4, [(100, 100, 40, 60), (100, 100, 10, 10)]),
    ]


def relations(images: Sequence[dict[str, Any]]) -> dict[int, list[list[int]]]:
    return {image["image_id"]: image["relations"].tolist() for image in images}


def test_the_first_relationship_of_a_pair_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_vg150(tmp_path, optional_photos())
    with caplog.at_level(logging.INFO):
        images = load_vg150(tmp_path, "trainval", drop_duplicates=True)
    first = [[0, 1, 8], [0, 2, 7], [2, 0, 5], [1, 1, 1]]
    assert relations(images) == {1: first, 2: [[0, 1, 0]], 4: [[0, 1, 0]]}
    assert caplog.messages == [f"{tmp_path / H5}: dropped 2 relationships of pairs that have an earlier one."]


def test_relationships_of_boxes_that_share_no_area_are_dropped_after_the_split(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_vg150(tmp_path, optional_photos())
    overlapping = [[0, 2, 7], [0, 2, 6], [2, 0, 5], [0, 2, 7], [1, 1, 1]]
    with caplog.at_level(logging.INFO):
        images = load_vg150(tmp_path, "trainval", overlapping_only=True)
    assert relations(images) == {1: overlapping, 4: [[0, 1, 0]]}
    assert caplog.messages == [f"{tmp_path / H5}: dropped 2 relationships whose boxes share no area."]
    assert len(images[0]["annotations"]) == 3
    images = load_vg150(tmp_path, "trainval", overlapping_only=True, keep_empty=True)
    assert relations(images) == {1: overlapping, 2: [], 3: [], 4: [[0, 1, 0]]}
    # Image 2 loses its only relationship, but has been counted as one of the two for validation.
    assert ids(load_vg150(tmp_path, "val", overlapping_only=True)) == [1]
    assert ids(load_vg150(tmp_path, "train", overlapping_only=True)) == [4]


def test_both_options_together(tmp_path: Path) -> None:
    write_vg150(tmp_path, optional_photos())
    images = load_vg150(tmp_path, "trainval", overlapping_only=True, drop_duplicates=True)
    assert relations(images) == {1: [[0, 2, 7], [2, 0, 5], [1, 1, 1]], 4: [[0, 1, 0]]}


# --- pictures


def test_pictures_are_found_in_any_folder_and_expected_in_the_first(tmp_path: Path) -> None:
    write_vg150(tmp_path, [Photo(image_id) for image_id in (1, 2, 3, 4, 5)])
    for folder, names in (("VG_100K", (1, 3)), ("VG_100K_2", (2, 3)), ("images", (3, 2, 4))):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / f"{name}.jpg").touch()
    folders = [Path(image["file_name"]).parent.name for image in load_vg150(tmp_path, "trainval")]
    assert folders == ["VG_100K", "VG_100K_2", "VG_100K", "images", "VG_100K"]


def test_pictures_may_be_in_the_second_folder_alone(tmp_path: Path) -> None:
    write_vg150(tmp_path, [Photo(1)])
    (tmp_path / "VG_100K_2").mkdir()
    (tmp_path / "VG_100K_2" / "1.jpg").touch()
    (image,) = load_vg150(tmp_path, "trainval")
    assert image["file_name"] == str(tmp_path / "VG_100K_2" / "1.jpg")


def test_a_loaded_image_goes_through_the_mapper_and_a_missing_one_is_named(tmp_path: Path) -> None:
    write_vg150(tmp_path, [Photo(1), Photo(2)])
    (tmp_path / "VG_100K").mkdir()
    Image.new("RGB", (512, 384)).save(tmp_path / "VG_100K" / "1.jpg")
    first, second = load_vg150(tmp_path, "trainval")
    mapper = RelationDatasetMapper(True, augmentations=[], image_format="BGR")
    output = mapper(first)
    assert output["instances"].gt_boxes.tensor.tolist() == [[40, 35, 60, 65], [150, 125, 250, 175]]
    assert output["relations"].tolist() == [[0, 1, 0]]
    with pytest.raises(FileNotFoundError, match=r"2\.jpg does not exist"):
        mapper(second)


# --- damage


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for file_name in ("VG-SGG-dicts-with-attri.json", "image_data.json", H5):
        write_vg150(tmp_path, [Photo(7)])
        (tmp_path / file_name).unlink()
        with pytest.raises(FileNotFoundError, match=f"{file_name} does not exist.*DETECTRON2_DATASETS"):
            load_vg150(tmp_path, "trainval")


def test_an_empty_folder_gives_an_error_with_both_file_names(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"VG-SGG-with-attri\.h5 does not exist, nor does VG-SGG\.h5"):
        load_vg150(tmp_path, "trainval")


def test_a_file_without_an_array_is_refused(tmp_path: Path) -> None:
    for key in h5_arrays([Photo(7)]).keys() - {"boxes_512"}:
        arrays = h5_arrays([Photo(7)])
        del arrays[key]
        if key == "boxes_1024":
            del arrays["boxes_512"]
        write_files(tmp_path, arrays, image_data([Photo(7)]))
        with pytest.raises(ValueError, match=f"{H5}: '{key}': the file has no such array. Use VG-SGG"):
            load_vg150(tmp_path, "trainval")


def test_a_cut_off_file_is_refused(tmp_path: Path) -> None:
    photos = [Photo(image_id) for image_id in range(1, 500)]
    write_vg150(tmp_path, photos)
    content = (tmp_path / H5).read_bytes()
    for size in (0, 100, len(content) // 2, len(content) - 1):
        (tmp_path / H5).write_bytes(content[:size])
        with pytest.raises(ValueError, match=f"{H5} cannot be read.*Download it again"):
            load_vg150(tmp_path, "trainval")


# Key, new value, part of the message.
WRONG_ARRAYS: list[tuple[str, Any, str]] = [
    ("boxes_1024", np.zeros((6, 5)), r"rows of 4 numbers, not an array of shape \(6, 5\)"),
    ("boxes_1024", np.zeros((6, 4), dtype="S3"), r"rows of 4 numbers, not .* type \|S3"),
    ("boxes_1024", np.ones((5, 4)), "'labels': it has 6 rows, but there are 5 box rows"),
    (
        "labels",
        np.ones((6, 2), dtype=int),
        r"'labels': it must be rows of 1 integers, not an array of shape \(6, 2\)",
    ),
    ("labels", np.ones((6, 1)), "'labels': it must be rows of 1 integers, .* type float64"),
    ("labels", np.ones((6, 1), dtype=bool), "'labels': it must be rows of 1 integers, .* type bool"),
    ("labels", np.int64(3), r"not an array of shape \(\)"),
    ("labels", np.ones((6, 1, 1), dtype=int), r"not an array of shape \(6, 1, 1\)"),
    (
        "predicates",
        np.ones((2, 1), dtype=int),
        "'predicates': it has 2 rows, but there are 3 relationship rows",
    ),
    ("relationships", np.ones((3, 3), dtype=int), "rows of 2 integers"),
    ("relationships", np.ones((6,), dtype=int), "rows of 2 integers"),
    (
        "img_to_last_rel",
        np.zeros(2, dtype=int),
        "'img_to_last_rel': it has 2 rows, but there are 3 image rows",
    ),
]


@pytest.mark.parametrize(("key", "value", "message"), WRONG_ARRAYS)
def test_an_array_of_another_form_is_refused(tmp_path: Path, key: str, value: Any, message: str) -> None:
    photos = [Photo(7), Photo(8), Photo(9)]
    write_files(tmp_path, {**h5_arrays(photos), key: value}, image_data(photos))
    with pytest.raises(ValueError, match=f"{H5}: .*{message}"):
        load_vg150(tmp_path, "trainval")


def test_a_group_in_place_of_an_array_is_refused(tmp_path: Path) -> None:
    arrays = h5_arrays([Photo(7)])
    arrays["labels/inner"] = arrays.pop("labels")
    write_files(tmp_path, arrays, image_data([Photo(7)]))
    with pytest.raises(ValueError, match="'labels': the file has no such array"):
        load_vg150(tmp_path, "trainval")


NAN, INF = float("nan"), float("inf")
# Key, row, new value, part of the message. Images 7, 8 and 9 have two boxes and one relationship each.
WRONG_ROWS: list[tuple[str, int, Any, str]] = [
    ("boxes_1024", 3, [1, 1, 0, 5], r"row 3 of 'boxes_1024' \(image 8\): it is .*5.0\].*above 0"),
    ("boxes_1024", 4, [1, 1, 5, -5], r"row 4 of 'boxes_1024' \(image 9\)"),
    ("boxes_1024", 5, [1, NAN, 5, 5], r"row 5 of 'boxes_1024' \(image 9\): it is .*nan, 5.0.*finite"),
    ("boxes_1024", 0, [1, 1, INF, 5], r"row 0 of 'boxes_1024' \(image 7\)"),
    ("labels", 2, 0, r"row 2 of 'labels' \(image 8\): it is 0, but labels count from 1 to 150"),
    ("labels", 5, 151, r"row 5 of 'labels' \(image 9\): it is 151"),
    ("predicates", 1, 0, r"row 1 of 'predicates' \(image 8\): it is 0, but predicates count from 1 to 50"),
    ("predicates", 2, 51, r"row 2 of 'predicates' \(image 9\): it is 51"),
    (
        "relationships",
        1,
        [1, 3],
        r"row 1 of 'relationships' \(image 8\): it is \[1, 3\], but .* box rows of that image",
    ),
    ("relationships", 0, [0, 2], r"row 0 of 'relationships' \(image 7\)"),
    ("relationships", 2, [6, 5], r"row 2 of 'relationships' \(image 9\)"),
    ("relationships", 0, [-1, 0], r"row 0 of 'relationships' \(image 7\)"),
    ("split", 1, 1, r"row 1 of 'split' \(image 8\): it is 1, but a split is 0 \(train\) or 2 \(test\)"),
    ("img_to_last_box", 1, 1, r"row 1 of 'img_to_last_box' \(image 8\): it is 1, but it must not be before"),
    ("img_to_last_box", 1, -1, r"row 1 of 'img_to_last_box' \(image 8\): it is -1"),
    ("img_to_first_box", 1, -1, r"row 1 of 'img_to_first_box' \(image 8\): it is -1, but images must follow"),
    ("img_to_first_box", 0, 1, r"row 0 of 'img_to_first_box' \(image 7\): it is 1.*without a gap"),
    ("img_to_last_box", 0, 2, r"row 1 of 'img_to_first_box' \(image 8\): it is 2.*without a gap"),
    ("img_to_last_box", 1, 2, r"row 2 of 'img_to_first_box' \(image 9\): it is 4.*without a gap"),
    (
        "img_to_last_box",
        2,
        4,
        r"'img_to_last_box': it ends at row 4, but there are 6 rows.*give every row to an image",
    ),
    ("img_to_last_box", 2, 6, r"'img_to_last_box': it ends at row 6, but there are 6 rows"),
    ("img_to_last_rel", 2, 3, r"'img_to_last_rel': it ends at row 3, but there are 3 rows"),
    ("img_to_last_rel", 0, 1, r"row 1 of 'img_to_first_rel' \(image 8\): it is 1"),
]


@pytest.mark.parametrize(("key", "row", "value", "message"), WRONG_ROWS)
def test_a_wrong_row_is_named(tmp_path: Path, key: str, row: int, value: Any, message: str) -> None:
    photos = [Photo(7), Photo(8), Photo(9)]
    arrays = h5_arrays(photos)
    arrays[key][row] = value
    write_files(tmp_path, arrays, image_data(photos))
    with pytest.raises(ValueError, match=f"{H5}: .*{message}"):
        load_vg150(tmp_path, "trainval")


def test_a_relationship_of_an_image_without_boxes_is_refused(tmp_path: Path) -> None:
    photos = [Photo(7), Photo(8, boxes=(), labels=(), relations=[(0, 0, 1)])]
    write_vg150(tmp_path, photos)
    with pytest.raises(ValueError, match=r"row 1 of 'relationships' \(image 8\)"):
        load_vg150(tmp_path, "trainval")


def test_another_number_of_images_is_refused(tmp_path: Path) -> None:
    for listed in ([7], [7, 8, 9], [7, 1592]):
        write_files(tmp_path, h5_arrays([Photo(7), Photo(8)]), image_data([Photo(i) for i in listed]))
        sound = len(set(listed) - {1592})
        with pytest.raises(
            ValueError,
            match=rf"{H5}: the file: it has 2 images, but the image_data.json beside it has {sound}",
        ):
            load_vg150(tmp_path, "trainval")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"label_to_idx": {name: i for i, name in enumerate(OBJECT_CLASSES)}},
            "'label_to_idx': it does not number VG150's 150",
        ),
        ({"predicate_to_idx": {}}, "'predicate_to_idx': it does not number VG150's 50 names from 1"),
        ({"label_to_idx": None}, "'label_to_idx': it does not number"),
    ],
)
def test_other_names_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    write_vg150(tmp_path, [Photo(7)])
    (tmp_path / "VG-SGG-dicts-with-attri.json").write_text(json.dumps(dicts() | change))
    with pytest.raises(ValueError, match=f"VG-SGG-dicts-with-attri.json: {message}.*Use the file"):
        load_vg150(tmp_path, "trainval")


def test_dicts_that_are_a_list_are_refused(tmp_path: Path) -> None:
    write_vg150(tmp_path, [Photo(7)])
    (tmp_path / "VG-SGG-dicts-with-attri.json").write_text("[]")
    with pytest.raises(ValueError, match="'label_to_idx': it does not number"):
        load_vg150(tmp_path, "trainval")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[{", "is not valid JSON"),
        ("{}", "is not a list of images"),
        ('[{"image_id": 7, "width": 5}]', "record 0: it lacks image_id, width or height: .*'width': 5"),
        ("[3]", "record 0: it lacks image_id"),
        ('[{"image_id": 7, "width": 5, "height": 0}]', "record 0: image_id 7 with width 5 and height 0"),
        ('[{"image_id": 7, "width": 5.0, "height": 5}]', "record 0: .*whole numbers"),
        ('[{"image_id": "7", "width": 5, "height": 5}]', "record 0: image_id '7'"),
        ('[{"image_id": true, "width": 5, "height": 5}]', "record 0: image_id True"),
        ('[{"image_id": 7, "width": true, "height": 5}]', "record 0: image_id 7 with width True"),
        (f'[{{"image_id": {10**20}, "width": 5, "height": 5}}]', "record 0: image_id 1000"),
        (f'[{{"image_id": {-(2**63)}, "width": 5, "height": 5}}]', "record 0: image_id -9223"),
        (f'[{{"image_id": 7, "width": {10**30}, "height": 5}}]', "record 0: image_id 7 with width 1000"),
        (
            f'[{{"image_id": 7, "width": 5, "height": {2**31}}}]',
            "record 0: image_id 7 with width 5 and height 2147",
        ),
        ("[" * 200_000, r"is not valid JSON \(maximum recursion"),
        (
            json.dumps(image_data([Photo(i) for i in (5, 7, 6, 7, 5)])),
            "record 3: image_id 7 occurs in an earlier record",
        ),
    ],
)
def test_a_wrong_image_list_is_named(tmp_path: Path, content: str, message: str) -> None:
    write_vg150(tmp_path, [Photo(7)])
    (tmp_path / "image_data.json").write_text(content)
    with pytest.raises(ValueError, match=rf"image_data\.json:? {message}"):
        load_vg150(tmp_path, "trainval")


# --- registration


@pytest.mark.usefixtures("clean_catalog")
def test_registration_is_lazy_and_its_metadata_complete(tmp_path: Path) -> None:
    register_vg150(NAME, tmp_path / "vg", "test", "own_train")
    register_vg150(NAME, tmp_path / "vg", "test", "own_train")
    metadata = MetadataCatalog.get(NAME)
    assert metadata.thing_classes == list(OBJECT_CLASSES)
    assert metadata.predicate_classes == list(PREDICATE_CLASSES)
    assert (metadata.evaluator_type, metadata.train_dataset) == ("relation", "own_train")
    assert metadata.annotation_file == str(tmp_path / "vg" / H5)
    assert metadata.image_root == str(tmp_path / "vg")
    write_vg150(tmp_path / "vg", split_photos())
    assert ids(DatasetCatalog.get(NAME)) == [10, 12]


@pytest.mark.usefixtures("clean_catalog")
@pytest.mark.parametrize("option", ["keep_empty", "drop_duplicates", "overlapping_only"])
def test_options_are_registered(tmp_path: Path, option: str) -> None:
    options = {option: True}
    register_vg150(NAME, tmp_path, "trainval", **options)
    metadata = MetadataCatalog.get(NAME).as_dict()
    # the published numbers are those of the built-in names
    assert not {"expected_counts", "train_dataset"} & metadata.keys()
    write_vg150(tmp_path, optional_photos())
    found = relations(DatasetCatalog.get(NAME))
    assert found == relations(load_vg150(tmp_path, "trainval", **options))
    assert found != relations(load_vg150(tmp_path, "trainval"))
    with pytest.raises(ValueError, match="is registered already"):
        register_vg150(NAME, tmp_path, "trainval")
