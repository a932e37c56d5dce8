import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from reldn_d2.evaluation import PairAnswers, RankedTriplets
from reldn_d2.evaluation.ranking import rank_pair_answers, sort_triplets, top_triplets, truncate
from tests.builders.evaluation_scenes import Scene, ranked, scenes


def rows(triplets: RankedTriplets) -> list[tuple]:
    columns = (triplets.subject, triplets.object, triplets.predicate, triplets.score, triplets.rank_in_pair)
    return [tuple(value.item() for value in row) for row in zip(*columns, strict=True)]


def test_sort_keeps_the_order_of_equal_scores() -> None:
    triplets = ranked([(0, 1, 0, 0.5, 1), (1, 0, 0, 0.75, 1), (0, 1, 1, 0.5, 2), (1, 0, 2, 0.75, 2)])
    assert rows(sort_triplets(triplets)) == [
        (1, 0, 0, 0.75, 1),
        (1, 0, 2, 0.75, 2),
        (0, 1, 0, 0.5, 1),
        (0, 1, 1, 0.5, 2),
    ]


@given(st.lists(st.integers(1, 5), max_size=40), st.integers(1, 6))
def test_truncate_keeps_exactly_what_some_list_shows(ranks: list[int], list_length: int) -> None:
    triplets = ranked([(i, i + 1, 0, 1.0, rank) for i, rank in enumerate(ranks)])
    shown = set()
    for k in range(1, 6):
        shown |= {i for i, _ in [e for e in enumerate(ranks) if e[1] <= k][:list_length]}
    assert truncate(triplets, list_length).subject.tolist() == sorted(shown)


@given(scenes(), st.integers(1, 3), st.integers(1, 6))
def test_short_lists_show_the_same_top(scene: Scene, k: int, list_length: int) -> None:
    whole = scene.predicted.relations
    short = truncate(whole, list_length)
    assert rows(top_triplets(short, k, list_length)) == rows(top_triplets(whole, k, list_length))
    expected = [row for row in scene.all_pairs if row[4] <= k][:list_length]
    assert [row[:3] for row in rows(top_triplets(whole, k, list_length))] == [row[:3] for row in expected]


def test_annotated_pairs_rank_all_their_predicates_together() -> None:
    pairs = PairAnswers(
        np.array([0, 1]), np.array([1, 1]), np.array([1.0, 0.5]), np.array([[0.25, 0.5], [0.5, 0.5]])
    )
    assert rows(rank_pair_answers(pairs, 100)) == [
        (0, 1, 1, 0.5, 1),
        (0, 1, 0, 0.25, 2),  # equal scores: row first, then rank
        (1, 1, 0, 0.25, 1),
        (1, 1, 1, 0.25, 2),
    ]


@given(scenes())
def test_pair_answers_equal_the_definition(scene: Scene) -> None:
    assume(scene.predicted.pair_answers is not None)
    found = rows(rank_pair_answers(scene.predicted.pair_answers, 100))
    assert [row[:3] + row[4:] for row in found] == [row[:3] + row[4:] for row in scene.annotated_pairs]


def test_repeated_pair_answers_take_places() -> None:
    pairs = PairAnswers(
        np.array([0, 0, 1]), np.array([1, 1, 0]), np.ones(3), np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4]])
    )
    assert [row[:3] for row in rows(top_triplets(rank_pair_answers(pairs, 2), 1, 2))] == [
        (0, 1, 0),
        (0, 1, 0),
    ]


def test_no_pair_answers() -> None:
    nothing = np.zeros(0, dtype=np.int32)
    pairs = PairAnswers(nothing, nothing, np.zeros(0), np.zeros((0, 3)))
    assert len(rank_pair_answers(pairs, 100)) == 0
