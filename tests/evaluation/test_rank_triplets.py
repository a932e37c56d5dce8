import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reldn_d2.evaluation import PairAnswers, RankedTriplets, rank_triplets
from tests.builders.evaluation_scenes import scored_pairs
from tests.references.evaluation import Row, slow_ranking, slow_top


def rank(pairs: PairAnswers, list_length: int) -> list[Row]:
    found = rank_triplets(pairs.subject, pairs.object, pairs.score, pairs.predicate_probs, list_length)
    return rows(found)


def rows(found: RankedTriplets) -> list[Row]:
    columns = (found.subject, found.object, found.predicate, found.score, found.rank_in_pair)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def in_some_list(pairs: PairAnswers, list_length: int) -> list[Row]:
    """The whole ranking without the triplets that no list shows, for any number of predicates a pair.

    A pair given twice has equal rows, so rows are identified by their places.
    """
    ranking = slow_ranking(pairs)
    shown = set()
    for k in range(1, pairs.predicate_probs.shape[1] + 1):
        places = [(place, *row[1:]) for place, row in enumerate(ranking)]
        shown |= {row[0] for row in slow_top(places, k, list_length)}
    return [ranking[place] for place in sorted(shown)]


@st.composite
def pairs_with_ties(draw: st.DrawFn) -> PairAnswers:
    num_predicates = draw(st.integers(1, 4))
    ends = draw(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=9))
    scores = [draw(st.sampled_from([0.0, 0.25, 0.5, 1.0])) for _ in ends]
    levels = st.sampled_from([0.0, 0.125, 0.25, 0.5, 1.0])
    probs = [draw(st.lists(levels, min_size=num_predicates, max_size=num_predicates)) for _ in ends]
    return scored_pairs(ends, scores, probs, num_predicates)


@given(pairs_with_ties(), st.integers(1, 12))
def test_equals_sorting_everything_with_ties_and_pairs_given_twice(
    pairs: PairAnswers, list_length: int
) -> None:
    assert rank(pairs, list_length) == in_some_list(pairs, list_length)


def random_pairs(num_pairs: int, num_predicates: int, dtype: type = np.float64) -> PairAnswers:
    rng = np.random.default_rng(num_pairs + num_predicates)
    return PairAnswers(
        rng.integers(50, size=num_pairs),
        rng.integers(50, size=num_pairs),
        rng.random(num_pairs).astype(dtype),
        rng.dirichlet(np.full(num_predicates, 0.1), num_pairs).astype(dtype),
    )


@pytest.mark.parametrize(("num_pairs", "num_predicates"), [(99, 7), (100, 7), (101, 7), (600, 9), (600, 1)])
def test_equals_sorting_everything_of_many_pairs(num_pairs: int, num_predicates: int) -> None:
    pairs = random_pairs(num_pairs, num_predicates)
    assert rank(pairs, 100) == in_some_list(pairs, 100)


def test_flat_probabilities_show_the_first_pairs_and_predicates() -> None:
    ends = [(i, i + 1) for i in range(10)]
    pairs = scored_pairs(ends, [0.5] * 10, [[0.25] * 3] * 10, 3)
    found = rank(pairs, 4)
    assert [row[:3] for row in slow_top(found, 1, 4)] == [(0, 1, 0), (1, 2, 0), (2, 3, 0), (3, 4, 0)]
    assert [row[:3] for row in slow_top(found, 3, 4)] == [(0, 1, 0), (0, 1, 1), (0, 1, 2), (1, 2, 0)]
    assert found == in_some_list(pairs, 4)


def test_ranks_go_by_probability_where_the_scores_are_all_zero() -> None:
    pairs = scored_pairs([(0, 1), (1, 0)], [0.0, 0.0], [[0.25, 0.75], [0.5, 0.5]], 2)
    assert rank(pairs, 100) == [(0, 1, 1, 0.0, 1), (0, 1, 0, 0.0, 2), (1, 0, 0, 0.0, 1), (1, 0, 1, 0.0, 2)]


def test_probabilities_whose_products_round_to_one_score_keep_their_ranks() -> None:
    pair_score, low, high = np.float32(0.7), np.float32(1 - 2**-23), np.float32(1 - 2**-24)
    assert low < high and pair_score * low == pair_score * high
    assert [row[2] for row in rank(scored_pairs([(0, 1)], [pair_score], [[low, high]], 2), 100)] == [1, 0]


def test_fewer_pairs_than_places_keep_every_triplet() -> None:
    pairs = random_pairs(8, 5)
    assert rank(pairs, 100) == slow_ranking(pairs)


def test_single_precision_stays_single_and_its_scores_are_its_products() -> None:
    pairs = random_pairs(300, 6, np.float32)
    found = rank_triplets(pairs.subject, pairs.object, pairs.score, pairs.predicate_probs, 100)
    assert found.score.dtype == np.float32
    every = np.sort((pairs.score[:, None] * pairs.predicate_probs).ravel())[::-1]
    np.testing.assert_array_equal(found.score[:100], every[:100])


def test_no_pairs_give_an_empty_list() -> None:
    assert rank(scored_pairs([], [], [], 3), 100) == []


@pytest.mark.parametrize("bad", [-0.25, -np.inf, np.inf, np.nan])
@pytest.mark.parametrize("place", ["pair score", "probability"])
@pytest.mark.parametrize("num_pairs", [2, 200])
def test_negative_and_infinite_numbers_are_refused(bad: float, place: str, num_pairs: int) -> None:
    pairs = random_pairs(num_pairs, 3)
    if place == "pair score":
        pairs.score[1] = bad
    else:
        pairs.predicate_probs[1, 2] = bad
    with pytest.raises(ValueError, match="finite and not negative"):
        rank(pairs, 100)


def test_a_list_has_a_place_at_least() -> None:
    nothing = np.zeros(0, dtype=np.int64)
    with pytest.raises(ValueError, match="list_length must be >= 1, not 0"):
        rank_triplets(nothing, nothing, np.zeros(0), np.zeros((0, 2)), 0)


def test_tensors_and_lists_do_as_well_as_arrays() -> None:
    columns = ([0, 1], [1, 0], [1.0, 0.5], [[0.5, 0.25], [0.0, 0.75]])
    expected = [(0, 1, 0, 0.5, 1), (1, 0, 1, 0.375, 1), (0, 1, 1, 0.25, 2), (1, 0, 0, 0.0, 2)]
    for convert in (list, np.array, torch.tensor):
        assert rows(rank_triplets(*map(convert, columns), list_length=100)) == expected


@pytest.mark.parametrize(
    ("place", "shape"), [(0, (3,)), (1, (2, 1)), (2, (2, 1)), (2, ()), (3, (2,)), (3, (3, 4))]
)
def test_shapes_that_do_not_fit_are_refused(place: int, shape: tuple[int, ...]) -> None:
    """A column of pair scores would be spread over all pairs."""
    index = np.zeros(2, dtype=np.int64)
    columns = [index, index, np.zeros(2), np.zeros((2, 4))]
    columns[place] = np.zeros(shape, dtype=columns[place].dtype)
    with pytest.raises(ValueError, match=r"must be \(M,\) and predicate_probs \(M, P\), not "):
        rank_triplets(*columns, list_length=100)
