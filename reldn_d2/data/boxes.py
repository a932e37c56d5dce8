"""Annotated boxes that stick out of their image."""

import logging
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)


def fit_boxes(
    boxes: NDArray[np.float64],
    sizes: NDArray[np.int64],
    source: str,
    record: Callable[[int], str],
) -> NDArray[np.float64]:
    """Clip boxes to their images and widen sides below one pixel to one pixel inside the image.

    No box is dropped, so that the number of relationships stays the official one; a warning says how many were changed.

    Args:
        boxes: (N, 4) XYXY in absolute pixels.
        sizes: (N, 2) width and height of the image of each box.
        source: the annotation file, for the warning.
        record: names the record of a row of `boxes`, for the warning.

    Returns:
        (N, 4) boxes.
    """
    clipped = np.concatenate([boxes[:, :2].clip(min=0), np.minimum(boxes[:, 2:], sizes)], axis=1)
    near = np.minimum(clipped[:, :2], sizes - 1)
    far = np.maximum(clipped[:, 2:], near + 1)
    fitted = np.concatenate([near, far], axis=1)
    sticking_out = (clipped != boxes).any(axis=1)
    widened = (fitted != clipped).any(axis=1)
    changed = sticking_out | widened
    if changed.any():
        logger.warning(
            "%s: %d boxes that stick out of their image were clipped, and %d boxes of less than one pixel "
            "in their image were widened to one, the first in %s. No relationship was dropped.",
            source, sticking_out.sum(), widened.sum(), record(int(changed.argmax())),
        )  # fmt: skip
    return fitted
