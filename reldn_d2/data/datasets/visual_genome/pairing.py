"""Whether two lists that are paired by row belong together: image sizes, and the boxes of the same rows.

If a list has another order from some row on, or in a part of it, boxes meet the size of another image. Where
one is upright and the other lies on its side, boxes stick out far. In the right order hardly any does. So the
share of images with such a box is looked at in every range of rows, not only in all of them.

Images of one shape look alike in any order: nobody can tell them apart by their sizes, and neither can this.
"""

import math

import numpy as np
from numpy.typing import NDArray

# A box sticks out far if it does so by more than this part of the image's side.
_FAR_OUT = 0.1
# Share of images with such a box: the highest that is taken for right, and what a wrong order has at least.
_RIGHT, _WRONG = 0.05, 0.2
# How much better, as the logarithm of a ratio of likelihoods, the second share must describe a range than the
# first. 15 such images in a row reach it. By chance a list of 100,000 images does less than once in 5,000
# times, even if 5 % of its images have such a box.
_CERTAIN = 20.0


def mismatched_rows(
    boxes: NDArray[np.float64], sizes: NDArray[np.float64], box_counts: NDArray[np.int64]
) -> tuple[int, int, int] | None:
    """Find the range of rows whose boxes and sizes fit each other worst.

    Args:
        boxes: (N, 4) XYXY, image after image.
        sizes: (I, 2) width and height of the images, in the unit of the boxes.
        box_counts: (I,) number of boxes of each image.

    Returns:
        First row, last row, and how many images of the range have a box that sticks out far. None if there is
        no range where so many do that it can't be chance.
    """
    size_of_box = np.repeat(sizes, box_counts, axis=0)
    excess = np.maximum(-boxes[:, :2], boxes[:, 2:] - size_of_box)
    far_out = (excess > _FAR_OUT * size_of_box).any(axis=1)
    rows = np.flatnonzero(box_counts)
    of_image = np.repeat(np.arange(len(box_counts)), box_counts)
    odd = np.isin(rows, of_image[far_out])
    # The range with the largest sum is where the sums of all rows before rise most.
    gain = np.where(odd, math.log(_WRONG / _RIGHT), math.log((1 - _WRONG) / (1 - _RIGHT)))
    sums = np.concatenate([[0.0], np.cumsum(gain)])
    rise = sums - np.minimum.accumulate(sums)
    end = int(rise.argmax())
    if rise[end] < _CERTAIN:
        return None
    start = int(sums[: end + 1].argmin())
    return int(rows[start]), int(rows[end - 1]), int(odd[start:end].sum())
