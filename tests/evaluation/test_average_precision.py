import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reldn_d2.evaluation.metrics import average_precision as average_precision_of_places
from reldn_d2.evaluation.sorted_runs import SortedRun, TruePositives, run_order
from tests.references.openimages import slow_average_precision


def average_precision(true_positive: np.ndarray, num_truths: int) -> float:
    """Average precision of a list, best first."""
    return average_precision_of_places(np.flatnonzero(true_positive) + 1, num_truths)


def average_precision_per_predicate(
    predicate: np.ndarray, score: np.ndarray, true_positive: np.ndarray, num_truths: np.ndarray
) -> np.ndarray:
    """Average precision of one run."""
    order = run_order(predicate, score)
    run = SortedRun(predicate[order], score[order], {"rel": true_positive[order]})
    true_positives = TruePositives()
    true_positives.add(run)
    places = true_positives.places()
    places.count(run)
    return places.average_precision("rel", num_truths)


def test_hand_computed() -> None:
    # precision at the three hits: 1, 2/3, 3/5; four annotated
    positive = np.array([True, False, True, False, True])
    assert average_precision(positive, 4) == pytest.approx((1 + 2 / 3 + 3 / 5) / 4)


def test_envelope_lifts_an_early_mistake() -> None:
    # precision 1/2 at the first hit, but 2/3 at the second
    assert average_precision(np.array([False, True, True]), 2) == pytest.approx(2 / 3)


def test_no_detection_is_zero_and_no_annotation_undefined() -> None:
    assert average_precision(np.zeros(0, dtype=bool), 3) == 0.0
    assert math.isnan(average_precision(np.array([False]), 0))


@given(st.lists(st.booleans(), max_size=30), st.integers(0, 5))
def test_equals_the_definition(positive: list[bool], missed: int) -> None:
    num_truths = max(1, sum(positive) + missed)
    found = average_precision(np.array(positive, dtype=bool), num_truths)
    assert found == pytest.approx(slow_average_precision(positive, num_truths))


def test_predicates_are_ranked_apart_and_ties_keep_their_order() -> None:
    predicate = np.array([0, 1, 0, 0, 1])
    score = np.array([0.5, 0.9, 0.5, 0.9, 0.9], dtype=np.float32)
    positive = np.array([True, False, False, False, True])
    ap = average_precision_per_predicate(predicate, score, positive, np.array([1, 1, 0, 2]))
    np.testing.assert_allclose(ap, [1 / 2, 1 / 2, np.nan, 0.0])


detections = st.tuples(st.integers(0, 4), st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.booleans())


@given(st.lists(detections, max_size=30), st.lists(st.integers(0, 3), min_size=5, max_size=5))
def test_every_predicate_equals_the_definition_on_its_own_ranking(
    rows: list[tuple[int, float, bool]], missed: list[int]
) -> None:
    num_truths = [sum(p == i and positive for p, _, positive in rows) + missed[i] for i in range(5)]
    found = average_precision_per_predicate(
        np.array([row[0] for row in rows], dtype=np.int32),
        np.array([row[1] for row in rows], dtype=np.float32),
        np.array([row[2] for row in rows], dtype=bool),
        np.array(num_truths),
    )
    ranking = sorted(rows, key=lambda row: -row[1])  # stable
    expected = [
        slow_average_precision([positive for p, _, positive in ranking if p == i], num_truths[i])
        for i in range(5)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def of_whole_lists(
    predicate: np.ndarray, score: np.ndarray, true_positive: np.ndarray, num_truths: np.ndarray
) -> np.ndarray:
    """Average precision of each predicate from the list of all its triplets, sorted at once."""
    best_first = np.argsort(-score, kind="stable")
    predicate, true_positive = predicate[best_first], true_positive[best_first]
    found = []
    for p, number in enumerate(num_truths.tolist()):
        true = true_positive[predicate == p]
        precision = np.cumsum(true) / np.arange(1, len(true) + 1)
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        found.append(float(envelope[true].sum() / number) if number else np.nan)
    return np.array(found)


@pytest.mark.parametrize("levels", [1, 3, 50, 10_000])
@pytest.mark.parametrize("size", [1, 7, 1_000, 20_000])
def test_runs_of_any_size_give_the_bits_of_the_whole_list(levels: int, size: int) -> None:
    rng = np.random.default_rng(levels)
    count = 200 * size if size < 10 else 20_000
    predicate = rng.choice(5, count, p=[0.6, 0.2, 0.1, 0.1, 0.0]).astype(np.uint8)
    score, true = rng.integers(0, levels, count) / levels, rng.random((2, count)) < 0.1
    true &= predicate != 3  # in the list, but never right
    runs = []
    for i, first in enumerate(range(0, count, size)):
        rows = slice(first, first + size)
        if i % 2:  # some results have fewer digits
            score[rows] = score[rows].astype(np.float32)
        order = run_order(predicate[rows], score[rows])
        of_run = score[rows][order].astype(np.float32 if i % 2 else np.float64)
        kinds = {"rel": true[0][rows][order], "phr": true[1][rows][order]}
        runs.append(SortedRun(predicate[rows][order], of_run, kinds))
    true_positives = TruePositives()
    for run in runs:
        true_positives.add(run)
    places = true_positives.places()
    for run in runs:
        places.count(run)
    for kind, of_kind in zip(("rel", "phr"), true, strict=True):
        num_truths = np.bincount(predicate[of_kind], minlength=6) + np.array([3, 0, 1, 2, 4, 0])
        expected = of_whole_lists(predicate, score, of_kind, num_truths)
        np.testing.assert_array_equal(places.average_precision(kind, num_truths), expected)
        assert 0 < expected[0] < 1 and expected[3] == expected[4] == 0 and np.isnan(expected[5])
