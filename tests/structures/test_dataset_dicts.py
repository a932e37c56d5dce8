from typing import Any

import numpy as np
import pytest
from detectron2.structures import BoxMode

from reldn_d2.structures.dataset_dicts import crowd_flags, entity_boxes, entity_classes, relation_rows


def image(**fields: Any) -> dict[str, Any]:
    annotations = [
        {"bbox": [1, 2, 30, 40], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 4},
        {"bbox": np.array([5.0, 6.0, 7.0, 8.0]), "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0},
    ]
    return {"image_id": 9, "file_name": "a.jpg", "annotations": annotations, "relations": [], **fields}


def test_boxes_of_every_mode_come_out_as_corners() -> None:
    assert entity_boxes(image()).tolist() == [[1, 2, 31, 42], [5, 6, 7, 8]]
    assert entity_classes(image()).tolist() == [4, 0]


def test_sizes_are_added_in_float64() -> None:
    box = [0.1, 0.2, 30.3, 40.4]
    annotation = {"bbox": box, "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0}
    found = entity_boxes(image(annotations=[annotation]))
    assert found.tolist() == [[0.1, 0.2, 0.1 + 30.3, 0.2 + 40.4]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bbox": [0, 0, 9]}, "bbox of annotation 1 .* must be four numbers"),
        ({"bbox": [0, 0, 9, 9, 30]}, "bbox of annotation 1 .* must be four numbers"),
        ({"bbox_mode": BoxMode.XYWH_REL}, "bbox_mode of annotation 1 .* not XYWH_REL"),
        ({"bbox_mode": BoxMode.XYWHA_ABS}, "bbox_mode of annotation 1 .* not XYWHA_ABS"),
        ({"bbox": [0, 0, 9, True]}, "bbox of annotation 1 .* must be four numbers"),
        ({"bbox": [0, 0, 9, "9"]}, "bbox of annotation 1 .* must be four numbers"),
        ({"category_id": 0.5}, "category_id of annotation 1 .* must be an integer, not 0.5"),
        ({"category_id": True}, "category_id of annotation 1 .* must be an integer, not True"),
        ({"iscrowd": "0"}, "iscrowd of annotation 1 .* must be 0 or 1, not '0'"),
        ({"iscrowd": 2}, "iscrowd of annotation 1 .* must be 0 or 1, not 2"),
    ],
)
def test_annotations_that_can_not_be_read_are_named(change: dict[str, Any], message: str) -> None:
    first, second = image()["annotations"]
    broken = image(annotations=[first, second | change])
    with pytest.raises(ValueError, match=message) as error:
        entity_boxes(broken)
        entity_classes(broken)
        crowd_flags(broken)
    assert "a.jpg" in str(error.value)


def test_an_image_without_annotations_has_empty_arrays() -> None:
    empty = image(annotations=[])
    assert entity_boxes(empty).shape == (0, 4)
    assert entity_classes(empty).shape == (0,)


@pytest.mark.parametrize("nothing", [[], np.zeros((0, 3), dtype=np.int64), np.zeros((0,))])
def test_no_relations_are_three_columns(nothing: Any) -> None:
    rows = relation_rows(image(relations=nothing))
    assert rows.shape == (0, 3)
    assert rows.dtype == np.int64


@pytest.mark.parametrize("rows", [[(0, 1, 5), (1, 1, 0)], np.array([[0, 1, 5], [1, 1, 0]], dtype=np.int32)])
def test_lists_and_arrays_are_accepted(rows: Any) -> None:
    found = relation_rows(image(relations=rows))
    assert found.dtype == np.int64
    assert found.tolist() == [[0, 1, 5], [1, 1, 0]]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(0, 1)], "rows of three integers"),
        ([0, 1, 2], "rows of three integers"),
        ([(0.0, 1.0, 2.0)], "rows of three integers"),
        ([(0, True, 3)], "rows of three integers .* type bool"),
        ([(0, 1, 3), (0, 2, 3)], r"row 1 of 'relations' .*\[0, 2, 3\].*2 annotations"),
        ([(-1, 1, 3)], "row 0"),
        ([(0, 1, -1)], "row 0"),
    ],
)
def test_rows_that_do_not_fit_are_named(rows: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        relation_rows(image(relations=rows))
    assert "a.jpg" in str(error.value)


def test_a_dict_without_relations_is_named() -> None:
    dataset_dict = image()
    del dataset_dict["relations"]
    with pytest.raises(ValueError, match=r"a\.jpg.*has no 'relations'"):
        relation_rows(dataset_dict)
