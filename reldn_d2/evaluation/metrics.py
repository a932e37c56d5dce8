"""Functions that turn counts into recall (by image, relationship or predicate) and average precision.

`PerImageRecall` keeps the counts of each image, so that two models can be compared.
"""

from collections.abc import Iterable, Mapping
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


class PredicateRecall:
    """Recall of each predicate over images that come in parts, image after image.

    The sums are those of all images at once, bit for bit, however the images are cut into parts.

    Attributes:
        annotated: (P,) int, number of annotated relationships of each predicate.
    """

    def __init__(self, num_predicates: int, names: Iterable[str]) -> None:
        """Has no image yet.

        Args:
            num_predicates: number P of predicates.
            names: names of the recalls, for example one for each K.
        """
        self.annotated = np.zeros(num_predicates, dtype=np.int64)
        self._images = np.zeros(num_predicates, dtype=np.int64)
        self._found = {name: np.zeros(num_predicates, dtype=np.int64) for name in names}
        self._recall = {name: np.zeros(num_predicates) for name in self._found}

    def add(self, predicate: IntArray, image: IntArray, found: Mapping[str, BoolArray]) -> None:
        """Add the relationships of the next images.

        Args:
            predicate: (R,) int.
            image: (R,) int, the image of each relationship, in ascending order.
            found: name -> (R,) bool, whether each relationship was found.
        """
        num_predicates = len(self.annotated)
        cells, cell = np.unique(image.astype(np.int64) * num_predicates + predicate, return_inverse=True)
        of_cell, in_cell = cells % num_predicates, np.bincount(cell)
        self.annotated += np.bincount(predicate, minlength=num_predicates)
        self._images += np.bincount(of_cell, minlength=num_predicates)
        for name in self._found:
            self._found[name] += np.bincount(predicate[found[name]], minlength=num_predicates)
            # `add.at` adds one number after the other, so that the cuts between parts do not matter.
            np.add.at(self._recall[name], of_cell, np.bincount(cell, weights=found[name]) / in_cell)

    def pooled(self, name: str) -> Float64Array:
        """(P,) percent, found by annotated relationships of all images; NaN for one that is not annotated."""
        return percent(self._found[name], self.annotated)

    def image_mean(self, name: str) -> Float64Array:
        """(P,) percent, mean of the recall over the images with the predicate; NaN if there is none."""
        return percent(self._recall[name], self._images)


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


def percent(part: IntArray | FloatArray, whole: IntArray) -> Float64Array:
    """(P,) shares in percent; NaN where the whole is 0."""
    share = np.full(len(whole), np.nan)
    np.divide(100.0 * part, whole, out=share, where=whole > 0)
    return share


def average_precision(places: IntArray, num_truths: int) -> float:
    """Area under the precision envelope, summed at every recall point (PASCAL VOC 2010 and later).

    The envelope at a recall is the best precision reached at that recall or a higher one. Recall rises by
    1 / num_truths at each true positive and nowhere else, and between two of them precision falls. So the
    places of the true positives are enough.

    Args:
        places: (T,) int, ascending, places of the true positives of one category in the list of its
            detections in all images, best first; the first place is 1.
        num_truths: number of annotated instances of the category.

    Returns:
        A number in [0, 1]; 0 if there is no true positive; NaN (undefined) if there is no annotated instance.
    """
    if num_truths == 0:
        return float("nan")
    best_at_higher_recall = np.maximum.accumulate((np.arange(1, len(places) + 1) / places)[::-1])
    # The order of adding is part of the result: from the first true positive to the last.
    envelope = np.ascontiguousarray(best_at_higher_recall[::-1])
    return float(envelope.sum() / num_truths)
