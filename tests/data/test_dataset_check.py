"""The checker finds, counts and names each kind of problem, and never raises an error."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detectron2.structures import BoxMode
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from reldn_d2.data import parse_vrd_annotations
from reldn_d2.data.arrays import is_repeat
from reldn_d2.data.checking.checks import DatasetCheck, check_dataset, check_names, check_pictures
from reldn_d2.data.checking.counts import Spread
from reldn_d2.data.checking.problems import KINDS, NUM_RECORDS, images_with_errors
from reldn_d2.data.checking.unchecked_arrays import unchecked_arrays
from reldn_d2.structures.annotations import Annotations
from tests.builders.checked_images import (
    BOXES,
    HEIGHT,
    NUM_CLASSES,
    NUM_PREDICATES,
    RELATIONS,
    WIDTH,
    annotation,
    image,
    with_box,
)

NAN = float("nan")
PICTURE_KINDS = {"missing_image", "unreadable_image", "image_size"}
# Kinds of tests/data/test_picture_notes.py and tests/data/test_refusals.py.
OTHER_KINDS = {
    "same_picture",
    "shared_picture",
    "turned_picture",
    "several_pictures",
    "thin_picture",
    "refused",
}

# Kind of problem -> changes of the second of three images, and the start of the named record.
DAMAGED: dict[str, tuple[dict[str, Any], str]] = {
    "malformed": (image(2, annotations=None), "image 2: annotations is None"),
    "repeated_image_id": (
        image("1", file_name="other.png"),
        "image '1': has the id of the image at position 0",
    ),
    "repeated_file": (
        image(2, file_name=image(1)["file_name"]),
        f"image 2: {image(1)['file_name']}, also of the image at position 0",
    ),
    "box_not_finite": (
        image(2, annotations=with_box([1, 2, NAN, 4])),
        "image 2, annotation 1: box [1.0, 2.0, nan",
    ),
    "box_order": (image(2, annotations=with_box([30, 10, 10, 28])), "image 2, annotation 1: box [30.0,"),
    "empty_box": (image(2, annotations=with_box([10, 10, 30, 10])), "image 2, annotation 1: box [10.0,"),
    "box_outside": (
        image(2, annotations=with_box([10, 10, 30, 31])),
        "image 2, annotation 1: box [10.0, 10.0, 30.0, 31.0] of 40 x 30 pixels",
    ),
    "box_far_outside": (
        image(2, annotations=with_box([10, 10, 30, 33.5])),
        "image 2, annotation 1: box [10.0, 10.0, 30.0, 33.5] of 40 x 30 pixels",
    ),
    "unknown_class": (
        image(2, annotations=[*image()["annotations"][:2], annotation(BOXES[2], NUM_CLASSES)]),
        "image 2, annotation 2: class 3 of 3",
    ),
    "unknown_verified_class": (image(2, verified_classes=[0, -1]), "image 2: class -1 of 3"),
    "dangling_id": (
        image(2, relations=[[0, 1, 0], [3, 0, 1]]),
        "image 2, relation 1: [3, 0, 1] in an image of 3 annotations",
    ),
    "unknown_predicate": (
        image(2, relations=[[0, 1, 0], [0, 1, 2]]),
        "image 2, relation 1: [0, 1, 2], predicate 2 of 2",
    ),
    "self_relation": (image(2, relations=[[0, 1, 0], [1, 1, 0]]), "image 2, relation 1: [1, 1, 0]"),
    "repeated_relation": (
        image(2, relations=[[0, 1, 0], [0, 1, 1], [0, 1, 0]]),
        "image 2, relation 2: [0, 1, 0] again",
    ),
    "repeated_entity": (
        image(2, annotations=[*image()["annotations"], annotation(BOXES[1], 1)]),
        "image 2, annotation 3: class 1, box [10.0,",
    ),
    "box_changed": (
        image(2, changed_boxes=np.array([2])),
        "image 2, annotation 2: now box [32.0, 1.0, 39.0, 9.0] of 40 x 30 pixels",
    ),
    "no_relation": (image(2, relations=[]), "image 2: boxes: 3"),
}


def check(dataset_dicts: list[Any], expected: dict[str, int] | None = None) -> DatasetCheck:
    return check_dataset(dataset_dicts, NUM_CLASSES, NUM_PREDICATES, expected)


def counts(found: DatasetCheck) -> dict[str, int]:
    return {problem.kind: problem.count for problem in found.problems}


def test_a_valid_data_set_has_no_problem() -> None:
    found = check([image(1), image(2)], {"images": 2, "relationships": 4, "images_without_relationships": 0})
    assert found.problems == []
    assert images_with_errors(found.problems) == set()


def test_an_empty_data_set_has_no_problem() -> None:
    found = check([])
    assert found.problems == []
    assert found.summary.images == found.summary.entities == found.summary.relationships == 0
    assert found.summary.entities_per_image == Spread(0, 0.0, 0)
    assert found.summary.class_counts.tolist() == [0] * NUM_CLASSES


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_problem_is_found_once_and_named(kind: str) -> None:
    damaged, text = DAMAGED[kind]
    (problem,) = check([image(1), damaged, image(3)]).problems
    assert (problem.kind, problem.count, problem.images.tolist()) == (kind, 1, [1])
    (record,) = problem.records
    assert str(record).startswith(text)
    assert record.image == 1
    assert images_with_errors([problem]) == ({1} if KINDS[kind].is_error else set())


def test_every_kind_of_problem_is_tested() -> None:
    others = {"one_box", "counts", "similar_names", "box_units", "box_scale", "box_shares"}
    others |= {"no_images", "crowd", "crowd_relation", "malformed_detections", "detection", "detection_units"}
    assert {*KINDS} - {*DAMAGED} == PICTURE_KINDS | OTHER_KINDS | others


def test_names_that_are_equal_or_differ_only_in_case_or_spaces_are_a_note() -> None:
    assert check_names(["person", "cup"], ["person", "next to"]) == []
    (problem,) = check_names(["person", "cup", "Person"], ["next to", "next  To ", "on", "on"])
    assert (problem.kind, problem.is_error) == ("similar_names", False)
    found = [str(record) for record in problem.records]
    predicates = ["predicate 'next  To ' and 'next to'", "predicate 'on' and 'on'"]
    assert found == ["entity class 'Person' and 'person'", *predicates]


def test_images_with_one_box_or_none_are_reported() -> None:
    one = image(2, annotations=[annotation(BOXES[0], 0)], relations=[[0, 0, 1]])
    found = check([image(1), one, image(3, annotations=[], relations=[])])
    assert counts(found) == {"one_box": 2, "no_relation": 1, "self_relation": 1}
    assert [str(record) for record in found.problems[0].records] == ["image 2: boxes: 1", "image 3: boxes: 0"]


def test_counts_that_differ_from_the_expected_ones_are_named() -> None:
    expected = {"images": 2, "relationships": 5, "images_without_relationships": 1}
    (problem,) = check([image(1), image(2)], expected).problems
    assert (problem.kind, problem.count) == ("counts", 2)
    assert [str(record) for record in problem.records] == [
        "relationships: 4, not 5",
        "images without relationships: 0, not 1",
    ]


def test_an_unknown_expected_count_is_a_problem() -> None:
    (problem,) = check([image()], {"imagse": 1}).problems
    assert str(problem.records[0]) == "imagse: not known, not 1"


def test_a_box_outside_by_rounding_is_no_problem() -> None:
    sticking_out = [-0.0005, 0, WIDTH + 0.0005, HEIGHT]
    assert check([image(annotations=with_box(sticking_out))]).problems == []
    assert counts(check([image(annotations=with_box([-0.002, 0, 9, 9]))])) == {"box_outside": 1}


@pytest.mark.parametrize(
    ("box", "kind"),
    [
        *((box, "box_outside") for box in ([-1, 0, 9, 9], [0, -1, 9, 9], [0, 0, 41, 9], [0, 0, 9, 31])),
        *((box, "box_outside") for box in ([-4, 0, 9, 9], [0, -3, 9, 9], [0, 0, 44, 9], [0, 0, 9, 33])),
        *((box, "box_far_outside") for box in ([-4.1, 0, 9, 9], [0, -3.1, 9, 9], [0, 0, 44.1, 9])),
        *((box, "box_far_outside") for box in ([0, 0, 9, 33.1], [-9, -9, -1, -1])),
    ],
)
def test_a_box_may_stick_out_on_any_side(box: list[float], kind: str) -> None:
    assert counts(check([image(annotations=with_box(box))])) == {kind: 1}


def test_a_pixel_is_never_far_outside() -> None:
    small = image(width=5, height=5, annotations=[annotation([-1, 0, 6, 5], 0), annotation([0, 0, 5, 5], 1)])
    assert counts(check([{**small, "relations": [[0, 1, 0]]}])) == {"box_outside": 1}


def scaled(images: int, x: float, y: float, *, mode: BoxMode = BoxMode.XYXY_ABS) -> list[dict[str, Any]]:
    """Images whose boxes are multiplied by x and y."""
    boxes = [[box[0] * x, box[1] * y, box[2] * x, box[3] * y] for box in BOXES]
    if mode == BoxMode.XYWH_ABS:
        boxes = [[x0, y0, x1 - x0, y1 - y0] for x0, y0, x1, y1 in boxes]
    return [
        image(i, annotations=[annotation(box, k, mode) for k, box in enumerate(boxes)]) for i in range(images)
    ]


@pytest.mark.parametrize("mode", [BoxMode.XYXY_ABS, BoxMode.XYWH_ABS])
@pytest.mark.parametrize(
    ("images", "x", "y", "texts"),
    [
        (1, 1 / WIDTH, 1 / HEIGHT, ["shares of the width", "shares of the height"]),
        (1, 2 / WIDTH, 1, ["shares of the width"]),
        (3, 1, 1 / HEIGHT, ["shares of the height"]),
        (20, 0.8, 0.8, ["0.78 of the width and 0.75 of the height: they may be pixels of a smaller"]),
        (20, 0.5, 0.5, ["pixels of a smaller copy"]),
        (19, 0.5, 0.5, []),  # too few to tell
        (20, 1, 0.5, []),  # only one side
        (20, 0.9, 0.9, []),
    ],
)
def test_units_are_named_if_the_whole_data_set_says_so(
    images: int, x: float, y: float, mode: BoxMode, texts: list[str]
) -> None:
    problems = check(scaled(images, x, y, mode=mode)).problems
    found = [str(record) for problem in problems for record in problem.records]
    kind = "box_scale" if "smaller" in "".join(texts) else "box_units"
    assert [problem.kind for problem in problems] == [kind] * bool(texts)
    assert all(problem.is_error == (kind == "box_units") for problem in problems)
    assert len(found) == len(texts) and all(text in line for text, line in zip(texts, found, strict=True))


def test_a_single_larger_box_says_that_boxes_are_pixels() -> None:
    widths = scaled(30, 2 / WIDTH, 1)
    assert "box_units" not in counts(check([*widths, image(99)]))
    centred = [image(i, annotations=[annotation([9, 9, 30, 22], 0)] * 2, relations=[]) for i in range(30)]
    assert not {"box_units", "box_scale"} & counts(check(centred)).keys()  # a camera that looks at the middle
    tiny = image(width=9, height=9, annotations=[annotation([0, 0, 1, 1], 0), annotation([1, 1, 2, 2], 1)])
    assert counts(check([{**tiny, "relations": [[0, 1, 0]]}])) == {}


def test_images_in_shares_among_others_are_counted_and_named() -> None:
    shares = scaled(3, 1 / WIDTH, 1 / HEIGHT)
    found = check([image(90), *shares, image(91), image(92)])
    assert counts(found) == {"box_shares": 3}
    assert found.problems[0].images.tolist() == [1, 2, 3] and not found.problems[0].is_error
    assert str(found.problems[0].records[0]).startswith("image 0: all 3 boxes, the first being box [0.025,")


@pytest.mark.parametrize(
    ("boxes", "width", "is_named"),
    [
        ([[0, 0, 1, 1]], WIDTH, True),
        ([[0, 0, 1, 1]], 15, False),  # too small an image to tell
        ([[0.5, 0.5, 2, 2]], WIDTH, True),
        ([[0.5, 0.5, 2.1, 2]], WIDTH, False),
        ([[0, 0, 1, 9]], WIDTH, False),  # one thin box at an edge
        ([[0, 0, 1, 9], [0, 5, 1, 20]], WIDTH, True),
        ([[0, 0, 1, 1], [4, 4, 9, 9]], WIDTH, False),
        ([[0, 0, 0, 0], [0, 0, 0, 0]], WIDTH, False),
    ],
)
def test_all_boxes_of_an_image_say_that_they_are_shares(
    boxes: list[list[float]], width: int, is_named: bool
) -> None:
    given = image(2, width=width, annotations=[annotation(box, 0) for box in boxes], relations=[])
    assert ("box_shares" in counts(check([image(1), given]))) == is_named


@pytest.mark.parametrize("compact", [False, True])
def test_crowds_are_counted_and_leave_images_without_relationships(compact: bool) -> None:
    def with_crowds(image_id: int, *crowds: int) -> dict[str, Any]:
        flags = [int(row in crowds) for row in range(len(BOXES))]
        listed = [{**one, "iscrowd": flag} for one, flag in zip(image()["annotations"], flags, strict=True)]
        arrays = Annotations(BOXES, [0, 1, 2], flags)
        return image(image_id, annotations=arrays if compact else listed)

    # relationships join 0 with 1 and 0 with 2
    found = check([with_crowds(1, 1), with_crowds(2, 0), with_crowds(3, 1, 2), with_crowds(4)])
    assert counts(found) == {"crowd": 4, "crowd_relation": 5, "one_box": 1, "no_relation": 2}
    of_kind = {problem.kind: problem for problem in found.problems}
    assert of_kind["crowd"].images.tolist() == of_kind["crowd_relation"].images.tolist() == [0, 1, 2]
    assert of_kind["no_relation"].images.tolist() == [1, 2] and of_kind["one_box"].images.tolist() == [2]
    assert str(of_kind["crowd"].records[0]) == (
        "image 1, annotation 1: class 1, box [10.0, 10.0, 30.0, 28.0] of 40 x 30 pixels"
    )
    assert not any(problem.is_error for problem in found.problems)


def test_only_the_first_records_are_kept() -> None:
    many = [image(i, relations=[[0, 1, 7], [1, 0, 7]]) for i in range(10)]
    (problem,) = check(many).problems
    assert (problem.count, len(problem.images)) == (20, 10)
    assert len(problem.records) == NUM_RECORDS
    assert [(record.image_id, record.row) for record in problem.records[:3]] == [(0, 0), (0, 1), (1, 0)]


def test_errors_come_before_notes() -> None:
    kinds = [problem.kind for problem in check([damaged for damaged, _ in DAMAGED.values()]).problems]
    assert kinds == [kind for kind in KINDS if kind in kinds]
    is_note = [not KINDS[kind].is_error for kind in KINDS]
    assert is_note == sorted(is_note)


def with_second(**changed: Any) -> dict[str, Any]:
    """An image with other values of its second annotation."""
    first, second, third = image()["annotations"]
    return image(2, annotations=[first, second | changed, third])


MALFORMED: list[tuple[Any, str]] = [
    *(
        (with_second(iscrowd=flag), "the iscrowd of annotation 1 of the image must be 0 or 1, not")
        for flag in ("0", "", 2, -1, None, 1.0, 0.0, NAN, [0], np.float64(1), np.array([1]), np.str_("1"))
    ),
    *(
        (with_second(category_id=value), "annotation 1: category_id is")
        for value in (True, np.True_, 1.0, 1.5, np.float32(1), "1", None, [1], np.array(True))
    ),
    *(
        (with_second(bbox=box), "annotation 1: bbox is")
        for box in ([True, 2, 3, 4], (1, 2, 3, np.True_), np.ones(4, dtype=bool), ["1", 2, 3, 4])
    ),
    (image(2, annotations=[annotation([False, False, True, True], 0)] * 2), "annotation 0: bbox is [False"),
    (with_second(bbox_mode=True), "annotation 1: bbox_mode is True"),
    (image(2, relations=[[0, 1, True]]), "relations is [[0, 1, True]], which holds truth values"),
    (image(2, relations=[(0, 1, 0), (np.True_, 0, 0)]), "relations is [(0, 1, 0), (np.True_, 0, 0)]"),
    (image(2, relations=[[True, False, True]]), "relations has shape (1, 3) and type bool"),
    (image(2, relations=[[0, 1, 1.0]]), "relations has shape (1, 3) and type float64"),
    (image(2, relations=[[0, 1, "1"]]), "relations has shape (1, 3) and type <U21"),
    (None, "it is a NoneType, not a dict"),
    ([], "it is a list, not a dict"),
    ({}, "it lacks file_name, height, width, image_id, annotations, relations"),
    ({k: v for k, v in image(2).items() if k != "relations"}, "it lacks relations"),
    (image(2.0), "image_id is 2.0"),
    (image(True), "image_id is True"),
    (image(2, file_name=7), "file_name is 7"),
    (image(2, file_name=""), "file_name is ''"),
    (image(2, width=40.0), "width and height are (40.0, 30)"),
    (image(2, height=0), "width and height are (40, 0)"),
    (image(2, height=10**30), "width and height are"),
    (image(2, width=None), "width and height are (None, 30)"),
    (image(2, annotations={0: 1}), "annotations is {0: 1}"),
    (image(2, annotations=[None, 1]), "annotation 0 has no bbox"),
    (image(2, annotations=["bbox"]), "annotation 0 has no bbox"),
    (image(2, annotations=with_box([1, 2, 3])), "annotation 1: bbox is [1, 2, 3], not four numbers"),
    (image(2, annotations=with_box([1, [2], 3, 4])), "annotation 1: bbox is [1, [2], 3, 4]"),
    (image(2, annotations=with_box("1234")), "annotation 1: bbox is '1234'"),
    (image(2, annotations=with_box(["1", "2", "3", "4"])), "annotation 1: bbox is ['1',"),
    (image(2, annotations=with_box(None)), "annotation 1: bbox is None"),
    (image(2, annotations=with_box(5)), "annotation 1: bbox is 5"),
    (
        image(2, annotations=[annotation(BOXES[0], 1.5), annotation(BOXES[1], 1)]),
        "annotation 0: category_id is 1.5",
    ),
    (image(2, annotations=[annotation(BOXES[0], "cup")]), "annotation 0: category_id is 'cup'"),
    (image(2, annotations=[{"bbox": BOXES[0], "category_id": 0}]), "annotation 0 has no bbox_mode"),
    (
        image(2, annotations=[annotation(BOXES[0], 0), annotation(BOXES[1], 0, BoxMode.XYXY_REL)]),
        "annotation 1: bbox_mode is 2",
    ),
    (image(2, annotations=[annotation(BOXES[0], 0, None)]), "annotation 0: bbox_mode is None"),
    (image(2, relations=None), "relations has shape () and type object"),
    (image(2, relations=[[0, 1]]), "relations has shape (1, 2)"),
    (image(2, relations=[0, 1, 0]), "relations has shape (3,)"),
    (image(2, relations=[[0.0, 1.0, 0.0]]), "relations has shape (1, 3) and type float64"),
    (image(2, relations=[[0, 1, 0], [0, 1]]), "relations is [[0, 1, 0], [0, 1]], whose rows differ"),
    (image(2, relations="0 1 0"), "relations has shape ()"),
    (image(2, verified_classes=[0.5]), "verified_classes has shape (1,) and type float64"),
    (image(2, verified_classes=3), "verified_classes has shape ()"),
    (image(2, changed_boxes=None), "changed_boxes has shape ()"),
    (image(2, changed_boxes=[True]), "changed_boxes has shape (1,) and type bool"),
    (image(2, changed_boxes=[0, 3]), "changed_boxes is [0, 3], but there are 3 annotations"),
    (image(2, changed_boxes=[-1]), "changed_boxes is [-1], but there are 3 annotations"),
    (image(2, changed_boxes=[2**64 - 1]), "changed_boxes is [-1], but there are 3 annotations"),
]


@pytest.mark.parametrize(("damaged", "text"), MALFORMED, ids=lambda value: None)
def test_a_malformed_dict_is_named_and_the_others_are_still_checked(damaged: Any, text: str) -> None:
    faulty = image(3, relations=[[0, 5, 0]])
    found = check([image(1), damaged, faulty])
    assert counts(found) == {"malformed": 1, "dangling_id": 1}
    (record,) = found.problems[0].records
    assert record.detail.startswith(text)
    where = f"image {record.image_id!r}" if record.image_id is not None else "image at position 1"
    assert str(record).startswith(where)
    assert found.summary.images == 3
    assert found.summary.entities == 2 * len(BOXES)
    assert found.summary.images_with_fewer_than_two_boxes == found.summary.images_without_relationships == 0
    assert found.summary.entities_per_image == Spread(3, 3.0, 3)


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.binary(max_size=3)
    | st.just(np.zeros((2, 3))),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)
NUMBERS = st.integers() | st.floats() | st.none()
ANNOTATION = st.fixed_dictionaries(
    {
        "bbox": JUNK | st.lists(NUMBERS, min_size=4, max_size=4),
        "bbox_mode": JUNK | st.sampled_from([*BoxMode]),
        "category_id": JUNK | st.integers(-1, 4),
    }
)


@settings(max_examples=300)
@given(st.data())
def test_invalid_dicts_never_raise(data: st.DataObject) -> None:
    dataset_dict = image(2)
    for key in data.draw(st.sets(st.sampled_from([*dataset_dict, "verified_classes", "changed_boxes"]))):
        options = {
            "annotations": JUNK | st.lists(ANNOTATION, max_size=3),
            "changed_boxes": JUNK | st.lists(st.integers()),
        }
        dataset_dict[key] = data.draw(options.get(key, JUNK))
    found = check([image(1), dataset_dict, image(3, relations=[[0, 1, 0], [0, 1, 0]])])
    assert counts(found)["repeated_relation"] >= 1
    assert found.summary.images == 3


def test_changed_boxes_are_counted_once_each_and_the_first_are_named() -> None:
    compact = Annotations(BOXES, [0, 1, 2])
    found = check(
        [image(1, annotations=compact, changed_boxes=[2, 0, 2]), image(2), image(3, changed_boxes=[1])]
    )
    (problem,) = found.problems
    assert (problem.count, problem.images.tolist(), problem.is_error) == (3, [0, 2], False)
    assert [(record.image_id, record.row) for record in problem.records] == [(1, 0), (1, 2), (3, 1)]
    assert check([image(1, changed_boxes=[])]).problems == []


def test_lists_and_compact_annotations_have_the_same_problems() -> None:
    faulty = [
        image(i, annotations=with_box(box)) for i, box in enumerate([[9, 9, 5, 12], [0, 0, 99, 9], BOXES[0]])
    ]
    compact = [
        {
            **d,
            "annotations": Annotations(
                [a["bbox"] for a in d["annotations"]], [a["category_id"] for a in d["annotations"]]
            ),
            "relations": d["relations"].tolist(),
        }
        for d in faulty
    ]
    assert [str(r) for p in check(faulty).problems for r in p.records] == [
        str(r) for p in check(compact).problems for r in p.records
    ]
    assert counts(check(compact)) == {"box_order": 1, "box_far_outside": 1}


def test_boxes_given_by_their_size_are_converted() -> None:
    def sized(box: list[float]) -> dict[str, Any]:
        return annotation([box[0], box[1], box[2] - box[0], box[3] - box[1]], 0, BoxMode.XYWH_ABS)

    arrays = unchecked_arrays([image(1, annotations=[annotation(BOXES[0], 0), *map(sized, BOXES)])])
    np.testing.assert_allclose(arrays.boxes, [BOXES[0], *BOXES])
    negative = annotation([20, 20, -5, 5], 0, BoxMode.XYWH_ABS)
    assert counts(check([image(1, annotations=[*map(sized, BOXES[1:]), negative])])) == {"box_order": 1}


def test_the_dicts_are_not_changed() -> None:
    given_dict = image(1, annotations=[annotation([1.0, 2.0, 3.0, 4.0], 0, BoxMode.XYWH_ABS)] * 2)
    check([given_dict])
    assert given_dict["annotations"][1]["bbox"] == [1.0, 2.0, 3.0, 4.0]
    assert given_dict["relations"].tolist() == RELATIONS


def test_the_summary_of_two_images_counted_by_hand() -> None:
    second = image(2, annotations=image()["annotations"][:2], relations=[[0, 1, 0], [0, 1, 1], [0, 1, 1]])
    summary = check([image(1), second, image(3, annotations=[], relations=[])]).summary
    assert (summary.images, summary.entities, summary.relationships) == (3, 5, 5)
    assert (summary.images_with_fewer_than_two_boxes, summary.images_without_relationships) == (1, 1)
    assert summary.entities_per_image == Spread(0, 2.0, 3)
    assert summary.relationships_per_image == Spread(0, 2.0, 3)
    assert summary.class_counts.tolist() == [2, 2, 1]
    assert summary.predicate_counts.tolist() == [2, 3]
    assert summary.pairs_with_several_predicates == 1
    # (0, 2) of the first image
    assert summary.relationships_without_overlap == 1


def slow_numbers(dataset_dicts: list[dict[str, Any]]) -> dict[str, Any]:
    """The counts of the report from their definitions, record by record."""
    found: Counter[str] = Counter()
    classes: Counter[int] = Counter()
    predicates: Counter[int] = Counter()
    for record in dataset_dicts:
        annotations = record["annotations"]
        relations = [tuple(row) for row in record["relations"].tolist()]
        found["entities"] += len(annotations)
        found["relationships"] += len(relations)
        found["one_box"] += len(annotations) < 2
        found["no_relation"] += not relations
        seen_entities: set[Any] = set()
        for one in annotations:
            (x0, y0, x1, y1), category = one["bbox"], one["category_id"]
            if all(map(math.isfinite, (x0, y0, x1, y1))):
                found["box_order"] += x1 < x0 or y1 < y0
                found["empty_box"] += x1 >= x0 and y1 >= y0 and (x1 == x0 or y1 == y0)
                out_x, out_y = (
                    max(-min(a, b), max(a, b) - c) for a, b, c in ((x0, x1, WIDTH), (y0, y1, HEIGHT))
                )
                is_far = out_x > WIDTH / 10 or out_y > HEIGHT / 10
                found["box_far_outside"] += is_far
                found["box_outside"] += max(out_x, out_y) > 0 and not is_far
                found["repeated_entity"] += (x0, y0, x1, y1, category) in seen_entities
                seen_entities.add((x0, y0, x1, y1, category))
            else:
                found["box_not_finite"] += 1
            found["unknown_class"] += not 0 <= category < NUM_CLASSES
            classes[category] += 1
        predicates_of: dict[tuple[int, int], set[int]] = {}
        for place, (subject, object, predicate) in enumerate(relations):
            predicates[predicate] += 1
            exists = {subject, object} <= {*range(len(annotations))}
            found["dangling_id"] += not exists
            found["self_relation"] += exists and subject == object
            found["unknown_predicate"] += not 0 <= predicate < NUM_PREDICATES
            found["repeated_relation"] += (subject, object, predicate) in relations[:place]
            predicates_of.setdefault((subject, object), set()).add(predicate)
            if exists:
                a, b = annotations[subject]["bbox"], annotations[object]["bbox"]
                sides = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1))
                # Python's min and max of a NaN depend on the order. A box with a NaN shares no area.
                undefined = any(number != number for number in (*a, *b))
                found["without_overlap"] += undefined or not all(side > 0 for side in sides)
        found["several"] += sum(len(of_pair) > 1 for of_pair in predicates_of.values())
    return {
        **{kind: number for kind, number in found.items() if number},
        "classes": [classes[i] for i in range(NUM_CLASSES)],
        "predicates": [predicates[i] for i in range(NUM_PREDICATES)],
    }


def numbers(dataset_dicts: list[dict[str, Any]]) -> dict[str, Any]:
    """The same counts from the report."""
    found = check(dataset_dicts)
    summary = found.summary
    more = {
        "entities": summary.entities,
        "relationships": summary.relationships,
        "several": summary.pairs_with_several_predicates,
        "without_overlap": summary.relationships_without_overlap,
    }
    assert counts(found).get("one_box", 0) == summary.images_with_fewer_than_two_boxes
    assert counts(found).get("no_relation", 0) == summary.images_without_relationships
    return {
        **counts(found),
        **{key: number for key, number in more.items() if number},
        "classes": summary.class_counts.tolist(),
        "predicates": summary.predicate_counts.tolist(),
    }


COORDINATES = st.sampled_from([-5.0, 0.0, 10.0, 20.0, 30.0, 40.0, 45.0])
SOME_BOXES = st.lists(COORDINATES, min_size=4, max_size=4) | st.just([NAN, 0.0, 1.0, 1.0])
ENTITIES = st.lists(st.builds(annotation, SOME_BOXES, st.integers(-1, NUM_CLASSES)), max_size=4)
ROWS = st.lists(
    st.tuples(st.integers(-1, 4), st.integers(-1, 4), st.integers(-1, NUM_PREDICATES)), max_size=6
)


@st.composite
def data_sets(draw: st.DrawFn) -> list[dict[str, Any]]:
    return [
        image(i, annotations=draw(ENTITIES), relations=np.array(draw(ROWS), dtype=np.int64).reshape(-1, 3))
        for i in range(draw(st.integers(0, 4)))
    ]


@settings(max_examples=200)
@given(data_sets())
@example(
    [
        image(
            0,
            annotations=[annotation([-5.0, -5.0, 0.0, 10.0], 0), annotation([NAN, 0.0, 1.0, 1.0], 0)],
            relations=np.array([[0, 1, 0]]),
        )
    ]
)
def test_numbers_are_those_of_a_slow_count(dataset_dicts: list[dict[str, Any]]) -> None:
    expected = slow_numbers(dataset_dicts)
    # neither has entries for counts of 0
    assert numbers(dataset_dicts) == expected


@given(data_sets(), st.randoms())
def test_the_order_of_images_changes_no_number(dataset_dicts: list[dict[str, Any]], random: Any) -> None:
    shuffled = random.sample(dataset_dicts, len(dataset_dicts))
    assert numbers(shuffled) == numbers(dataset_dicts)
    first, second = (
        {p.kind: sorted(data[i]["image_id"] for i in p.images) for p in check(data).problems}
        for data in (dataset_dicts, shuffled)
    )
    assert first == second


@given(st.lists(st.lists(st.sampled_from([0.0, 1.0, NAN]), min_size=2, max_size=2)))
def test_repeated_rows_are_those_with_an_equal_one_before(rows: list[list[float]]) -> None:
    expected = [
        any(all(a == b for a, b in zip(row, earlier, strict=True)) for earlier in rows[:i])
        for i, row in enumerate(rows)
    ]
    assert is_repeat(np.array(rows).reshape(-1, 2)).tolist() == expected


@pytest.fixture
def photos(tmp_path: Path) -> list[dict[str, Any]]:
    """Four valid images with their pictures."""
    rng = np.random.default_rng(0)
    dataset_dicts = [image(i, file_name=str(tmp_path / f"{i}.jpg")) for i in range(4)]
    for d in dataset_dicts:
        noise = rng.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        Image.fromarray(noise).save(d["file_name"])
    return dataset_dicts


def test_valid_pictures_have_no_problem(photos: list[dict[str, Any]]) -> None:
    arrays = unchecked_arrays([*photos, {}])
    assert check_pictures(arrays, "decode") == check_pictures(arrays, "header") == []


def test_faulty_pictures_are_named(photos: list[dict[str, Any]]) -> None:
    Path(photos[0]["file_name"]).unlink()
    Path(photos[1]["file_name"]).write_text("<html>")
    photos[2]["width"], photos[2]["height"] = HEIGHT, WIDTH
    for how in ("decode", "header"):
        found = {problem.kind: problem for problem in check_pictures(unchecked_arrays(photos), how)}
        assert {kind: (p.count, p.images.tolist()) for kind, p in found.items()} == {
            "missing_image": (1, [0]),
            "unreadable_image": (1, [1]),
            "image_size": (1, [2]),
        }
        assert str(found["missing_image"].records[0]) == f"image 0: {photos[0]['file_name']}"
        (unreadable,) = found["unreadable_image"].records
        assert unreadable.detail.count("1.jpg") == 1
        assert "cannot identify image file" in unreadable.detail
        # only the kind of problem names the remedy
        assert "replace it" not in unreadable.detail and "Copy it again" in KINDS["unreadable_image"].remedy
        assert "2.jpg has 40 x 30 pixels, not 30 x 40" in str(found["image_size"].records[0])


def test_a_cut_off_picture_is_found_by_decoding_alone(photos: list[dict[str, Any]]) -> None:
    path = Path(photos[3]["file_name"])
    path.write_bytes(path.read_bytes()[:-300])
    arrays = unchecked_arrays(photos)
    assert check_pictures(arrays, "header") == []
    (problem,) = check_pictures(arrays, "decode")
    assert (problem.kind, problem.images.tolist()) == ("unreadable_image", [3])
    assert problem.records[0].detail.startswith(f"{path}: ") and "truncated" in problem.records[0].detail


def test_sizes_are_those_of_the_upright_picture(photos: list[dict[str, Any]]) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (WIDTH, HEIGHT)).save(photos[0]["file_name"], exif=exif)
    photos[0]["width"], photos[0]["height"] = HEIGHT, WIDTH
    for how in ("decode", "header"):
        assert check_pictures(unchecked_arrays(photos), how) == []


def test_the_known_numbers_of_vrd(dev_data: Path) -> None:
    # images, empty, relationships, self relations, repeats, pairs with several predicates
    known = {"train": (4000, 220, 30355, 83, 494, 2424), "test": (1000, 45, 7638, 26, 160, 576)}
    for split, expected in known.items():
        dataset_dicts = parse_vrd_annotations(dev_data / "vrd_official" / f"annotations_{split}.json")
        sized = [{**dataset_dict, "width": 9999, "height": 9999} for dataset_dict in dataset_dicts]
        found = check_dataset(sized, 100, 70)
        summary = found.summary
        assert expected == (
            summary.images,
            summary.images_without_relationships,
            summary.relationships,
            counts(found)["self_relation"],
            counts(found)["repeated_relation"],
            summary.pairs_with_several_predicates,
        )
    assert round(100 * summary.relationships_without_overlap / summary.relationships) == 19
