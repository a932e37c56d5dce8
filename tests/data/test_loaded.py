"""What a loader returns is checked: errors name data set, image, record and remedy; the rest is counted."""

import copy
import logging
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.structures import BoxMode

from reldn_d2.data.checking.loaded import check_loaded
from reldn_d2.structures.annotations import Annotations
from tests.builders.checked_images import BOXES, NUM_CLASSES, NUM_PREDICATES, annotation, image, with_box

NAN = float("nan")


def check(images: Any, mode: Any = "error") -> None:
    check_loaded(images, "mine", NUM_CLASSES, NUM_PREDICATES, mode)


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in image(2).items() if name != key}


def from_one() -> dict[str, Any]:
    """Subject and object are counted from 1."""
    return image(2, relations=[[1, 2, 0], [1, 3, 1]])


# What is wrong with the second of two images -> the record and the remedy that the message holds.
ERRORS: dict[str, tuple[Any, str, str]] = {
    "class = C": (
        image(2, annotations=[annotation(BOXES[0], 1), annotation(BOXES[1], NUM_CLASSES)], relations=[]),
        "image 2, annotation 1: class 3 of 3",
        "counted from 0",
    ),
    "class -1": (image(2, annotations=[annotation(BOXES[0], -1)] * 2), "class -1 of 3", "counted from 0"),
    "predicate = P": (image(2, relations=[[0, 1, 2]]), "predicate 2 of 2", "counted from 0"),
    "entities from 1": (from_one(), "image 2, relation 1: [1, 3, 1]", "counted from 0"),
    "negative subject": (image(2, relations=[[-1, 1, 0]]), "relation 0: [-1, 1, 0]", "counted from 0"),
    "NaN": (image(2, annotations=with_box([1, NAN, 3, 4])), "annotation 1: box [1.0, nan", "Correct it"),
    "infinite": (image(2, annotations=with_box([1, 1, np.inf, 4])), "annotation 1: box", "Correct it"),
    "XYWH as XYXY": (image(2, annotations=with_box([20, 15, 10, 8])), "annotation 1: box", "bbox_mode"),
    "XYXY as XYWH": (
        image(2, annotations=[*with_box(BOXES[1])[:2], annotation(BOXES[1], 0, BoxMode.XYWH_ABS)]),
        "annotation 2: box [10.0, 10.0, 40.0, 38.0] of 40 x 30 pixels",
        "left, top, width, height for XYWH_ABS",
    ),
    "relative mode": (
        image(2, annotations=[annotation(BOXES[0], 0, BoxMode.XYXY_REL)] * 2),
        "image 2: annotation 0: bbox_mode is 2",
        "What a loader returns",
    ),
    "larger copy": (image(2, width=20, height=15), "box [10.0, 10.0, 30.0, 28.0] of 20 x 15", "same copy"),
    "id twice": (image(1), "image 1: has the id of the image at position 0", "make it unique"),
    "id twice as text": (image("1"), "image '1': has the id of the image at position 0", "make it unique"),
    "id a list": (image([2]), "image_id is [2]", "What a loader returns"),
    "size 0": (image(2, width=0), "width and height are (0, 30)", "What a loader returns"),
    "file_name None": (image(2, file_name=None), "file_name is None", "What a loader returns"),
    "name of a class": (
        image(2, annotations=[annotation(BOXES[0], "cup")]),
        "category_id is 'cup'",
        "What a loader returns",
    ),
    "no dict": (None, "image at position 1: it is a NoneType", "What a loader returns"),
    **{f"no {key}": (without(key), f"it lacks {key}", "What a loader returns") for key in image()},
}


@pytest.mark.parametrize("case", ERRORS)
def test_an_error_names_data_set_image_record_and_remedy(case: str) -> None:
    damaged, record, remedy = ERRORS[case]
    with pytest.raises(ValueError, match=r"^data set mine has errors") as error:
        check([image(1), damaged])
    assert record in str(error.value) and remedy in str(error.value)
    assert "DATASETS.CHECK warn" in str(error.value) and "datasets.check=warn" in str(error.value)


def test_all_kinds_of_errors_are_told_with_their_numbers() -> None:
    images = [
        image(1, annotations=[annotation(BOXES[0], 5)] * 4, relations=[[0, 9, 0]]),
        image(2, annotations=with_box([NAN, 1, 2, 3])),
    ]
    with pytest.raises(ValueError) as error:
        check(images)
    text = str(error.value)
    assert "outside the list of classes. 4 in 1 images: image 1, annotation 0" in text
    assert "annotation 2: class 5 of 3; ..." in text and "annotation 3" not in text
    assert "NaN or infinity. 1 in 1 images" in text and "relation 0: [0, 9, 0]" in text


def test_units_of_a_whole_data_set_are_an_error() -> None:
    shares = [[x0 / 40, y0 / 30, x1 / 40, y1 / 30] for x0, y0, x1, y1 in BOXES]
    with pytest.raises(ValueError, match="shares of the width"):
        check([image(1, annotations=Annotations(shares, [0, 1, 2]))])


def test_images_in_shares_among_others_are_said(caplog: pytest.LogCaptureFixture) -> None:
    shares = [annotation([x0 / 40, y0 / 30, x1 / 40, y1 / 30], 0) for x0, y0, x1, y1 in BOXES]
    with caplog.at_level(logging.WARNING):
        check([image(1), image(2, annotations=shares), image(3)])
    (text,) = caplog.messages
    assert text.startswith("mine: All boxes of an image end") and "1 in 1 images: image 2: all 3" in text
    assert "Multiply shares by width and height" in text


def test_going_on_says_all(caplog: pytest.LogCaptureFixture) -> None:
    images = [image(1), image(2, relations=[[0, 1, 2]], annotations=with_box([1, NAN, 3, 4]))]
    before = copy.deepcopy(images)
    with caplog.at_level(logging.WARNING):
        check(images, "warn")
    (text,) = caplog.messages
    assert "data set mine" in text and "predicate 2 of 2" in text and "nan" in text
    assert str(before) == str(images)


def test_what_training_mends_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    outside, empty = with_box([-1, 2, 9, 9]), with_box([5, 5, 5, 9])
    with caplog.at_level(logging.WARNING):
        check([image(1, annotations=outside), image(2, annotations=empty), image(3)])
    assert len(caplog.messages) == 2
    clipped, dropped = sorted(caplog.messages, key=lambda text: "drops" in text)
    assert "1 in 1 images: image 1, annotation 1" in clipped and "clips these boxes" in clipped
    assert "1 in 1 images: image 2, annotation 1" in dropped and "drops these entities" in dropped


@pytest.mark.parametrize(
    "images",
    [
        [image(1), image(2)],
        [image("a/b.jpg"), image(np.int64(7))],
        [image(1, annotations=Annotations(BOXES, [0, 1, 2]))],
        [image(1, annotations=[annotation(np.array(box), np.int32(0)) for box in BOXES])],
        [image(1, annotations=[annotation(torch.tensor(box), torch.tensor(2)) for box in BOXES])],
        [
            image(i, annotations=[annotation(box, np.int64(0)) | {"iscrowd": flag} for box in BOXES])
            for i, flag in enumerate((0, False, np.False_, np.int64(0), torch.tensor(0), torch.tensor(False)))
        ],
        [image(1, annotations=tuple(annotation(tuple(box), 0) for box in BOXES))],
        [image(1, relations=torch.tensor([[0, 1, 0]])), image(2, relations=[(0, 1, 0)])],
        [image(1, annotations=[], relations=[]), image(2)],
        [without("relations"), {**without("relations"), "image_id": 3}],  # for stage 1
        [without("annotations") | {"relations": []}],  # a test set of a challenge
    ],
)
def test_legal_data_sets_say_nothing(images: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        check(images)
    assert caplog.messages == []


def test_numbers_that_are_not_known_are_not_compared() -> None:
    images = [image(1, annotations=[annotation(box, 99) for box in BOXES], relations=[[0, 1, 99]])]
    check_loaded(images, "mine", None, None)
    with pytest.raises(ValueError, match="class 99 of 3"):
        check_loaded(images, "mine", 3, None)
    with pytest.raises(ValueError, match=r"relation 0: .*predicate -1"):
        check_loaded([image(1, relations=[[0, 1, -1]])], "mine", None, None)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ([], "data set mine has no images"),
        (None, "data set mine returns a NoneType"),
        ((image(),), "data set mine returns a tuple"),
        (iter([image()]), "data set mine returns a list_iterator"),
        ({"images": []}, "data set mine returns a dict"),
    ],
)
def test_what_is_no_list_of_images_is_named(given: Any, text: str) -> None:
    for mode in ("error", "warn"):
        with pytest.raises(ValueError, match=text):
            check(given, mode)


def test_another_mode_is_refused() -> None:
    with pytest.raises(ValueError, match=r"DATASETS\.CHECK is 'off': write 'error' or 'warn'"):
        check([image()], "off")
