"""Recall from hits counted image by image, and where it is kept for comparing two models."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .graphs import IntArray


@dataclass(frozen=True)
class PerImageRecall:
    """What one protocol counted in every image of a split.

    Attributes:
        image_ids: N image ids, as text.
        ground_truths: (N,) int, annotated relationships of each image.
        hits: metric name -> (N,) int, how many of them were found.
    """

    image_ids: tuple[str, ...]
    ground_truths: IntArray
    hits: Mapping[str, IntArray]


def micro_recall(hits: IntArray, ground_truths: IntArray) -> float:
    """Hits of all images over ground truth of all images.

    Args:
        hits, ground_truths: (N,) int.

    Returns:
        Percent in [0, 100]; NaN where no image has ground truth.
    """
    total = int(ground_truths.sum())
    return 100.0 * int(hits.sum()) / total if total else float("nan")


def macro_recall(hits: IntArray, ground_truths: IntArray) -> float:
    """Mean over images of hits / ground truth, leaving out images without ground truth.

    Args:
        hits, ground_truths: (N,) int.

    Returns:
        Percent in [0, 100]; NaN where no image has ground truth.
    """
    counted = ground_truths > 0
    if not counted.any():
        return float("nan")
    return 100.0 * float(np.mean(hits[counted] / ground_truths[counted]))
