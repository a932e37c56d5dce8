"""Checks that annotations have the masks and keypoints that a detector is to be trained on."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from reprlib import repr as short_repr
from typing import Any

import numpy as np

from reldn_d2.structures.annotations import Annotations
from reldn_d2.structures.dataset_dicts import DatasetDict, crowd_flags, describe

# Numbers of a polygon with an area: three points.
_LEAST_NUMBERS = 6
_NAMED = 3
#: Says what is wrong with an annotation; None if nothing is.
Fault = Callable[[Mapping[str, Any]], str | None]


def mask_fault(annotation: Mapping[str, Any], *, polygons_only: bool) -> str | None:
    """What is wrong with the mask of an annotation, in Detectron2's format; None if nothing is.

    Args:
        annotation: the annotation, with the mask as "segmentation".
        polygons_only: whether it has to be polygons (INPUT.MASK_FORMAT "polygon"). Otherwise it may also be
            run lengths, or an (H, W) array.
    """
    mask = annotation.get("segmentation")
    if mask is None:
        return "has no segmentation"
    if isinstance(mask, list):
        right = bool(mask) and all(
            np.ndim(x) == 1 and len(x) >= _LEAST_NUMBERS and not len(x) % 2 for x in mask
        )
        return None if right else f"has the segmentation {short_repr(mask)}, which is no list of polygons"
    if polygons_only:
        return f"has a {type(mask).__name__} as segmentation, which INPUT.MASK_FORMAT 'bitmask' reads alone"
    if isinstance(mask, dict):
        return None if {"size", "counts"} <= mask.keys() else "has a segmentation without size and counts"
    return None if np.ndim(mask) == 2 else f"has the segmentation {short_repr(mask)}, which is no mask"


def keypoint_fault(annotation: Mapping[str, Any], *, number: int) -> str | None:
    """What is wrong with the keypoints of an annotation, in Detectron2's format; None if nothing is.

    Args:
        annotation: the annotation, with (x, y, visibility) of each keypoint in a row as "keypoints".
        number: how many keypoints it has to have.
    """
    points = annotation.get("keypoints")
    if points is None:
        return "has no keypoints"
    if np.shape(points) != (3 * number,):
        return f"has {short_repr(points)} as keypoints, not {3 * number} numbers for {number} keypoints"
    return None


def check_shapes(dataset_dicts: Sequence[DatasetDict], fault: Fault, where: str, remedy: str) -> None:
    """Checks every annotation that is no crowd. Training leaves crowds out.

    Args:
        dataset_dicts: the images.
        fault: what is wrong with an annotation.
        where: the data sets and what trains on them, for the message.
        remedy: what helps, for the message.

    Raises:
        ValueError: an annotation has a fault. The message names the first ones.
    """
    found = [
        f"annotation {row} of {describe(image)} {text}"
        for image in dataset_dicts
        for row, text in _faults(image, fault)
    ]
    if found:
        more = "; ..." if len(found) > _NAMED else ""
        raise ValueError(
            f"{where}, but {len(found)} annotations have none that it can use: "
            f"{'; '.join(found[:_NAMED])}{more}. {remedy}"
        )


def _faults(image: DatasetDict, fault: Fault) -> Iterator[tuple[int, str]]:
    annotations = image["annotations"]
    # Arrays have boxes and classes alone, and asking for their dicts would make dicts of all.
    are_arrays = isinstance(annotations, Annotations) and annotations.handed_out is None
    for row in np.flatnonzero(~crowd_flags(image)).tolist():
        text = fault({} if are_arrays else annotations[row])
        if text is not None:
            yield row, text
