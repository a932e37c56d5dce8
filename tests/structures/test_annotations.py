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
from reldn_d2.structures.dataset_dicts import crowd_flags, entity_boxes, entity_classes, written_annotations

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
    assert isinstance(part, list) and part == expected[cut]
    assert all(one is other for one, other in zip(part, list(whole)[cut], strict=True))


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


@pytest.mark.parametrize(
    ("boxes", "classes", "crowd", "message"),
    [
        ([[0, 0, 1, "1"]], [0], None, "boxes must be numbers"),
        ([[0, 0, 1, True]], [0], None, "boxes must be numbers"),
        ([[0, 0, 1, 1]], [True], None, "classes must be integers"),
        ([[0, 0, 1, 1]], ["0"], None, "classes must be integers"),
        ([[0, 0, 1, 1]], [0], ["0"], "crowd flags must be 0 or 1"),
        ([[0, 0, 1, 1]], [0], [1.0], "crowd flags must be 0 or 1"),
        ([[0, 0, 1, 1]], [0], [2], "crowd flags must be 0 or 1"),
        ([[0, 0, 1, 1]], [0], [None], "crowd flags must be 0 or 1"),
    ],
)
def test_values_of_other_types_are_refused(boxes: Any, classes: Any, crowd: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Annotations(boxes, classes, crowd)


@pytest.mark.parametrize("classes", [[0.5, 1], np.array([1.0, 2.1])])
def test_classes_that_would_be_rounded_are_refused(classes: Any) -> None:
    with pytest.raises(ValueError, match="classes must be integers"):
        Annotations([[0, 0, 1, 1]] * 2, classes)
    assert Annotations([[0, 0, 1, 1]] * 2, np.array([1.0, 2.0])).classes.tolist() == [1, 2]


def test_arrays_are_views() -> None:
    boxes, classes = np.array(BOXES), np.array(CLASSES)
    annotations = Annotations(boxes, classes)
    assert np.shares_memory(annotations.boxes, boxes) and np.shares_memory(annotations.classes, classes)


# --- edits


def test_changes_of_dicts_are_kept(annotations: Annotations) -> None:
    annotations[0]["bbox"][0] = 3.5
    for one in annotations:
        one["category_id"] += 1
    annotations[-1].update(iscrowd=1, segmentation=[[1.0, 2.0, 3.0]])
    annotations[1:2][0]["bbox"] = [1, 2, 3, 4]
    annotations[1]["bbox_mode"] = BoxMode.XYWH_ABS
    assert annotations.boxes.tolist() == [[3.5, 1.0, 20.5, 21.0], [1, 2, 4, 6], [5.0, 5.0, 9.0, 30.0]]
    assert annotations.classes.tolist() == [5, 1, 5]
    assert annotations.crowd is not None and annotations.crowd.tolist() == [False, True, True]
    image = {"image_id": 1, "annotations": annotations}
    assert entity_boxes(image).tolist() == annotations.boxes.tolist()
    assert entity_classes(image).tolist() == [5, 1, 5]
    assert crowd_flags(image).tolist() == [False, True, True]
    assert written_annotations(image).tolist() == [
        [3.5, 1.0, 20.5, 21.0, BoxMode.XYXY_ABS, 5, 0],
        [1, 2, 3, 4, BoxMode.XYWH_ABS, 1, 1],
        [5.0, 5.0, 9.0, 30.0, BoxMode.XYXY_ABS, 5, 1],
    ]
    for kept in (annotations, copy.deepcopy(annotations), pickle.loads(pickle.dumps(annotations))):
        assert kept[-1]["segmentation"] == [[1.0, 2.0, 3.0]] and kept == annotations


def test_a_change_that_would_be_lost_is_an_error(annotations: Annotations) -> None:
    annotations.boxes[0, 0], annotations.classes[0] = 3.5, 1  # kept: there are no dicts yet
    assert (annotations[0]["bbox"][0], annotations[0]["category_id"]) == (3.5, 1)
    for array in (annotations.boxes, annotations.classes, annotations.crowd):
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 0
    with pytest.raises(AttributeError):
        annotations.boxes = np.zeros((3, 4))


@pytest.mark.parametrize("change", [{"bbox": [0, 0, 9]}, {"bbox_mode": 4}, {"category_id": 0.5}])
def test_a_change_that_can_not_be_read_names_the_annotation(
    annotations: Annotations, change: dict[str, Any]
) -> None:
    annotations[1].update(change)
    broken = {"image_id": 7, "file_name": "a.jpg", "annotations": annotations}
    with pytest.raises(ValueError, match=r"image 7 \(a\.jpg\)"):
        entity_boxes(broken)
        entity_classes(broken)
    with pytest.raises(ValueError, match=r"(annotation 1|category_id) of the image"):
        assert len(annotations.boxes) == len(annotations.classes)


EDITS = {
    "class": lambda x, i: x[i].update(category_id=i + 20),
    "box": lambda x, i: x[i].update(bbox=[i, 1.5, i + 9, 8]),
    "corner": lambda x, i: x[i]["bbox"].__setitem__(2, 77.0),
    "mode": lambda x, i: x[i].update(bbox_mode=BoxMode.XYWH_ABS),
    "new key": lambda x, i: x[i].update(segmentation=[[i]]),
    "no flag": lambda x, i: x[i].pop("iscrowd", None),
    "crowd": lambda x, i: x[i].update(iscrowd=1),
    "replace": lambda x, i: x.__setitem__(i, {**x[i], "category_id": 5}),
    "append": lambda x, i: x.append(plain([[0.0, i, 9.0, 30.0]], [i], [False])[0]),
    "insert": lambda x, i: x.insert(i, plain([[i, 0.0, 9.0, 9.0]], [3], [True])[0]),
    "delete": lambda x, i: x.__delitem__(slice(i, i + 1)),
    "look": lambda x, i: list(x),
    "none": lambda x, i: None,
}


@given(
    count=st.integers(0, 4),
    steps=st.lists(st.tuples(st.sampled_from(list(EDITS)), st.integers(0, 9), st.integers(0, 3)), max_size=6),
)
def test_edits_are_those_of_a_list(count: int, steps: list[tuple[str, int, int]]) -> None:
    draws = np.random.default_rng(count)
    boxes, classes, crowd = draws.random((count, 4)), draws.integers(0, 9, count), draws.random(count) < 0.5
    edited: Any = Annotations(boxes, classes, crowd)
    expected = plain(boxes.tolist(), classes.tolist(), crowd)
    for edit, at, copied in steps:
        if expected:
            EDITS[edit](edited, at % len(expected))
            EDITS[edit](expected, at % len(expected))
        duplicates = [lambda x: x, copy.deepcopy, copy.copy, lambda x: pickle.loads(pickle.dumps(x))]
        edited = duplicates[copied](edited)
        images = [{"image_id": 0, "annotations": x} for x in (edited, expected)]
        for read in (entity_boxes, entity_classes, crowd_flags, written_annotations):
            found, right = map(read, images)
            assert found.dtype == right.dtype and found.tolist() == right.tolist()
        assert edited.boxes.tolist() == entity_boxes(images[1]).tolist()
        assert len(edited) == len(expected) and edited == expected and expected == edited
    assert repr(list(edited)) == repr(expected)  # 1 is not 1.0


def test_looking_at_a_data_set_makes_no_dicts(annotations: Annotations) -> None:
    image = {"image_id": 1, "annotations": annotations}
    for read in (entity_boxes, entity_classes, crowd_flags, written_annotations, repr):
        read(image)
    assert len(annotations) == 3 and annotations and annotations == plain()
    assert annotations == copy.deepcopy(annotations) == pickle.loads(pickle.dumps(annotations))
    assert annotations.handed_out is None


def test_dicts_that_were_only_looked_at_are_serialised_as_arrays(annotations: Annotations) -> None:
    untouched = len(pickle.dumps(annotations))
    list(annotations)
    assert annotations.handed_out is not None and len(pickle.dumps(annotations)) == untouched
    assert pickle.loads(pickle.dumps(annotations)).handed_out is None


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


def test_sums_and_copies_are_lists_of_the_same_dicts() -> None:
    annotations = Annotations([[0, 0, 1, 1], [2, 2, 3, 3]], [4, 5])
    first, second = annotations
    other = {"category_id": 6}
    others = [other]
    assert annotations + others == [first, second, other] and others + annotations == [other, first, second]
    assert annotations.copy()[0] is first
