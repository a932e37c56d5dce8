"""Average precision of ranked detections."""

import numpy as np
import numpy.typing as npt

from .graphs import BoolArray, FloatArray, IntArray


def average_precision(true_positive: BoolArray, num_truths: int) -> float:
    """Area under the precision envelope, summed at every recall point (PASCAL VOC 2010 and later).

    The envelope at a recall is the best precision reached at that recall or a higher one.

    Args:
        true_positive: (D,) bool, detections of one category over all images, best first.
        num_truths: annotated instances of the category.

    Returns:
        A number in [0, 1]; 0 without detections; NaN without annotated instances, where it is undefined.
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
        predicate, score, true_positive: (D,) detections of all images. Equal scores rank in the order given,
            so the caller fixes the order of the images.
        num_truths: (P,) annotated relationships of each predicate.

    Returns:
        (P,) in [0, 1], NaN for a predicate without annotated relationships.
    """
    best_first = np.argsort(-score, kind="stable")
    predicate, true_positive = predicate[best_first], true_positive[best_first]
    return np.array(
        [average_precision(true_positive[predicate == p], int(n)) for p, n in enumerate(num_truths)]
    )
