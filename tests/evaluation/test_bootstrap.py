import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from reldn_d2.evaluation import PerImageRecall, image_bootstrap, paired_bootstrap
from reldn_d2.evaluation.bootstrap import (
    FEWEST_INFORMATIVE_IMAGES,
    Difference,
    Estimate,
    _bca_levels,
    _jackknife,
    _resampled,
    aligned_hits,
)
from reldn_d2.evaluation.metrics import macro_recall, micro_recall

AVERAGES = {"macro": macro_recall, "micro": micro_recall}


def counts(hits: list[int], truths: list[int], ids: tuple[str, ...] | None = None) -> PerImageRecall:
    names = ids or tuple(f"{i}" for i in range(len(hits)))
    return PerImageRecall(names, np.array(truths), {"R@50": np.array(hits)})


def test_measured_difference_in_both_averages() -> None:
    result = paired_bootstrap(counts([2, 2, 0], [2, 4, 0]), counts([1, 2, 0], [2, 4, 0]), "R@50")
    assert result["macro"].mean == pytest.approx(100 * (0.5 + 0) / 2)
    assert result["micro"].mean == pytest.approx(100 / 6)


def test_all_draws_of_two_images() -> None:
    # The draws are (a, a), (a, b), (b, a), (b, b): macro differences 50, 25, 25, 0
    result = paired_bootstrap(counts([2, 2], [2, 4]), counts([1, 2], [2, 4]), "R@50", method="percentile")
    assert result["macro"] == Difference(25.0, 0.0, 50.0, 1)
    assert result["micro"] == Difference(pytest.approx(100 / 6), 0.0, 50.0, 1)


def test_equal_models_differ_by_nothing() -> None:
    same = counts([1, 0, 3], [2, 1, 3])
    assert paired_bootstrap(same, same, "R@50")["micro"] == Difference(0.0, 0.0, 0.0, 0)


def test_interval_is_that_of_the_normal_approximation() -> None:
    random = np.random.default_rng(1)
    a, b = random.integers(0, 2, (2, 2000))
    truths = random.choice([1, 10], 2000)  # different weights make the micro average vary more
    models = (counts((found * truths).tolist(), truths.tolist()) for found in (a, b))
    result = paired_bootstrap(*models, "R@50")["macro"]
    expected = 1.96 * 100 * (a - b).std() / np.sqrt(2000)
    assert result.high - result.mean == pytest.approx(expected, rel=0.1)
    assert result.mean - result.low == pytest.approx(expected, rel=0.1)


def test_result_depends_on_the_seed_only() -> None:
    a, b = counts([2, 1, 0], [2, 4, 3]), counts([1, 2, 2], [2, 4, 3])
    order = [2, 0, 1]
    shuffled = PerImageRecall(
        tuple(b.image_ids[i] for i in order), b.ground_truths[order], {"R@50": b.hits["R@50"][order]}
    )
    assert paired_bootstrap(a, b, "R@50", seed=3) == paired_bootstrap(a, shuffled, "R@50", seed=3)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = counts([2, 1, 0], [2, 4, 3]), counts([1, 2, 2], [2, 4, 3])
    whole = paired_bootstrap(a, b, "R@50")
    monkeypatch.setattr("reldn_d2.evaluation.bootstrap._CHUNK", 7)
    assert paired_bootstrap(a, b, "R@50") == whole


@pytest.mark.parametrize(
    "other",
    [counts([1, 1], [2, 1]), counts([1, 1], [1, 1], ("0", "7")), counts([1], [1]), counts([1, 1], [0, 0])],
)
def test_different_splits_are_refused(other: PerImageRecall) -> None:
    with pytest.raises(ValueError, match="different images"):
        paired_bootstrap(counts([1, 0], [1, 1]), other, "R@50")


def test_bad_requests_are_refused() -> None:
    good, empty = counts([1], [1]), counts([0], [0])
    with pytest.raises(ValueError, match="R@7"):
        paired_bootstrap(good, good, "R@7")
    with pytest.raises(ValueError, match="no image"):
        paired_bootstrap(empty, empty, "R@50")
    with pytest.raises(ValueError, match="confidence"):
        paired_bootstrap(good, good, "R@50", confidence=95.0)
    with pytest.raises(ValueError, match="resamples is at least 1, not 0"):
        paired_bootstrap(good, good, "R@50", resamples=0)
    with pytest.raises(ValueError, match="'bca' or 'percentile', not 'BCa'"):
        paired_bootstrap(good, good, "R@50", method="BCa")  # type: ignore[arg-type]


def models(images: int, seed: int = 0) -> tuple[PerImageRecall, PerImageRecall]:
    """Two models with hits that are no integers, so that no two draws are equal."""
    random = np.random.default_rng(seed)
    truths = random.integers(1, 9, images)
    a, b = (truths * random.beta(*shape, images) for shape in ((2, 3), (2, 4)))
    ids = tuple(f"{i}" for i in range(images))
    return PerImageRecall(ids, truths, {"R@50": a}), PerImageRecall(ids, truths, {"R@50": b})


@pytest.mark.parametrize("average", AVERAGES)
def test_the_jackknife_is_that_of_a_loop_over_the_images(average: str) -> None:
    truths, gain = np.array([1, 4, 2, 7]), np.array([0.5, -1, 2, 3])
    left = [AVERAGES[average](np.delete(gain, i), np.delete(truths, i)) / 100 for i in range(4)]
    assert _jackknife(gain, truths, average) == pytest.approx(left, abs=1e-14)


def test_levels_by_hand() -> None:
    # Without one image: 1, 1, 1, 5. Their mean is 2: u = 1, 1, 1, -3, sum u^2 = 12, sum u^3 = -24,
    # a = -24 / (6 * 12^1.5) = -0.0962250. 5 of 20 draws are below, and 2 are equal: z0 = Phi^-1(0.3) =
    # -0.5244005, z0 + z = -2.4843645 and 1.4355635, a (z0 + z) = 0.2390580 and -0.1381371.
    drawn = np.array([0.0] * 5 + [1.0] * 2 + [2.0] * 13)
    low, high = _bca_levels(drawn, 1.0, np.array([1.0, 1.0, 1.0, 5.0]), 0.025)
    assert low == pytest.approx(
        100 * scipy.stats.norm.cdf(-0.5244005 - 2.4843645 / (1 - 0.2390580)), rel=1e-5
    )
    assert high == pytest.approx(
        100 * scipy.stats.norm.cdf(-0.5244005 + 1.4355635 / (1 + 0.1381371)), rel=1e-5
    )


@pytest.mark.parametrize("average", AVERAGES)
def test_the_levels_are_those_of_scipy_for_the_same_draws(average: str) -> None:
    a, b = models(200)
    gain, truths = a.hits["R@50"] - b.hits["R@50"], a.ground_truths

    def difference(gain: np.ndarray, truths: np.ndarray, axis: int = -1) -> np.ndarray:
        if average == "macro":
            return 100 * (gain / truths).mean(axis=axis)
        return 100 * gain.sum(axis=axis) / truths.sum(axis=axis)

    theirs = scipy.stats.bootstrap(
        (gain, truths), difference, paired=True, method="BCa", n_resamples=4000, rng=np.random.default_rng(0)
    )
    drawn = theirs.bootstrap_distribution
    levels = _bca_levels(drawn, float(difference(gain, truths)), _jackknife(gain, truths, average), 0.025)
    assert np.percentile(drawn, levels) == pytest.approx([*theirs.confidence_interval], rel=1e-9)
    # With our own draws the bounds differ as two sets of draws do.
    found = paired_bootstrap(a, b, "R@50", resamples=4000)[average]
    width = found.high - found.low
    assert (found.low, found.high) == pytest.approx([*theirs.confidence_interval], abs=0.05 * width)


def test_the_interval_of_a_skewed_recall_is_not_symmetric() -> None:
    # One image in 20 is found: BCa reaches further up than down, further than the percentile interval.
    run = counts([1] * 100 + [0] * 1900, [1] * 2000)
    bca, percentile = (
        image_bootstrap(run, "R@50", method=m, resamples=20_000)["macro"] for m in ("bca", "percentile")
    )
    assert bca.mean == percentile.mean == 5.0
    assert bca.high - 5 > 5 - bca.low and bca.high > percentile.high and bca.low > percentile.low


def test_near_the_fewest_informative_images_the_tails_are_half_as_large() -> None:
    for informative, confidence in ((99, 0.975), (100, 0.95)):
        run = counts([1] * informative + [0] * 1900, [1] * (1900 + informative))
        truths, (hits,) = aligned_hits([run], "R@50")
        drawn = _resampled(hits.astype(float), truths, 2000, np.random.default_rng(0))[:, 0]
        bca, plain = (image_bootstrap(run, "R@50", method=m)["macro"] for m in ("bca", "percentile"))
        levels = _bca_levels(drawn, bca.mean, _jackknife(hits, truths, "macro"), (1 - confidence) / 2)
        assert [bca.low, bca.high] == pytest.approx(np.percentile(drawn, levels).tolist())
        assert [plain.low, plain.high] == pytest.approx(np.percentile(drawn, [2.5, 97.5]).tolist())


def test_one_run_is_a_difference_from_a_run_that_finds_nothing() -> None:
    run, other = models(60)
    nothing = PerImageRecall(other.image_ids, other.ground_truths, {"R@50": np.zeros(60)})
    found, difference = image_bootstrap(run, "R@50", seed=4), paired_bootstrap(run, nothing, "R@50", seed=4)
    for average in AVERAGES:
        own, other_ = found[average], difference[average]
        assert (own.mean, own.low, own.high) == (other_.mean, other_.low, other_.high)


@settings(max_examples=30)
@given(st.integers(2, 40), st.integers(0, 99))
def test_what_an_interval_does_not_depend_on(images: int, seed: int) -> None:
    a, b = models(images, seed)
    found = paired_bootstrap(a, b, "R@50", resamples=50)
    order = np.random.default_rng(seed).permutation(images)
    shuffled, threefold = (
        [
            PerImageRecall(
                tuple(x.image_ids[i] for i in rows),
                factor * x.ground_truths[rows],
                {"R@50": factor * x.hits["R@50"][rows]},
            )
            for x in (a, b)
        ]
        for rows, factor in ((order, 1), (np.arange(images), 3))
    )
    swapped = paired_bootstrap(b, a, "R@50", resamples=50)
    for average, x in found.items():
        assert x.low <= x.high
        assert paired_bootstrap(*shuffled, "R@50", resamples=50)[average] == x
        y = paired_bootstrap(*threefold, "R@50", resamples=50)[average]
        assert (y.mean, y.low, y.high) == pytest.approx((x.mean, x.low, x.high), abs=1e-9)
        y = swapped[average]
        assert (y.mean, y.low, y.high) == pytest.approx((-x.mean, -x.high, -x.low), abs=1e-9)


@pytest.mark.parametrize("images", [1, 3])
def test_without_variation_the_interval_is_the_point(images: int) -> None:
    whole, half = counts([2] * images, [2] * images), counts([1] * images, [2] * images)
    for average in AVERAGES:
        assert image_bootstrap(half, "R@50")[average] == Estimate(50.0, 50.0, 50.0, 0)
        assert paired_bootstrap(whole, half, "R@50")[average] == Difference(50.0, 50.0, 50.0, 0)


def test_one_draw_gives_an_interval_too() -> None:
    a, b = models(5)
    found = paired_bootstrap(a, b, "R@50", resamples=1)["macro"]
    assert found.low == found.high


def test_an_extreme_confidence_gives_the_outermost_draws() -> None:
    # One image in 50 has all hits, so the acceleration is nearly as large as it can be.
    a, nothing = counts([9] + [0] * 49, [9] * 50), counts([0] * 50, [9] * 50)
    found = paired_bootstrap(a, nothing, "R@50", confidence=1 - 1e-14, resamples=500)["macro"]
    assert found.low == 0 and found.high >= 8


def test_informative_images_are_those_with_another_share_than_the_most_frequent_one() -> None:
    a, b = counts([1, 2, 0, 0, 1, 0], [2, 4, 3, 1, 1, 0]), counts([1, 2, 0, 1, 1, 0], [2, 4, 3, 1, 1, 0])
    # Shares 1/2, 1/2, 0, 0, 1: three are not 0. They have 2, 4 and 1 relationships: 7^2 / 21 = 2.3.
    found = image_bootstrap(a, "R@50")
    assert (found["macro"].informative_images, found["micro"].informative_images) == (3, 2)
    assert paired_bootstrap(a, b, "R@50")["micro"].informative_images == 1


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [
        (Difference(1.0, 0.5, 2.0, FEWEST_INFORMATIVE_IMAGES), "shown: higher"),
        (Difference(-1.0, -2.0, -0.5, FEWEST_INFORMATIVE_IMAGES), "shown: lower"),
        (Difference(1.0, 0.0, 2.0, FEWEST_INFORMATIVE_IMAGES), "not shown"),
        (Difference(1.0, 0.5, 2.0, FEWEST_INFORMATIVE_IMAGES - 1), "too few images"),
        (Difference(1.0, 1.0, 1.0, 0), "too few images"),
        (Difference(0.0, 0.0, 0.0, 0), "equal on every image"),
    ],
)
def test_verdicts(difference: Difference, verdict: str) -> None:
    assert difference.verdict == verdict
