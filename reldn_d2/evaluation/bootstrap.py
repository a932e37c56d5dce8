"""Bootstrap intervals over images: how much do a recall and a difference depend on the choice of the images?

Images are drawn with replacement, as many as there are, and the recall of each draw is computed. The interval
is BCa (bias-corrected and accelerated): B. Efron, "Better Bootstrap Confidence Intervals", JASA 82 (1987);
T. J. DiCiccio and B. Efron, "Bootstrap Confidence Intervals", Statistical Science 11 (1996). Its bounds are
quantiles of the draws at the levels

    Phi(z0 + (z0 + z) / (1 - a (z0 + z))),   z = Phi^-1((1 - confidence) / 2) and Phi^-1((1 + confidence) / 2)

Phi is the normal distribution. The bias z0 is Phi^-1(share of the draws below the measured number, equal ones
as halves). The acceleration a is that of the jackknife, sum(u^3) / (6 sum(u^2)^1.5), where u is the mean of
the numbers without one image, minus the number without image i. With hits g (or their difference) and ground
truths t of N images, the number without image i is (sum(g / t) - g_i / t_i) / (N - 1) for macro, and
(sum(g) - g_i) / (sum(t) - t_i) for micro: no loop over images.

The percentile interval (`method="percentile"`) has the levels Phi(z) themselves.

With few informative images there is no interval (`Estimate.reliable`). Which samples have enough of them is
chance, and near that limit it is a chosen sample: with exact levels such intervals cover too rarely. So with
fewer than `PLENTY_OF_INFORMATIVE_IMAGES` both tails of a BCa interval are half as large.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
import numpy.typing as npt

from .graphs import FloatArray, IntArray
from .metrics import Float64Array, PerImageRecall, macro_recall, micro_recall

Method = Literal["bca", "percentile"]
#: With fewer of them an interval of 95 % is too narrow: docs/evaluation.md has its coverage.
FEWEST_INFORMATIVE_IMAGES = 50
#: With fewer of them both tails of a BCa interval are half as large, see the top of this file.
PLENTY_OF_INFORMATIVE_IMAGES = 100
_AVERAGES = {"macro": macro_recall, "micro": micro_recall}
_CHUNK = 4_000_000  # drawn images in memory at a time
# Percentage points. Sums in another order differ by less.
_EQUAL = 1e-9
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Estimate:
    """A recall in percent, or a difference in percentage points, with a confidence interval.

    Attributes:
        mean: the number measured on the split.
        low, high: bounds of its confidence interval.
        informative_images: number of images that the interval rests on, see `informative_images`. If it is
            0, the interval is the point.
    """

    mean: float
    low: float
    high: float
    informative_images: int

    @property
    def reliable(self) -> bool:
        """Whether there are enough informative images for an interval of the stated confidence."""
        return self.informative_images >= FEWEST_INFORMATIVE_IMAGES


@dataclass(frozen=True)
class Difference(Estimate):
    """Recall of one model minus recall of another, in percentage points."""

    @property
    def verdict(self) -> str:
        """What the interval shows, in words. Whether higher is better depends on the metric."""
        if not self.reliable:
            equal = not self.informative_images and abs(self.mean) < _EQUAL
            return "equal on every image" if equal else "too few images"
        if self.low > 0:
            return "shown: higher"
        return "shown: lower" if self.high < 0 else "not shown"


def image_bootstrap(
    run: PerImageRecall,
    metric: str,
    *,
    method: Method = "bca",
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Estimate]:
    """The recall of a model with its interval over images.

    Args:
        run: counts of the model under one protocol.
        metric: name of a metric in its `hits`.
        method, resamples, confidence, seed: see `paired_bootstrap`.

    Returns:
        {"macro": recall, "micro": recall} in percent.

    Raises:
        ValueError: no image has ground truth, the metric is unknown, or an option is out of range.
    """
    truths, (hits,) = aligned_hits([run], metric)
    informative = informative_images(hits / truths, truths)
    bounds = _bounds(hits.astype(np.float64), truths, informative, method, resamples, confidence, seed)
    return {
        name: Estimate(recall(hits, truths), *bounds[name], informative[name])
        for name, recall in _AVERAGES.items()
    }


def paired_bootstrap(
    a: PerImageRecall,
    b: PerImageRecall,
    metric: str,
    *,
    method: Method = "bca",
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Difference]:
    """Compare two models on the same images by drawing images with replacement.

    Both models are measured on the same draw, so that images that are hard for both cancel out. Images
    without ground truth do not count in recall and are not drawn. An interval of fewer than
    `FEWEST_INFORMATIVE_IMAGES` images with a difference is too narrow (`Difference.reliable`).

    Args:
        a, b: counts of the two models under one protocol; the images may be in different orders.
        metric: name of a metric in `hits` of both.
        method: "bca", or "percentile" as in release 0.1.0.
        resamples: number of draws.
        confidence: probability in (0, 1) that the interval covers the difference on all possible images. With
            fewer than `PLENTY_OF_INFORMATIVE_IMAGES` a BCa interval is wider, see the module.
        seed: seed of the random draws; the same seed gives the same interval.

    Returns:
        {"macro": a - b, "micro": a - b}.

    Raises:
        ValueError: if the two models were not measured on the same ground truth, if no image has ground
            truth, if the metric is unknown, or if `method`, `resamples` or `confidence` is out of range.

    Example:
        >>> import numpy as np
        >>> from reldn_d2.evaluation import PerImageRecall, paired_bootstrap
        >>> ids, truths = tuple(map(str, range(300))), np.full(300, 2)
        >>> a, b = (PerImageRecall(ids, truths, {"R@50": np.arange(300) % n}) for n in (3, 2))
        >>> found = paired_bootstrap(a, b, "R@50")["macro"]
        >>> found.mean, found.verdict
        (25.0, 'shown: higher')
    """
    truths, (hits_a, hits_b) = aligned_hits([a, b], metric)
    gain = (hits_a - hits_b).astype(np.float64)
    informative = informative_images(gain / truths, truths)
    bounds = _bounds(gain, truths, informative, method, resamples, confidence, seed)
    return {
        name: Difference(recall(hits_a, truths) - recall(hits_b, truths), *bounds[name], informative[name])
        for name, recall in _AVERAGES.items()
    }


def aligned_hits(runs: Sequence[PerImageRecall], metric: str) -> tuple[IntArray, list[IntArray | FloatArray]]:
    """The counts of runs, image by image in one order, for the images that have ground truth.

    Args:
        runs: counts of runs on the same images, one or more; the images may be in different orders.
        metric: name of a metric in `hits` of all.

    Returns:
        The (N,) ground truths, and the (N,) hits of each run.

    Raises:
        ValueError: the images or the ground truths differ, no image has ground truth, or a run does not have
            the metric.
    """
    first = runs[0]
    order_of_first = np.argsort(first.image_ids)
    truths = first.ground_truths[order_of_first]
    hits = []
    for counts in runs:
        if metric not in counts.hits:
            raise ValueError(f"no per-image counts for '{metric}'; there are: {', '.join(counts.hits)}")
        same_order = counts.image_ids == first.image_ids
        same_images = same_order or sorted(counts.image_ids) == sorted(first.image_ids)
        order = order_of_first if same_order else np.argsort(counts.image_ids)
        if not same_images or not np.array_equal(counts.ground_truths[order], truths):
            raise ValueError("the models were measured on different images or ground truth; use one split")
        hits.append(counts.hits[metric][order])
    counted = truths > 0
    if not counted.any():
        raise ValueError("no image has ground truth: there is no recall to compare")
    return truths[counted], [of_run[counted] for of_run in hits]


def informative_images(shares: Float64Array, truths: IntArray) -> dict[str, int]:
    """Number of images on which an interval rests: those whose share differs from the most frequent one.

    In micro recall a few images with many relationships can outweigh all others. There n images with t
    relationships each count as sum(t)^2 / sum(t^2) images (the effective sample size of L. Kish, "Survey
    Sampling", 1965): n if all have equally many, 1 if one image has nearly all.

    Args:
        shares: (N,) hits / ground truth of each image, or a difference of two; N > 0.
        truths: (N,) ground truths, above 0.

    Returns:
        {"macro": number, "micro": number}.
    """
    _, of_image, counts = np.unique(shares.round(9), return_inverse=True, return_counts=True)
    weights = truths[of_image != counts.argmax()].astype(np.float64)
    effective = round(float(weights.sum() ** 2 / (weights**2).sum())) if len(weights) else 0
    return {"macro": len(weights), "micro": effective}


def check_confidence(confidence: float) -> None:
    """Refuses a confidence that is not in (0, 1).

    Raises:
        ValueError: it is not.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is a share in (0, 1), such as 0.95, not {confidence}")


def _bounds(
    gain: Float64Array,
    truths: IntArray,
    informative: Mapping[str, int],
    method: Method,
    resamples: int,
    confidence: float,
    seed: int,
) -> dict[str, tuple[float, float]]:
    """Average -> (low, high), in percent.

    Args:
        gain: (N,) hits of a model, or the difference of two models.
        truths: (N,) ground truths, above 0.
        informative: see `informative_images`.
        method, resamples, confidence, seed: see `paired_bootstrap`.
    """
    check_confidence(confidence)
    if resamples < 1:
        raise ValueError(f"resamples is at least 1, not {resamples}")
    if method not in ("bca", "percentile"):
        raise ValueError(f"method is 'bca' or 'percentile', not {method!r}")
    drawn = _resampled(gain, truths, resamples, np.random.default_rng(seed))
    measured = 100.0 * np.array([np.mean(gain / truths), gain.sum() / truths.sum()])
    found = {}
    for name, of_average, number in zip(_AVERAGES, drawn.T, measured, strict=True):
        tail = 50.0 * (1.0 - confidence)
        if method == "percentile":
            low, high = np.percentile(of_average, (tail, 100.0 - tail))
        elif not informative[name]:
            low = high = number
        else:
            if informative[name] < PLENTY_OF_INFORMATIVE_IMAGES:
                tail /= 2
            levels = _bca_levels(of_average, number, _jackknife(gain, truths, name), tail / 100.0)
            low, high = np.percentile(of_average, levels)
        found[name] = (float(low), float(high))
    return found


def _resampled(
    gain: Float64Array, truths: IntArray, resamples: int, random: np.random.Generator
) -> npt.NDArray[np.float64]:
    """(resamples, 2) recalls or differences (macro, micro) in percent."""
    share = gain / truths
    num_images = len(truths)
    at_once = max(1, _CHUNK // num_images)
    parts = []
    for start in range(0, resamples, at_once):
        drawn = random.integers(num_images, size=(min(at_once, resamples - start), num_images))
        micro = gain[drawn].sum(axis=1) / truths[drawn].sum(axis=1)
        parts.append(100.0 * np.stack([share[drawn].mean(axis=1), micro], axis=1))
    return np.concatenate(parts)


def _jackknife(gain: Float64Array, truths: IntArray, average: str) -> Float64Array:
    """(N,) the number without image i, for each image i; N > 1."""
    part, whole = (gain, truths) if average == "micro" else (gain / truths, np.ones_like(truths))
    without_one: Float64Array = (part.sum() - part) / (whole.sum() - whole)
    return without_one


def _bca_levels(
    drawn: Float64Array, measured: float, without_one: Float64Array, tail: float
) -> tuple[float, float]:
    """The levels of the lower and the upper bound, in percent.

    Args:
        drawn: (resamples,) numbers of the draws.
        measured: the number of all images.
        without_one: (N,) the number without image i.
        tail: (1 - confidence) / 2.
    """
    influence = without_one.mean() - without_one
    squares = float((influence**2).sum())
    below = np.mean(drawn < measured - _EQUAL) + np.mean(np.abs(drawn - measured) <= _EQUAL) / 2
    # With few resamples all may be on one side.
    lowest = 0.5 / len(drawn)
    bias = _NORMAL.inv_cdf(min(max(float(below), lowest), 1 - lowest))
    acceleration = float((influence**3).sum()) / (6 * squares**1.5)
    levels = []
    for z in (_NORMAL.inv_cdf(tail), _NORMAL.inv_cdf(1 - tail)):
        # Beyond 0 the formula is at its limit, the outermost draw.
        divisor = max(1 - acceleration * (bias + z), 1e-12)
        levels.append(100 * _NORMAL.cdf(bias + (bias + z) / divisor))
    return levels[0], levels[1]
