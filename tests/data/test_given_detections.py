"""Detections that a loader puts into its dicts are checked by the rules of detection files."""

from typing import Any

import numpy as np
import pytest
import torch

from reldn_d2.data.checking.checks import check_dataset
from reldn_d2.data.checking.loaded import check_loaded
from reldn_d2.data.checking.problems import KINDS
from tests.builders.checked_images import BOXES, HEIGHT, NUM_CLASSES, NUM_PREDICATES, WIDTH, image

NAN = float("nan")


def detections(**changed: Any) -> dict[str, Any]:
    return {"boxes": BOXES, "scores": [0.9, 0.5, 0.0], "classes": [0, 1, 2], **changed}


def with_second_box(box: Any) -> dict[str, Any]:
    return detections(boxes=[BOXES[0], box, BOXES[2]])


def check(*given: Any, known: bool = True) -> None:
    images = [image(i, detections=one) for i, one in enumerate(given)]
    check_loaded(images, "mine", NUM_CLASSES if known else None, NUM_PREDICATES)


@pytest.mark.parametrize(
    "given",
    [
        detections(),
        detections(boxes=np.array(BOXES, np.float32), scores=np.ones(3, np.float32), classes=np.arange(3)),
        {key: torch.tensor(value) for key, value in detections().items()},
        detections(boxes=torch.tensor(BOXES).int(), scores=(1, 0, 1), classes=np.zeros(3, np.uint8)),
        {"boxes": [], "scores": [], "classes": []},
        {"boxes": np.zeros((0, 4)), "scores": np.zeros(0), "classes": np.zeros(0)},
        with_second_box([-2, -2, WIDTH + 2, HEIGHT + 2]),  # as detection files may have
        with_second_box([5, 5, 5, 5]),
    ],
)
def test_what_a_file_may_hold_is_legal(given: Any) -> None:
    check(detections(), given)
    check(given, detections(), known=False)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (None, "detections is None, not a dict"),
        ([], r"detections is \[\], not a dict"),
        ({"boxes": BOXES, "scores": [1, 1, 1]}, "not a dict of boxes, scores and classes"),
        (detections(boxes=BOXES[:2]), r"boxes \(2, 4\), scores \(3,\), classes \(3,\) do not fit"),
        (detections(boxes=np.ravel(BOXES)), r"boxes \(12,\), scores"),
        (detections(scores=[0.5, 0.5]), r"scores \(2,\), classes \(3,\) do not fit"),
        (detections(scores=0.5), r"scores \(\), classes \(3,\) do not fit"),
        (detections(classes=[[0], [1], [2]]), r"classes \(3, 1\) do not fit"),
        (detections(classes=[0, 1]), r"classes \(2,\) do not fit"),
        (detections(boxes=[[1, 2], [3]]), "can't be read as arrays"),
        (detections(classes=[0, 1, 2.0]), "classes of detections is"),
        (detections(classes=[0, 1, True]), "classes of detections is"),
        (detections(classes=["0", "1", "2"]), "classes of detections is"),
        (detections(scores=["0.5"] * 3), "scores of detections is"),
        (detections(scores=[True, False, True]), "scores of detections is"),
        (detections(scores=None), "scores of detections is None"),
        (with_second_box(["1", "2", "3", "4"]), "boxes of detections is"),
        (with_second_box([1, 2, NAN, 4]), "detection 1: a box is not finite .*nan"),
        (with_second_box([1, 2, np.inf, 4]), "detection 1: a box is not finite"),
        (with_second_box([20, 2, 10, 9]), "detection 1: a box has swapped corners"),
        (with_second_box([0, 0, WIDTH + 2.1, 9]), "detection 1: a box sticks out .* picture of 40 x 30"),
        (with_second_box([0, -2.1, 9, 9]), "detection 1: a box sticks out"),
        (detections(scores=[0.5, 1.5, 0]), r"detection 1: a score is not in \[0, 1\]"),
        (detections(scores=[0.5, NAN, 0]), "detection 1: a score"),
        (detections(scores=[0.5, -0.1, 0]), "detection 1: a score"),
        (detections(classes=[0, 3, 1]), r"detection 1: a class is not an integer in \[0, 3\)"),
        (detections(classes=[0, -1, 1]), "detection 1: a class is not"),
    ],
)
def test_an_error_names_the_image(given: Any, text: str) -> None:
    with pytest.raises(ValueError, match=f"data set mine has errors(.|\\n)* image 1: .*{text}") as error:
        check(detections(), given, detections())
    assert "1 in 1 images" in str(error.value) and "image 0" not in str(error.value)
    for kind in ("malformed_detections", "detection"):
        assert (KINDS[kind].remedy in str(error.value)) == (KINDS[kind].meaning in str(error.value))


def test_all_wrong_detections_are_counted() -> None:
    bad = detections(scores=[2, 2, 0.5], boxes=[BOXES[0], [9, 9, 1, 1], BOXES[2]])
    images = [image(7, detections=detections()), image(8, detections=bad), image(9, detections=bad)]
    (problem,) = check_dataset(images, NUM_CLASSES, NUM_PREDICATES).problems
    assert (problem.kind, problem.count, problem.images.tolist()) == ("detection", 4, [1, 2])
    assert str(problem.records[1]).startswith(
        "image 8: detection 1: a box has swapped corners, not x0 <= x1 and y0 <= y1 and a score is not in [0"
    )


def test_shares_of_the_picture_are_an_error() -> None:
    boxes = [[x0 / WIDTH, y0 / HEIGHT, x1 / WIDTH, y1 / HEIGHT] for x0, y0, x1, y1 in BOXES]
    with pytest.raises(
        ValueError, match=r"detections that the loader gives are no pixels(.|\n)*shares of the"
    ):
        check(detections(boxes=boxes), detections(boxes=boxes))


def test_images_without_detections_among_others_are_named() -> None:
    images = [image(1, detections=detections()), image(2), image(3)]
    with pytest.raises(
        ValueError, match=r"2 in 2 images: image 2: it has no detections; others have; image 3"
    ):
        check_loaded(images, "mine", NUM_CLASSES, NUM_PREDICATES)


def test_classes_of_an_unknown_number_are_only_not_negative() -> None:
    check(detections(classes=[0, 99, 1]), known=False)
    with pytest.raises(ValueError, match="a class is not an integer in the list of classes"):
        check(detections(classes=[0, -1, 1]), known=False)


def test_damaged_dicts_beside_detections_raise_nothing_else() -> None:
    images: list[Any] = [None, {}, image(3, detections=detections(), width=None)]
    kinds = [problem.kind for problem in check_dataset(images, NUM_CLASSES, NUM_PREDICATES).problems]
    assert kinds == ["malformed", "malformed_detections"]
