import copy
import logging
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.data import (
    DatasetCatalog,
    DatasetFromList,
    DatasetMapper,
    MetadataCatalog,
    build,
    print_instances_class_histogram,
)
from detectron2.data.datasets.coco import convert_to_coco_dict
from detectron2.data.samplers import RepeatFactorTrainingSampler
from detectron2.structures import BoxMode
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from reldn_d2.structures.annotations import Annotations

BOXES = [[0.0, 1.0, 20.5, 21.0], [2.0, 3.0, 12.0, 13.0], [5.0, 5.0, 9.0, 30.0]]
CLASSES = [4, 0, 4]
CROWD = [False, True, False]
NAME = "test_annotations"


def plain(boxes: Any = BOXES, classes: Any = CLASSES, crowd: Any = CROWD) -> list[dict[str, Any]]:
    """The list of dicts that `Annotations` replaces."""
    return [
        {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": category, "iscrowd": int(is_crowd)}
        for box, category, is_crowd in zip(boxes, classes, crowd, strict=True)
    ]


@pytest.fixture
def annotations() -> Annotations:
    return Annotations(BOXES, CLASSES, CROWD)


# --- a list


def test_it_reads_like_the_list(annotations: Annotations) -> None:
    expected = plain()
    assert len(annotations) == 3
    assert list(annotations) == [annotations[i] for i in range(3)] == expected
    assert [annotations[i] for i in (-1, -2, -3)] == [expected[i] for i in (-1, -2, -3)]
    assert annotations[np.int64(1)] == expected[1]
    assert list(reversed(annotations)) == expected[::-1]
    assert expected[2] in annotations and {**expected[2], "iscrowd": 1} not in annotations
    assert annotations.index(expected[1]) == 1
    assert repr(annotations) == f"Annotations({expected})"


@pytest.mark.parametrize("index", [3, -4])
def test_an_index_outside_is_an_error(annotations: Annotations, index: int) -> None:
    with pytest.raises(IndexError):
        annotations[index]


@given(
    count=st.integers(0, 5),
    with_crowd=st.booleans(),
    cut=st.builds(slice, *[st.none() | st.integers(-7, 7)] * 2, st.sampled_from([None, 1, 2, -1, -3])),
)
def test_a_slice_is_that_of_the_list(count: int, with_crowd: bool, cut: slice) -> None:
    draws = np.random.default_rng(count)
    boxes, classes, crowd = draws.random((count, 4)), draws.integers(0, 9, count), draws.random(count) < 0.5
    whole = Annotations(boxes, classes, crowd if with_crowd else None)
    expected = plain(boxes.tolist(), classes.tolist(), crowd if with_crowd else [False] * count)
    part = whole[cut]
    assert isinstance(part, Annotations) and (part.crowd is not None) == with_crowd
    assert list(part) == expected[cut] and [part[i] for i in range(len(part))] == expected[cut]


def test_numbers_are_those_of_json(annotations: Annotations) -> None:
    for one in (*annotations, annotations[0]):
        assert {type(x) for x in one["bbox"]} == {float}
        assert (type(one["category_id"]), type(one["iscrowd"])) == (int, int)
        assert one["bbox_mode"] is BoxMode.XYXY_ABS


def test_without_flags_nothing_is_a_crowd() -> None:
    annotations = Annotations(BOXES, CLASSES)
    assert (
        [one["iscrowd"] for one in annotations] == [annotations[i]["iscrowd"] for i in range(3)] == [0, 0, 0]
    )


def test_it_equals_a_list_of_the_same_dicts_and_no_other(annotations: Annotations) -> None:
    assert annotations == plain() and plain() == annotations
    assert annotations == Annotations(BOXES, CLASSES, CROWD)
    assert annotations != plain()[:2] and annotations != plain(classes=[4, 1, 4])
    assert annotations != Annotations(BOXES, CLASSES)
    assert annotations != Annotations(np.array(BOXES) + 1, CLASSES, CROWD)
    assert annotations != 3
    assert Annotations(BOXES, CLASSES) == Annotations(BOXES, CLASSES, [False] * 3)


def test_an_empty_one_is_an_empty_list() -> None:
    for crowd in (None, []):
        empty = Annotations([], [], crowd)
        assert len(empty) == 0 and list(empty) == [] and empty == [] and not empty
        assert empty.boxes.shape == (0, 4) and empty.classes.dtype == np.int64


@pytest.mark.parametrize(
    "arguments",
    [(BOXES, CLASSES[:2]), (BOXES[:2], CLASSES), (BOXES, CLASSES, CROWD[:2]), (BOXES, CLASSES, [True] * 4)],
)
def test_different_lengths_are_refused(arguments: Any) -> None:
    with pytest.raises(ValueError, match=r"\d boxes, \d classes, \d crowd flags"):
        Annotations(*arguments)


def test_arrays_are_views_and_changing_a_dict_changes_nothing() -> None:
    boxes, classes = np.array(BOXES), np.array(CLASSES)
    annotations = Annotations(boxes, classes)
    assert np.shares_memory(annotations.boxes, boxes) and np.shares_memory(annotations.classes, classes)
    annotations[0]["bbox"][0] = 99.0
    next(iter(annotations)).update(category_id=99)
    assert annotations == Annotations(BOXES, CLASSES)


@pytest.mark.parametrize("crowd", [None, CROWD])
@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, *(lambda x, p=p: pickle.loads(pickle.dumps(x, p)) for p in (2, 5))]
)
def test_copies_are_equal_and_their_own(crowd: Any, duplicate: Callable[[Any], Any]) -> None:
    annotations = Annotations(BOXES, CLASSES, crowd)
    other = duplicate(annotations)
    assert other == annotations and isinstance(other, Annotations)
    other.boxes[0] = 0
    other.classes[:] = 7
    assert annotations == Annotations(BOXES, CLASSES, crowd)


def test_a_copy_of_a_view_does_not_take_the_whole_array_along() -> None:
    part = Annotations(np.zeros((1000, 4))[3:5], np.zeros(1000, dtype=np.int64)[3:5])
    assert len(pickle.dumps(part)) < 1000
    assert copy.deepcopy(part).boxes.base is None or copy.deepcopy(part).boxes.base.nbytes < 1000


# --- Detectron2's functions


def images(compact: bool, file_name: str = "") -> list[dict[str, Any]]:
    """Three images. The second has only crowds, and the third has no annotation."""
    contents = [(BOXES, CLASSES, CROWD), (BOXES, [1, 2, 3], [True] * 3), ([], [], [])]
    return [
        {
            "file_name": file_name,
            "image_id": image_id,
            "width": 40,
            "height": 50,
            "annotations": Annotations(*content) if compact else plain(*content),
        }
        for image_id, content in enumerate(contents)
    ]


def test_detectron2_filters_images_with_only_crowds() -> None:
    kept = build.filter_images_with_only_crowd_annotations(images(True))
    assert [image["image_id"] for image in kept] == [0]


def test_detectron2_prints_the_histogram_of_classes(caplog: pytest.LogCaptureFixture) -> None:
    names = [f"class {i}" for i in range(6)]
    with caplog.at_level(logging.INFO):
        for compact in (True, False):
            print_instances_class_histogram(images(compact), names)
    # Detectron2 logs equal messages once, so both forms give the same. Two of class 4 are no crowds.
    (message,) = caplog.messages
    assert " class 4   | 2 " in message


def test_detectron2_computes_repeat_factors() -> None:
    first, second = (
        RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(images(compact)[:2], 0.9)
        for compact in (True, False)
    )
    torch.testing.assert_close(first, second)
    assert (first > 1).all()


@pytest.mark.parametrize("serialised", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_detectron2_maps_images(tmp_path: Path, serialised: bool, training: bool) -> None:
    file_name = str(tmp_path / "a.png")
    Image.new("RGB", (40, 50)).save(file_name)
    mapper = DatasetMapper(training, augmentations=[], image_format="BGR")
    for compact, expected in zip(
        *(DatasetFromList(images(c, file_name), serialize=serialised) for c in (True, False)), strict=True
    ):
        found, other = mapper(compact), mapper(expected)
        assert found.keys() == other.keys() and ("instances" in found) == training
        if training:
            assert len(found["instances"]) == len(other["instances"])
            torch.testing.assert_close(found["instances"].gt_boxes.tensor, other["instances"].gt_boxes.tensor)
            torch.testing.assert_close(found["instances"].gt_classes, other["instances"].gt_classes)


@pytest.fixture
def registered() -> Iterator[list[bool]]:
    """A list whose only element says which form the data set NAME has."""
    compact = [True]
    DatasetCatalog.register(NAME, lambda: images(compact[0]))
    MetadataCatalog.get(NAME).set(thing_classes=[f"class {i}" for i in range(6)])
    yield compact
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)


def test_detectron2_converts_to_coco(registered: list[bool]) -> None:
    found = convert_to_coco_dict(NAME)
    registered[0] = False
    expected = convert_to_coco_dict(NAME)
    for key in ("images", "annotations", "categories"):
        assert found[key] == expected[key]
    assert [one["iscrowd"] for one in found["annotations"]] == [0, 1, 0, 1, 1, 1]
    assert found["annotations"][0]["bbox"] == [0, 1, 20.5, 20]
