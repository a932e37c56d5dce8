"""Finds boxes that are not in pixels of their images: shares of its sides, or pixels of a smaller copy.

A single box can't tell. So something is said only where all boxes of a data set agree; of shares, also where
all boxes of an image do. Boxes in pixels of a larger copy stick out of their images, which is found box by
box.
"""

import numpy as np

from ..fit_boxes import LARGEST_SHARE, LEAST_SIDE
from .unchecked_arrays import BoolArray, FloatArray, IntArray

# Along one axis, it takes at least so many boxes to tell shares from small boxes at an edge.
_LEAST_BOXES = 2
# Boxes of a smaller copy begin at the upper left edge and never come near the lower right one. Photos of
# OpenImages VRD were drawn at random 20,000 times: no 5 of them have boxes that all end before 0.8 of both
# sides.
_LEAST_IMAGES, _FIRST_PART, _LAST_PART = 20, 0.1, 0.8


def shares(boxes: FloatArray, sizes: IntArray, entity_image: IntArray) -> list[str]:
    """Says along which axes all boxes seem to be shares of the side.

    Args:
        boxes: (N, 4) XYXY; boxes that are not finite are ignored.
        sizes: (I, 2) width and height of the images.
        entity_image: (N,) the image of each box.

    Returns:
        A sentence for each axis; nothing if the boxes may be pixels.
    """
    boxes, sides, _ = _finite(boxes, sizes, entity_image)
    return [
        f"All {len(boxes)} boxes end within {LARGEST_SHARE:g} pixels of the {edge} edge (the last at "
        f"{boxes[:, 2 + axis].max():.3g}), in images of up to {sides[:, axis].max()} pixels: they seem to be "
        f"shares of the {side}, not pixels"
        for axis, (side, edge) in enumerate((("width", "left"), ("height", "top")))
        if _are_shares(boxes[:, 2 + axis], sides[:, axis])
    ]


def images_in_shares(boxes: FloatArray, sizes: IntArray, entity_image: IntArray) -> BoolArray:
    """Finds single images whose boxes seem to be shares, where those of the whole data set are not.

    These are images whose boxes all end within 2 pixels of the upper left corner, and images of two boxes or
    more that all end within 2 pixels of the left or of the upper edge. No photo of VRD has such boxes.

    Args:
        boxes, sizes, entity_image: see `shares`.

    Returns:
        (I,) bool.
    """
    if shares(boxes, sizes, entity_image):
        return np.zeros(len(sizes), dtype=np.bool_)
    boxes, _, image = _finite(boxes, sizes, entity_image)
    number = np.bincount(image, minlength=len(sizes))
    last = np.zeros(sizes.shape)
    np.maximum.at(last, image, boxes[:, 2:])
    near: BoolArray = (last > 0) & (last <= LARGEST_SHARE) & (sizes >= LEAST_SIDE)
    return near.all(axis=1) | (near.any(axis=1) & (number >= _LEAST_BOXES))


def smaller_copy(boxes: FloatArray, sizes: IntArray, entity_image: IntArray) -> list[str]:
    """Says that all boxes may be pixels of a smaller copy of the pictures.

    A camera that never moves may show things in one part of its pictures, too. So this is no error.

    Args:
        boxes, sizes, entity_image: see `shares`.

    Returns:
        A sentence, or nothing.
    """
    if shares(boxes, sizes, entity_image):
        return []
    boxes, sides, image = _finite(boxes, sizes, entity_image)
    number = len(np.unique(image))
    if number < _LEAST_IMAGES:
        return []
    first, last = (boxes[:, :2] / sides).min(axis=0), (boxes[:, 2:] / sides).max(axis=0)
    if (first > _FIRST_PART).any() or (last > _LAST_PART).any():
        return []
    return [
        f"No box of {number} images comes nearer to the lower right edges than {last[0]:.2f} of the width "
        f"and {last[1]:.2f} of the height: they may be pixels of a smaller copy of the pictures"
    ]


def _finite(
    boxes: FloatArray, sizes: IntArray, entity_image: IntArray
) -> tuple[FloatArray, IntArray, IntArray]:
    """Boxes that are finite, (K, 2) the sides of their images, (K,) their images."""
    finite = np.isfinite(boxes).all(axis=1)
    image = entity_image[finite]
    return boxes[finite], sizes[image], image


def _are_shares(ends: FloatArray, sides: IntArray) -> bool:
    """Whether all boxes end so near to the first edge that they are no pixels, along one axis."""
    counted = ends[sides >= LEAST_SIDE]
    return len(counted) >= _LEAST_BOXES and bool(0 < ends.max() <= LARGEST_SHARE)
