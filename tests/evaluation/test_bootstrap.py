import numpy as np
import pytest

from reldn_d2.evaluation import PerImageRecall, paired_bootstrap
from reldn_d2.evaluation.bootstrap import Difference


def counts(hits: list[int], truths: list[int], ids: tuple[str, ...] | None = None) -> PerImageRecall:
    names = ids or tuple(f"{i}" for i in range(len(hits)))
    return PerImageRecall(names, np.array(truths), {"R@50": np.array(hits)})


def test_measured_difference_in_both_averages() -> None:
    result = paired_bootstrap(counts([2, 2, 0], [2, 4, 0]), counts([1, 2, 0], [2, 4, 0]), "R@50")
    assert result["macro"].mean == pytest.approx(100 * (0.5 + 0) / 2)
    assert result["micro"].mean == pytest.approx(100 / 6)


def test_all_draws_of_two_images() -> None:
    # The draws are (a, a), (a, b), (b, a), (b, b): macro differences 50, 25, 25, 0
    result = paired_bootstrap(counts([2, 2], [2, 4]), counts([1, 2], [2, 4]), "R@50")
    assert result["macro"] == Difference(25.0, 0.0, 50.0)
    assert result["micro"] == Difference(pytest.approx(100 / 6), 0.0, 50.0)


def test_equal_models_differ_by_nothing() -> None:
    same = counts([1, 0, 3], [2, 1, 3])
    assert paired_bootstrap(same, same, "R@50")["micro"] == Difference(0.0, 0.0, 0.0)


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
