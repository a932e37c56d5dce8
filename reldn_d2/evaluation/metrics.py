"""Functions that turn counts into recall (by image, relationship or predicate) and average precision.

`PerImageRecall` keeps the counts of each image, so that two models can be compared.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .graphs import BoolArray, FloatArray, IntArray

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PerImageRecall:
    """The counts of one protocol in every image of a split.

    Attributes:
        image_ids: N image ids as text.
        ground_truths: (N,) int, number of annotated relationships (or other cases) in each image.
        hits: metric name -> (N,) number of them that were found; not an integer if a case counts as half.
    """

    image_ids: tuple[str, ...]
    ground_truths: IntArray
    hits: Mapping[str, IntArray | FloatArray]


def micro_recall(hits: IntArray | FloatArray, ground_truths: IntArray) -> float:
    """Hits of all images divided by ground truth of all images.

    Args:
        hits, ground_truths: (N,).

    Returns:
        Percent in [0, 100]; NaN if no image has ground truth.
    """
    total = int(ground_truths.sum())
    return 100.0 * float(hits.sum()) / total if total else float("nan")


def macro_recall(hits: IntArray | FloatArray, ground_truths: IntArray) -> float:
    """Mean of hits / ground truth over the images that have ground truth.

    Args:
        hits, ground_truths: (N,).

    Returns:
        Percent in [0, 100]; NaN if no image has ground truth.
    """
    counted = ground_truths > 0
    if not counted.any():
        return float("nan")
    return 100.0 * float(np.mean(hits[counted] / ground_truths[counted]))


def share_per_predicate(
    found: BoolArray | FloatArray, predicate: IntArray, num_predicates: int
) -> Float64Array:
    """Found relationships divided by annotated relationships, for each predicate, over all images.

    Args:
        found: (R,) whether each annotated relationship of the split was found; a number if it counts in part.
        predicate: (R,) int.
        num_predicates: number P of predicates.

    Returns:
        (P,) percent; NaN for a predicate that is not annotated.
    """
    return _percent(
        np.bincount(predicate, weights=found, minlength=num_predicates),
        np.bincount(predicate, minlength=num_predicates),
    )


def image_recall_per_predicate(
    found: BoolArray, predicate: IntArray, image: IntArray, num_predicates: int
) -> Float64Array:
    """Recall of each predicate in every image that has it, averaged over these images.

    Args:
        found, predicate, num_predicates: see `share_per_predicate`.
        image: (R,) int, the image of each relationship.

    Returns:
        (P,) percent; NaN for a predicate that is not annotated.
    """
    cells, cell = np.unique(image.astype(np.int64) * num_predicates + predicate, return_inverse=True)
    recall = np.bincount(cell, weights=found) / np.bincount(cell)
    return _percent(
        np.bincount(cells % num_predicates, weights=recall, minlength=num_predicates),
        np.bincount(cells % num_predicates, minlength=num_predicates),
    )


def mean_over_annotated(per_predicate: Float64Array) -> float:
    """Mean over the predicates that are annotated (not NaN); NaN if there is none."""
    annotated = per_predicate[~np.isnan(per_predicate)]
    return float(annotated.mean()) if len(annotated) else float("nan")


def mean_over_all(per_predicate: Float64Array) -> float:
    """Mean over all predicates, where one that is not annotated counts as 0; NaN if none is annotated."""
    if np.isnan(per_predicate).all():
        return float("nan")
    return float(np.nan_to_num(per_predicate).mean())


def harmonic_mean(a: float, b: float) -> float:
    """Harmonic mean of two numbers that are not negative; 0 if both are 0, NaN if one is NaN."""
    return 2 * a * b / (a + b) if a + b != 0 else 0.0


def _percent(part: IntArray | FloatArray, whole: IntArray) -> Float64Array:
    share = np.full(len(whole), np.nan)
    np.divide(100.0 * part, whole, out=share, where=whole > 0)
    return share


def average_precision(true_positive: BoolArray, num_truths: int) -> float:
    """Area under the precision envelope, summed at every recall point (PASCAL VOC 2010 and later).

    The envelope at a recall is the best precision reached at that recall or a higher one.

    Args:
        true_positive: (D,) bool, the detections of one category in all images, best first.
        num_truths: number of annotated instances of the category.

    Returns:
        A number in [0, 1]; 0 if there is no detection; NaN (undefined) if there is no annotated instance.
    """
    if num_truths == 0:
        return float("nan")
    precision = np.cumsum(true_positive) / np.arange(1, len(true_positive) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    # Recall rises by 1 / num_truths at each true positive and nowhere else.
    return float(envelope[true_positive].sum() / num_truths)


def average_precision_per_predicate(
    predicate: IntArray, score: FloatArray, true_positive: BoolArray, num_truths: IntArray
) -> npt.NDArray[np.float64]:
    """Average precision of every predicate.

    Args:
        predicate, score, true_positive: (D,) detections in all images. Equal scores keep their order, so the
            caller decides the order of the images.
        num_truths: (P,) number of annotated relationships of each predicate.

    Returns:
        (P,) in [0, 1]; NaN for a predicate without annotated relationship.
    """
    best_first = np.argsort(-score, kind="stable")
    predicate, true_positive = predicate[best_first], true_positive[best_first]
    return np.array(
        [average_precision(true_positive[predicate == p], int(n)) for p, n in enumerate(num_truths)]
    )
