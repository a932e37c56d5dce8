from typing import Any

import numpy as np
import pytest
from detectron2.structures import BoxMode
from hypothesis import given
from hypothesis import strategies as st

from reldn_d2.data.arrays import check_vocabulary, dataset_arrays
from tests.builders.dataset_images import compact, image, images

BOX = (0, 0, 4, 4)


@given(st.lists(images(), max_size=4))
def test_every_image_is_found_again(data: list[dict[str, Any]]) -> None:
    arrays = dataset_arrays(data)
    assert len(arrays.first_entity) == len(arrays.first_relation) == len(data) + 1
    for i, one in enumerate(data):
        start, end = arrays.first_entity[i : i + 2]
        assert arrays.boxes[start:end].tolist() == [list(a["bbox"]) for a in one["annotations"]]
        assert arrays.classes[start:end].tolist() == [a["category_id"] for a in one["annotations"]]
        rows = arrays.relations[slice(*arrays.first_relation[i : i + 2])]
        assert [(s - start, o - start, p) for s, o, p in rows] == [tuple(row) for row in one["relations"]]
    assert arrays.first_entity[-1] == len(arrays.boxes) == len(arrays.classes)
    assert arrays.first_relation[-1] == len(arrays.relations)


def test_a_worked_example() -> None:
    data = [
        image([BOX], [2], []),
        image([], [], []),
        image([BOX, (1, 1, 2, 2)], [0, 1], [(1, 0, 5), (1, 1, 3)]),
    ]
    for one in (data, [compact(x) for x in data]):
        arrays = dataset_arrays(one)
        assert arrays.boxes.tolist() == [[0, 0, 4, 4], [0, 0, 4, 4], [1, 1, 2, 2]]
        assert arrays.classes.tolist() == [2, 0, 1]
        assert arrays.first_entity.tolist() == [0, 1, 1, 3]
        assert arrays.relations.tolist() == [[2, 1, 5], [2, 2, 3]]
        assert arrays.first_relation.tolist() == [0, 0, 0, 2]


@pytest.mark.parametrize("data", [[], [image([], [], [])]], ids=["no image", "an empty image"])
def test_types_and_shapes_stay_without_entities(data: list[dict[str, Any]]) -> None:
    arrays = dataset_arrays(data)
    assert (arrays.boxes.shape, arrays.boxes.dtype) == ((0, 4), np.float64)
    assert (arrays.classes.shape, arrays.classes.dtype) == ((0,), np.int64)
    assert (arrays.relations.shape, arrays.relations.dtype) == ((0, 3), np.int64)
    assert arrays.first_entity.tolist() == arrays.first_relation.tolist() == [0] * (len(data) + 1)
    assert arrays.first_entity.dtype == arrays.first_relation.dtype == np.int64


def test_the_images_stay_as_they_are() -> None:
    data = [compact(image([BOX, BOX], [0, 1], [(0, 1, 1)])) for _ in range(2)]
    arrays = dataset_arrays(data)
    arrays.boxes[:] = arrays.classes[:] = arrays.relations[:] = 9
    for one in data:
        assert one["relations"].tolist() == [[0, 1, 1]]
        assert one["annotations"].boxes.tolist() == [list(BOX)] * 2
        assert one["annotations"].classes.tolist() == [0, 1]


def test_boxes_of_another_mode_are_converted_and_other_integers_are_accepted() -> None:
    one = image([(2, 3, 4, 5)], [0], np.zeros((1, 3), dtype=np.uint8))
    one["annotations"][0]["bbox_mode"] = BoxMode.XYWH_ABS
    arrays = dataset_arrays([one])
    assert arrays.boxes.tolist() == [[2, 3, 6, 8]]
    assert arrays.relations.tolist() == [[0, 0, 0]] and arrays.relations.dtype == np.int64


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [(0, 1, 0), (0, 2, 0)],
            r"row 1 of 'relations' of image 7 .* is \[0, 2, 0\], but the image has 2 annotations",
        ),
        ([(2, 0, 0)], r"row 0 .* image 7 .*\[2, 0, 0\]"),
        ([(-1, 0, 0)], r"row 0 .* image 7 .*\[-1, 0, 0\]"),
        ([(0, -1, 0)], r"row 0 .* image 7 .*\[0, -1, 0\]"),
        ([(0, 1, -1)], r"row 0 .* image 7 .*\[0, 1, -1\]"),
        ([(0, 1)], r"of image 7 .* must be rows of three integers"),
        ([(0.0, 1.0, 0.0)], r"of image 7 .* must be rows of three integers"),
        (np.zeros((1, 1, 3), dtype=np.int64), r"of image 7 .* must be rows of three integers"),
    ],
)
@pytest.mark.parametrize("as_array", [False, True])
def test_rows_that_do_not_fit_their_image_are_named(rows: Any, message: str, as_array: bool) -> None:
    """A later image may have the entity that this image lacks."""
    wrong = image([BOX] * 2, [0, 0], np.array(rows) if as_array else rows, image_id=7)
    data = [
        image([BOX], [0], [(0, 0, 0)], 6),
        image([], [], [], 5),
        wrong,
        image([BOX] * 9, [0] * 9, [(8, 8, 8)], 8),
    ]
    with pytest.raises(ValueError, match=message):
        dataset_arrays(data)


def test_an_image_without_rows_is_named() -> None:
    wrong = image([BOX], [0], [], image_id=7)
    del wrong["relations"]
    with pytest.raises(ValueError, match=r"image 7 .*has no 'relations'"):
        dataset_arrays([image([], [], [], 6), wrong])


@pytest.mark.parametrize(
    ("classes", "predicate", "message"),
    [
        ([0, 3], 0, r"image 7 .*category_id 3, outside \[0, 3\)"),
        ([-1, 0], 0, r"image 7 .*category_id -1, outside \[0, 3\)"),
        ([0, 0], 2, r"image 7 .*predicate 2, outside \[0, 2\)"),
    ],
)
def test_labels_without_a_name_are_named(classes: list[int], predicate: int, message: str) -> None:
    sound = image([BOX] * 2, [0, 2], [(0, 1, 1)], 6)
    data = [sound, image([], [], [], 5), image([BOX] * 2, classes, [(0, 1, predicate)], 7), sound]
    with pytest.raises(ValueError, match=message):
        check_vocabulary(dataset_arrays(data), data, 3, 2)
    check_vocabulary(dataset_arrays([sound]), [sound], 3, 2)
