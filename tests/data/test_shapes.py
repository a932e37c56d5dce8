"""Masks and keypoints that a detector trains on are looked for before the first step."""

from functools import partial
from typing import Any

import numpy as np
import pytest

from reldn_d2.data.checking.shapes import check_shapes, keypoint_fault, mask_fault
from reldn_d2.structures.annotations import Annotations
from tests.builders.checked_images import BOXES, annotation, image

POLYGON = [1.0, 1.0, 9.0, 1.0, 9.0, 9.0]
RUN_LENGTHS = {"size": [30, 40], "counts": "abc"}


@pytest.mark.parametrize(
    ("mask", "polygons", "any_format"),
    [
        ([POLYGON], None, None),
        ([np.array(POLYGON), POLYGON], None, None),
        (RUN_LENGTHS, "a dict as segmentation", None),
        (np.zeros((30, 40), dtype=bool), "a ndarray as segmentation", None),
        (None, "no segmentation", "no segmentation"),
        ([], "no list of polygons", "no list of polygons"),
        ([[1, 1, 2, 2]], "no list of polygons", "no list of polygons"),
        ([[*POLYGON, 1.0]], "no list of polygons", "no list of polygons"),
        (POLYGON, "no list of polygons", "no list of polygons"),
        ({"size": [3, 4]}, "a dict as segmentation", "without size and counts"),
        ("polygon", "a str as segmentation", "no mask"),
    ],
)
def test_masks(mask: Any, polygons: str | None, any_format: str | None) -> None:
    for polygons_only, text in ((True, polygons), (False, any_format)):
        found = mask_fault({"segmentation": mask}, polygons_only=polygons_only)
        assert found is None if text is None else text in str(found)


@pytest.mark.parametrize(
    ("points", "text"),
    [
        ([1, 1, 2, 3, 3, 0], None),
        (np.zeros(6), None),
        (None, "no keypoints"),
        ([1, 1, 2], "not 6 numbers for 2 keypoints"),
        ([[1, 1, 2], [3, 3, 0]], "not 6 numbers for 2 keypoints"),
    ],
)
def test_keypoints(points: Any, text: str | None) -> None:
    found = keypoint_fault({"keypoints": points}, number=2)
    assert found is None if text is None else text in str(found)


def with_mask(**more: Any) -> dict[str, Any]:
    return {**annotation(BOXES[0], 0), "segmentation": [POLYGON], **more}


def test_the_first_faults_are_named_and_crowds_do_not_count() -> None:
    fault = partial(mask_fault, polygons_only=True)
    crowd = with_mask(segmentation=RUN_LENGTHS, iscrowd=1)
    check_shapes([image(1, annotations=[with_mask(), crowd]), image(2, annotations=[])], fault, "x", "y")
    bad = image(3, annotations=[with_mask(), with_mask(segmentation=None), *[annotation(BOXES[1], 0)] * 3])
    with pytest.raises(
        ValueError, match=r"^Masks, but 4 annotations .*: annotation 1 of image 3 .*\. Help$"
    ) as e:
        check_shapes([image(1, annotations=[crowd]), bad], fault, "Masks", "Help")
    assert "annotation 3" in str(e.value) and "annotation 4" not in str(e.value)


def test_arrays_have_no_masks_and_stay_arrays() -> None:
    arrays = Annotations(BOXES, [0, 1, 2], [False, True, False])
    with pytest.raises(
        ValueError, match=r"2 annotations .* annotation 0 of image 1 .*annotation 2 of image 1"
    ):
        check_shapes([image(1, annotations=arrays)], partial(mask_fault, polygons_only=False), "x", "y")
    assert arrays.handed_out is None
    only_crowds = Annotations(BOXES, [0, 1, 2], [True] * 3)
    check_shapes([image(1, annotations=only_crowds)], partial(keypoint_fault, number=1), "x", "y")
