"""Intervals over images and over seeds of training: would other images, and other trainings, say the same?

Every seed of a model is evaluated on the same images: seeds and images are crossed. With S seeds and N
images, y_si is the influence of image i on the recall of seed s: share - recall for macro, and
(hits - recall * truths) * N / sum(truths) for micro. The variance of the mean recall of the seeds comes from
the mean squares of the two-way layout (Searle, Casella and McCulloch, "Variance Components", 1992):

    images = sum_i(mean_s(y_si)^2) / (N - 1) / N        for a difference: of the difference of both means
    seeds  = variance(recall of the seeds) / S          with divisor S - 1, for each model
    both   = sum_si((y_si - mean_s(y_si))^2) / ((S - 1) (N - 1)) / (S N)

`images` and `seeds` both contain `both`, so that it is taken from the second. Half of the interval is

    sqrt(t(N - 1)^2 images + sum of t(S - 1)^2 max(seeds - both, 0) over the models)

where t(f) is the quantile of Student's t distribution with f degrees of freedom. Each variance has its own
quantile (W. G. Howe, "Approximate Confidence Limits on the Mean of X + Y", JASA 69, 1974): the variance of a
few seeds is hardly known, that of many images is. One quantile for their sum, with Satterthwaite's degrees of
freedom, gives too narrow intervals if the seeds of one model vary most. So does a bootstrap over seeds, since
draws of 5 seeds vary too little. Seeds are not paired: seed 1 of one model has nothing in common with seed 1
of another.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .bootstrap import Difference, Estimate, aligned_hits, check_confidence, informative_images
from .graphs import IntArray
from .metrics import Float64Array, PerImageRecall

#: With fewer there is no interval.
FEWEST_SEEDS = 3
#: With fewer the variance between seeds is hardly known, and intervals are wide.
FEW_SEEDS = 5
_AVERAGES = ("macro", "micro")


@dataclass(frozen=True)
class _Model:
    """The seeds of one model in one average, as shares (1 = 100 %).

    Attributes:
        recalls: (S,) recall of each seed.
        influence: (S, N) influence of each image on it.
    """

    recalls: Float64Array
    influence: Float64Array

    @property
    def seeds(self) -> float:
        """Variance of the mean recall that comes from the seeds, and from seeds and images together."""
        return float(self.recalls.var(ddof=1)) / len(self.recalls)

    @property
    def both(self) -> float:
        """The part of it that comes from seeds and images together."""
        rest = self.influence - self.influence.mean(axis=0)
        freedom = (len(self.influence) - 1) * (len(self.influence[0]) - 1)
        return float((rest**2).sum()) / freedom / self.influence.size


def seed_interval(
    runs: Sequence[PerImageRecall], metric: str, *, confidence: float = 0.95
) -> dict[str, Estimate]:
    """The mean recall of several trainings of one model, with its interval over seeds and images.

    Args:
        runs: counts of S >= 3 trainings with different seeds, on the same images.
        metric: name of a metric in `hits` of all.
        confidence: see `compare_seeds`.

    Returns:
        {"macro": recall, "micro": recall} in percent.

    Raises:
        ValueError: see `compare_seeds`.
    """
    (truths, hits), informative = _grouped([runs], metric, confidence)
    return {
        average: Estimate(*_interval([_model(hits[0], truths, average)], confidence), informative[average])
        for average in _AVERAGES
    }


def compare_seeds(
    a: Sequence[PerImageRecall], b: Sequence[PerImageRecall], metric: str, *, confidence: float = 0.95
) -> dict[str, Difference]:
    """Compare several trainings of two models on the same images.

    The interval is about the difference of the mean recalls over all seeds and all images of the kind. With
    fewer than `FEW_SEEDS` seeds of a model it is wide.

    Args:
        a, b: counts of the trainings of each model, at least 3 of each, with different seeds. The models may
            have different numbers of seeds.
        metric: name of a metric in `hits` of all.
        confidence: probability in (0, 1) that the interval covers the difference.

    Returns:
        {"macro": a - b, "micro": a - b}.

    Raises:
        ValueError: a model has fewer than 3 trainings, the images or the ground truths differ, fewer than 2
            images have ground truth, the metric is unknown, or `confidence` is out of range.

    Example:
        >>> import numpy as np
        >>> from reldn_d2.evaluation import PerImageRecall, compare_seeds
        >>> ids, truths = tuple(map(str, range(300))), np.full(300, 2)
        >>> hits = [[np.arange(seed, seed + 300) % n for seed in range(5)] for n in (3, 2)]
        >>> a, b = ([PerImageRecall(ids, truths, {"R@50": x}) for x in seeds] for seeds in hits)
        >>> found = compare_seeds(a, b, "R@50")["macro"]
        >>> found.mean, found.verdict
        (25.0, 'shown: higher')
    """
    (truths, hits), informative = _grouped([a, b], metric, confidence)
    return {
        average: Difference(
            *_interval([_model(of_model, truths, average) for of_model in hits], confidence),
            informative[average],
        )
        for average in _AVERAGES
    }


def _grouped(
    models: Sequence[Sequence[PerImageRecall]], metric: str, confidence: float
) -> tuple[tuple[IntArray, list[Float64Array]], dict[str, int]]:
    """The (N,) ground truths, the (S, N) hits of each model, and the number of informative images."""
    check_confidence(confidence)
    if min(map(len, models)) < FEWEST_SEEDS:
        given = " and ".join(str(len(runs)) for runs in models)
        raise ValueError(
            f"an interval over seeds needs at least {FEWEST_SEEDS} trainings of each model, not {given}"
        )
    truths, hits = aligned_hits([run for runs in models for run in runs], metric)
    if len(truths) < 2:
        raise ValueError("an interval over seeds needs at least 2 images with ground truth, not 1")
    grouped: list[Float64Array] = []
    for runs in models:
        grouped.append(np.stack(hits[: len(runs)]).astype(np.float64))
        del hits[: len(runs)]
    first, *others = (of_model.mean(axis=0) for of_model in grouped)
    gain = first - others[0] if others else first
    return (truths, grouped), informative_images(gain / truths, truths)


def _model(hits: Float64Array, truths: IntArray, average: str) -> _Model:
    if average == "macro":
        shares = hits / truths
        recalls = shares.mean(axis=1)
        return _Model(recalls, shares - recalls[:, None])
    recalls = hits.sum(axis=1) / truths.sum()
    return _Model(recalls, (hits - recalls[:, None] * truths) / truths.mean())


def _interval(models: Sequence[_Model], confidence: float) -> tuple[float, float, float]:
    """Mean recall of one model, or the first minus the second, and the bounds, in percent."""
    from scipy.special import stdtrit  # late: few commands need it

    signs = (1.0, -1.0)[: len(models)]
    mean = sum(sign * float(x.recalls.mean()) for sign, x in zip(signs, models, strict=True))
    influence = sum(sign * x.influence.mean(axis=0) for sign, x in zip(signs, models, strict=True))
    num_images = models[0].influence.shape[1]
    # (degrees of freedom, variance)
    parts = [(num_images - 1, float((influence**2).sum()) / (num_images - 1) / num_images)]
    parts += [(len(x.recalls) - 1, max(x.seeds - x.both, 0.0)) for x in models]
    half = sum(float(stdtrit(freedom, (1 + confidence) / 2)) ** 2 * part for freedom, part in parts) ** 0.5
    return 100.0 * mean, 100.0 * (mean - half), 100.0 * (mean + half)
