"""Intervals over images and seeds: hand-made numbers, known special cases, and a version with loops."""

from itertools import product

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from reldn_d2.evaluation import PerImageRecall, compare_seeds, seed_interval
from reldn_d2.evaluation.bootstrap import Difference, Estimate


def run(hits: list[float] | np.ndarray, truths: list[int] | np.ndarray) -> PerImageRecall:
    names = tuple(f"{i}" for i in range(len(hits)))
    return PerImageRecall(names, np.array(truths), {"R@50": np.array(hits)})


def bounds(found: Estimate) -> tuple[float, float, float]:
    return found.mean, found.low, found.high


def test_numbers_by_hand() -> None:
    # Shares of A in two images: (1, 0), (1, 1), (1, 1); of B: all 0. Recalls of A: 1/2, 1, 1; mean 5/6.
    # Influence of A: (1/2, -1/2), 0, 0; mean over seeds (1/6, -1/6). images = (2/36) / (2 - 1) / 2 = 1/36.
    # seeds = variance(1/2, 1, 1) / 3 = (1/12) / 3 = 1/36.
    # both: rest (1/3, -1/3), (-1/6, 1/6), (-1/6, 1/6): (2/9 + 4/36) / (2 * 1) / 6 = 1/36; seeds - both = 0.
    # Half: t(1) / 6 = 12.70620 / 6 = 2.117700.
    truths = [1, 1]
    a = [run([1, 0], truths), run([1, 1], truths), run([1, 1], truths)]
    b = [run([0, 0], truths)] * 3
    found = compare_seeds(a, b, "R@50")
    expected = (83.33333, 83.33333 - 211.7700, 83.33333 + 211.7700)
    assert bounds(found["macro"]) == pytest.approx(expected, abs=1e-3)
    assert bounds(found["micro"]) == pytest.approx(expected, abs=1e-3)
    assert found["macro"].informative_images == 1
    assert bounds(seed_interval(a, "R@50")["macro"]) == pytest.approx(expected, abs=1e-3)


def test_equal_images_leave_the_variance_of_the_seeds() -> None:
    truths = [10] * 6
    found_by = {"a": [3, 5, 4, 4], "b": [6, 8, 10]}
    a, b = ([run([hits] * 6, truths) for hits in found_by[model]] for model in "ab")
    # Student's interval of one model.
    one = scipy.stats.ttest_1samp(found_by["a"], 0).confidence_interval(0.9)
    found = seed_interval(a, "R@50", confidence=0.9)["macro"]
    assert (found.low, found.high) == pytest.approx((10 * one.low, 10 * one.high))
    # Variances of the means: (2/3) / 4 = 1/6 and 4 / 3; t(3) = 3.182446 and t(2) = 4.302653.
    half = 10 * (3.182446**2 / 6 + 4.302653**2 * 4 / 3) ** 0.5
    for difference in compare_seeds(a, b, "R@50").values():
        assert bounds(difference) == pytest.approx((-40, -40 - half, -40 + half), rel=1e-6)


def test_equal_seeds_give_the_t_interval_over_images() -> None:
    a, b = [[1, 2, 3, 1, 0]] * 3, [[0, 2, 1, 2, 0]] * 4
    truths = [4, 4, 4, 4, 4]
    found = compare_seeds([run(x, truths) for x in a], [run(x, truths) for x in b], "R@50")
    paired = scipy.stats.ttest_rel(a[0], b[0]).confidence_interval(0.95)
    for average in found.values():
        assert (average.low, average.high) == pytest.approx((25 * paired.low, 25 * paired.high))


def quantile(freedom: int, confidence: float) -> float:
    return float(scipy.stats.t.ppf((1 + confidence) / 2, freedom))


def with_loops(
    models: list[np.ndarray], truths: np.ndarray, average: str, confidence: float
) -> tuple[float, float, float]:
    """The formulas of the module, one image and one seed after the other."""
    num_images = len(truths)
    mean, seeds = 0.0, 0.0
    by_image = np.zeros(num_images)
    for sign, hits in zip((1, -1), models, strict=False):
        recalls, influence = [], np.zeros(hits.shape)
        for s, of_seed in enumerate(hits):
            if average == "macro":
                recalls.append(sum(h / t for h, t in zip(of_seed, truths, strict=True)) / num_images)
            else:
                recalls.append(sum(of_seed) / sum(truths))
            for i in range(num_images):
                if average == "macro":
                    influence[s, i] = of_seed[i] / truths[i] - recalls[s]
                else:
                    influence[s, i] = (of_seed[i] - recalls[s] * truths[i]) * num_images / sum(truths)
        mean += sign * sum(recalls) / len(hits)
        middle = [sum(influence[:, i]) / len(hits) for i in range(num_images)]
        by_image += sign * np.array(middle)
        rest = sum(
            (influence[s, i] - middle[i]) ** 2 for s, i in product(range(len(hits)), range(num_images))
        )
        both = rest / (len(hits) - 1) / (num_images - 1) / len(hits) / num_images
        of_seeds = sum((x - sum(recalls) / len(hits)) ** 2 for x in recalls) / (len(hits) - 1) / len(hits)
        seeds += quantile(len(hits) - 1, confidence) ** 2 * max(of_seeds - both, 0)
    images = sum(x**2 for x in by_image) / (num_images - 1) / num_images
    half = (quantile(num_images - 1, confidence) ** 2 * images + seeds) ** 0.5
    return 100 * mean, 100 * (mean - half), 100 * (mean + half)


@settings(max_examples=30)
@given(st.integers(2, 12), st.integers(3, 6), st.integers(3, 6), st.integers(0, 999))
def test_equals_the_version_with_loops(images: int, seeds_a: int, seeds_b: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    truths = random.integers(1, 6, images)
    # Hits may be fractions, and seeds differ by little or by much.
    a, b = (
        np.minimum(
            truths * random.random((n, images)) * random.random((n, 1)) ** random.integers(0, 2), truths
        )
        for n in (seeds_a, seeds_b)
    )
    runs_a, runs_b = ([run(hits, truths) for hits in x] for x in (a, b))
    for average, found in compare_seeds(runs_a, runs_b, "R@50", confidence=0.9).items():
        assert bounds(found) == pytest.approx(with_loops([a, b], truths, average, 0.9), abs=1e-8)
    for average, one in seed_interval(runs_a, "R@50").items():
        assert bounds(one) == pytest.approx(with_loops([a], truths, average, 0.95), abs=1e-8)


def test_what_an_interval_does_not_depend_on() -> None:
    random = np.random.default_rng(3)
    truths = random.integers(0, 6, 30)
    a, b = ([run(random.binomial(truths, 0.4), truths) for _ in range(n)] for n in (3, 4))
    found = compare_seeds(a, b, "R@50")
    order = random.permutation(30)
    shuffled = PerImageRecall(
        tuple(a[1].image_ids[i] for i in order), truths[order], {"R@50": a[1].hits["R@50"][order]}
    )
    others = compare_seeds([a[2], a[0], shuffled], b[::-1], "R@50")
    swapped = compare_seeds(b, a, "R@50")
    for average, x in found.items():
        assert x.low < x.mean < x.high
        assert bounds(others[average]) == pytest.approx(bounds(x), abs=1e-9)
        y = swapped[average]
        assert (-y.mean, -y.high, -y.low) == pytest.approx(bounds(x), abs=1e-9)


def test_equal_models_without_variation_differ_by_nothing() -> None:
    same = [run([1, 2, 3], [2, 4, 6])] * 3
    assert compare_seeds(same, same, "R@50")["micro"] == Difference(0.0, 0.0, 0.0, 0)


def test_what_can_not_be_compared_is_refused() -> None:
    one, other = run([1, 0], [1, 1]), run([1, 0], [2, 1])
    with pytest.raises(ValueError, match="at least 3 trainings of each model, not 3 and 2"):
        compare_seeds([one] * 3, [one] * 2, "R@50")
    with pytest.raises(ValueError, match="at least 3 trainings of each model, not 1"):
        seed_interval([one], "R@50")
    with pytest.raises(ValueError, match="different images"):
        compare_seeds([one] * 3, [one, one, other], "R@50")
    with pytest.raises(ValueError, match="R@7"):
        compare_seeds([one] * 3, [one] * 3, "R@7")
    with pytest.raises(ValueError, match="at least 2 images with ground truth"):
        compare_seeds([run([1, 0], [1, 0])] * 3, [run([0, 0], [1, 0])] * 3, "R@50")
    with pytest.raises(ValueError, match="confidence"):
        compare_seeds([one] * 3, [one] * 3, "R@50", confidence=95)
