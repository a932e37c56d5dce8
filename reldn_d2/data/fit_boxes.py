"""Fitting annotated boxes to their image."""

import logging
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from reldn_d2.structures.dataset_dicts import DatasetDict
from reldn_d2.utils.refusals import Refusal, refuse

logger = logging.getLogger(__name__)

# Official files have boxes that stick out a little, and a few that stick out far. If many boxes stick out
# far, their numbers mean something else. "Far" is more than `FAR_OUT` of the image's side; "many" is more
# than `_MANY` of all boxes, and more than `_FEW`. The same holds for boxes of a pixel or less in the
# upper left corner.
FAR_OUT = 0.1
_MANY = 0.1
_FEW = 10
# Shares of a picture lie between 0 and 1. With a centre in place of a corner, or boxes that stick out, they
# end below 2. Only images with at least so many pixels on a side tell them from small boxes.
LARGEST_SHARE, LEAST_SIDE = 2.0, 16


def fit_boxes(
    boxes: NDArray[np.float64],
    sizes: NDArray[np.int64],
    source: str,
    record: Callable[[int], str],
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Clip boxes to their images, and widen sides below one pixel to one pixel inside the image.

    No box is dropped, so the number of relationships stays the official one. A warning says how many boxes
    were changed.

    Args:
        boxes: (N, 4) XYXY in absolute pixels.
        sizes: (N, 2) width and height of the image of each box.
        source: the annotation file, for messages.
        record: function that names the record of a row of `boxes`, for messages.

    Returns:
        (N, 4) boxes, and (N,) whether a box was changed.

    Raises:
        ValueError: many boxes are far outside their images, so that their numbers must have another order or
            scale, or belong to other images; or many are shares of their images, not pixels. Where refused
            records are collected, see `reldn_d2.utils.refusals`, nothing is raised, and the boxes are fitted.
    """
    try:
        refuse_far_out(boxes, sizes, source, record)
        _refuse_shares(boxes, sizes, source, record)
    except ValueError as error:
        problem = str(error).removeprefix(f"{source}: ").removesuffix(".")
        refused = Refusal("all boxes", problem, "Correct the numbers, or take files that belong together.")
        refuse(source, "boxes of another order, scale or image", 1, lambda _: refused, error)
    clipped = np.concatenate([boxes[:, :2].clip(min=0), np.minimum(boxes[:, 2:], sizes)], axis=1)
    near = np.minimum(clipped[:, :2], sizes - 1)
    far = np.maximum(clipped[:, 2:], near + 1)
    fitted = np.concatenate([near, far], axis=1)
    sticking_out = (clipped != boxes).any(axis=1)
    widened = (fitted != clipped).any(axis=1)
    changed: NDArray[np.bool_] = sticking_out | widened
    if changed.any():
        logger.warning(
            "%s: %d boxes that stick out of their image were clipped, and %d boxes of less than one pixel "
            "in their image were widened to one, the first in %s. No relationship was dropped. There are "
            "%d boxes in all; `reldn check` lists those that were changed.",
            source, sticking_out.sum(), widened.sum(), record(int(changed.argmax())), len(boxes),
        )  # fmt: skip
    return fitted, changed


def refuse_far_out(
    boxes: NDArray[np.float64], sizes: NDArray[np.int64], source: str, record: Callable[[int], str]
) -> None:
    """Check that few boxes are far outside their images.

    Args:
        boxes, sizes, source, record: see `fit_boxes`.

    Raises:
        ValueError: see `fit_boxes`.
    """
    excess = np.maximum(-boxes[:, :2], boxes[:, 2:] - sizes).clip(min=0)
    far_out = (excess > FAR_OUT * sizes).any(axis=1)
    if far_out.sum() > max(_FEW, _MANY * len(boxes)):
        row = int(far_out.argmax())
        raise ValueError(
            f"{source}: {far_out.sum()} of {len(boxes)} boxes stick out of their images by more than "
            f"{FAR_OUT:.0%} of a side, the first in {record(row)}: {boxes[row].tolist()} (XYXY) in an image "
            f"of {sizes[row, 0]} x {sizes[row, 1]}. Check the order of the numbers of a box, their scale, "
            "and that sizes or pictures belong to the same release as the annotation."
        )


def _refuse_shares(
    boxes: NDArray[np.float64], sizes: NDArray[np.int64], source: str, record: Callable[[int], str]
) -> None:
    """Check that few boxes have a pixel or less in the upper left corner of their images, as shares have.

    Args:
        boxes, sizes, source, record: see `fit_boxes`.

    Raises:
        ValueError: see `fit_boxes`.
    """
    in_corner = ((boxes >= 0) & (boxes <= LARGEST_SHARE)).all(axis=1) & (sizes >= LEAST_SIDE).all(axis=1)
    tiny = in_corner & (boxes[:, 2:] - boxes[:, :2] <= 1).all(axis=1)
    if tiny.sum() > max(_FEW, _MANY * len(boxes)):
        row = int(tiny.argmax())
        raise ValueError(
            f"{source}: {tiny.sum()} of {len(boxes)} boxes have a pixel or less in the upper left corner of "
            f"their images, the first in {record(row)}: {boxes[row].tolist()} (XYXY) in an image of "
            f"{sizes[row, 0]} x {sizes[row, 1]}. They seem to be shares of the picture: multiply them by "
            "width and height."
        )


def mark_changed_boxes(dataset_dicts: Sequence[DatasetDict], changed: NDArray[np.bool_]) -> None:
    """Add `"changed_boxes"` to images with changed boxes: (K,) int64 positions in `"annotations"`.

    Args:
        dataset_dicts: the images; changed in place.
        changed: (N,) whether a box was changed, for all annotations, image after image.
    """
    first = np.cumsum([0, *(len(dataset_dict["annotations"]) for dataset_dict in dataset_dicts)])
    rows = np.flatnonzero(changed)
    for i in np.unique(np.searchsorted(first, rows, side="right") - 1):
        dataset_dicts[i]["changed_boxes"] = np.flatnonzero(changed[first[i] : first[i + 1]])
