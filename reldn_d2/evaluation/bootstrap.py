"""A paired bootstrap over images: could the difference of two models be due to the choice of images?"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .graphs import FloatArray, IntArray
from .metrics import PerImageRecall, macro_recall, micro_recall

_Hits = IntArray | FloatArray
_CHUNK = 4_000_000  # drawn images in memory at a time


@dataclass(frozen=True)
class Difference:
    """Recall of one model minus recall of another, in percentage points.

    Attributes:
        mean: the difference measured on the split.
        low, high: bounds of its confidence interval.
    """

    mean: float
    low: float
    high: float


def paired_bootstrap(
    a: PerImageRecall,
    b: PerImageRecall,
    metric: str,
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Difference]:
    """Compare two models on the same images by drawing images with replacement.

    Both models are measured on the same draw, so that images that are hard for both cancel out. Images
    without ground truth do not count in recall and are not drawn. The interval is the percentile interval.

    Args:
        a, b: counts of the two models under one protocol; the images may be in different orders.
        metric: name of a metric in `hits` of both.
        resamples: number of draws.
        confidence: share of the draws inside the interval, in (0, 1).
        seed: seed of the random draws; the same seed gives the same interval.

    Returns:
        {"macro": a - b, "micro": a - b}.

    Raises:
        ValueError: if the two models were not measured on the same ground truth, if no image has ground
            truth, if the metric is unknown, or if `resamples` or `confidence` is out of range.
    """
    if resamples < 1 or not 0 < confidence < 1:
        raise ValueError(f"need resamples >= 1 and 0 < confidence < 1, got {resamples} and {confidence}")
    truths, hits_a, hits_b = _align(a, b, metric)
    drawn = _resampled_differences(hits_a, hits_b, truths, resamples, np.random.default_rng(seed))
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(drawn, [tail, 100.0 - tail], axis=0)
    averages = {"macro": macro_recall, "micro": micro_recall}
    return {
        name: Difference(recall(hits_a, truths) - recall(hits_b, truths), float(low[i]), float(high[i]))
        for i, (name, recall) in enumerate(averages.items())
    }


def _align(a: PerImageRecall, b: PerImageRecall, metric: str) -> tuple[IntArray, _Hits, _Hits]:
    """Ground truths and hits of both models, image by image, for the images that have ground truth."""
    for counts in (a, b):
        if metric not in counts.hits:
            raise ValueError(f"no per-image counts for '{metric}'; there are: {', '.join(counts.hits)}")
    order_a, order_b = np.argsort(a.image_ids), np.argsort(b.image_ids)
    same_images = sorted(a.image_ids) == sorted(b.image_ids)
    if not same_images or not np.array_equal(a.ground_truths[order_a], b.ground_truths[order_b]):
        raise ValueError("the two models were measured on different images or ground truth; use one split")
    truths = a.ground_truths[order_a]
    counted = truths > 0
    if not counted.any():
        raise ValueError("no image has ground truth: there is no recall to compare")
    return truths[counted], a.hits[metric][order_a][counted], b.hits[metric][order_b][counted]


def _resampled_differences(
    hits_a: _Hits, hits_b: _Hits, truths: IntArray, resamples: int, random: np.random.Generator
) -> npt.NDArray[np.float64]:
    """(resamples, 2) differences (macro, micro) in percent."""
    gain = (hits_a - hits_b).astype(np.float64)
    share = gain / truths
    num_images = len(truths)
    at_once = max(1, _CHUNK // num_images)
    parts = []
    for start in range(0, resamples, at_once):
        drawn = random.integers(num_images, size=(min(at_once, resamples - start), num_images))
        micro = gain[drawn].sum(axis=1) / truths[drawn].sum(axis=1)
        parts.append(100.0 * np.stack([share[drawn].mean(axis=1), micro], axis=1))
    return np.concatenate(parts)
