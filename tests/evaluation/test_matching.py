import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reldn_d2.evaluation.matching import (
    Matches,
    box_iou,
    count_found,
    count_hitting,
    find_matches,
    first_hits,
    first_takers,
    places_in_lists,
    true_positives,
)
from tests.builders.evaluation_scenes import Scene, predicted_graph, scenes, truth_graph
from tests.references.evaluation import slow_iou, slow_overlap

corner = st.integers(0, 6)
box = st.tuples(corner, corner, corner, corner).map(
    lambda b: (*map(min, b[:2], b[2:]), *map(max, b[:2], b[2:]))
)


def matches(*entries: tuple[int, int, float]) -> Matches:
    triplet, truth, overlap = np.array(entries, dtype=np.float64).reshape(-1, 3).T
    return Matches(triplet.astype(np.int64), truth.astype(np.int64), overlap)


def test_iou_in_both_pixel_conventions() -> None:
    a, b = np.array([0.0, 0.0, 9.0, 9.0]), np.array([0.0, 0.0, 9.0, 4.0])
    assert box_iou(a, b, 1.0) == pytest.approx(50 / 100)
    assert box_iou(a, b, 0.0) == pytest.approx(36 / 81)


def test_iou_of_points_is_defined() -> None:
    point = np.array([3.0, 3.0, 3.0, 3.0])
    assert box_iou(point, point, 0.0) == 0.0
    assert box_iou(point, point, 1.0) == 1.0


def test_touching_boxes_share_pixels_but_no_area() -> None:
    a, b = np.array([0.0, 0.0, 2.0, 2.0]), np.array([2.0, 0.0, 4.0, 2.0])
    assert box_iou(a, b, 0.0) == 0.0
    assert box_iou(a, b, 1.0) == pytest.approx(3 / 15)


@given(
    st.lists(box, min_size=1, max_size=4), st.lists(box, min_size=1, max_size=4), st.sampled_from([0.0, 1.0])
)
def test_iou_equals_the_definition(a: list, b: list, offset: float) -> None:
    table = box_iou(np.array(a, dtype=np.float32)[:, None], np.array(b, dtype=np.float64)[None], offset)
    expected = [[slow_iou(x, y, offset) for y in b] for x in a]
    np.testing.assert_allclose(table, expected, rtol=1e-12)


@given(scenes(), st.booleans(), st.sampled_from([0.0, 1.0]))
def test_matches_are_all_pairs_of_equal_labels(scene: Scene, phrase: bool, offset: float) -> None:
    found = find_matches(
        scene.predicted, scene.predicted.relations, scene.truth, phrase=phrase, offset=offset
    )
    expected = [
        (t, r, overlap)
        for t, row in enumerate(scene.all_pairs)
        for r, relation in enumerate(scene.truth.relations.tolist())
        if (overlap := slow_overlap(scene.predicted, row, scene.truth, relation, phrase, offset)) is not None
    ]
    assert list(zip(found.triplet, found.truth, strict=True)) == [entry[:2] for entry in expected]
    np.testing.assert_allclose(found.overlap, [entry[2] for entry in expected], rtol=1e-12)


def test_self_relation_is_matched_by_its_class_on_both_ends() -> None:
    truth = truth_graph([(0, 0, 9, 9)], [1], [(0, 0, 2)])
    predicted = predicted_graph([(0, 0, 9, 9), (0, 0, 9, 9)], [1, 1], [(0, 1, 2, 0.9, 1)])
    for phrase in (False, True):
        found = find_matches(predicted, predicted.relations, truth, phrase=phrase, offset=1.0)
        assert found.overlap.tolist() == [1.0]


def test_first_hits_counts_places_of_each_list() -> None:
    ranks = np.array([1, 2, 3, 1, 2])
    found = matches((1, 0, 1), (2, 1, 1), (4, 0, 1), (4, 2, 1))
    # k=1 keeps rows 0, 3; k=2 keeps 0, 1, 3, 4; k=3 keeps all
    places = first_hits(found, places_in_lists(ranks, [1, 2, 3], 100), 100, 4)
    assert places.tolist() == [[100, 100, 100, 100], [1, 100, 3, 100], [1, 2, 4, 100]]


def test_first_hits_ignores_triplets_behind_the_end_of_the_list() -> None:
    found = matches((2, 0, 1), (3, 1, 1))
    assert first_hits(found, places_in_lists(np.ones(4, dtype=int), [1], 3), 3, 2).tolist() == [[2, 3]]


def test_one_triplet_hits_several_truths() -> None:
    found = matches((0, 0, 1), (0, 1, 1))
    assert first_hits(found, places_in_lists(np.array([1]), [1], 100), 100, 2).tolist() == [[0, 0]]


def test_first_takers_take_one_each_or_else_the_next_free_one() -> None:
    found = matches((0, 0, 0.9), (0, 1, 0.6), (1, 0, 0.8), (1, 1, 0.7), (2, 1, 1.0))
    assert first_takers(found, np.ones(3, dtype=int), [1], 100, 3).tolist() == [[0, 1, 100]]


def test_first_takers_see_what_their_list_shows() -> None:
    # k=1 keeps rows 0 and 3, k=2 all
    found = matches((1, 0, 0.6), (2, 0, 0.7), (3, 0, 0.8), (3, 1, 0.9))
    ranks = np.array([1, 2, 2, 1])
    assert first_takers(found, ranks, [1, 2], 100, 2).tolist() == [[100, 1], [1, 3]]
    assert first_takers(found, ranks, [1, 2], 3, 2).tolist() == [[3, 1], [1, 3]]
    assert first_takers(found, ranks, [1, 2], 1, 2).tolist() == [[1, 1], [1, 1]]


def test_triplet_whose_best_truth_is_taken_is_false() -> None:
    found = matches((0, 0, 0.9), (1, 0, 0.8), (1, 1, 0.7))
    assert true_positives(found, 3, 0.5, strict=True).tolist() == [True, False, False]


def test_equal_overlaps_go_to_the_lowest_truth() -> None:
    found = matches((0, 0, 0.9), (0, 1, 0.9), (1, 0, 0.9))
    assert true_positives(found, 2, 0.5, strict=True).tolist() == [True, False]


def test_overlap_of_exactly_the_limit_is_false_and_takes_nothing() -> None:
    found = matches((0, 0, 0.5), (1, 0, 0.51))
    assert true_positives(found, 2, 0.5, strict=True).tolist() == [False, True]


def test_no_matches() -> None:
    assert true_positives(matches(), 2, 0.5, strict=True).tolist() == [False, False]
    for ranks, num_truths, expected in (
        (np.zeros(0, dtype=int), 1, [[100], [100]]),
        (np.ones(2, dtype=int), 0, [[], []]),
    ):
        places = places_in_lists(ranks, [1, 2], 100)
        assert first_hits(matches(), places, 100, num_truths).tolist() == expected
        assert first_takers(matches(), ranks, [1, 2], 100, num_truths).tolist() == expected
        assert count_hitting(matches(), places, [20, 50]).tolist() == [[0, 0], [0, 0]]


def test_hitting_triplets_count_once_each_and_only_in_the_first_places() -> None:
    ranks = np.array([1, 2, 3, 1, 2])
    # Row 1 hits two relationships, and rows 1 and 4 the same one.
    found = matches((1, 0, 1), (1, 1, 1), (3, 2, 1), (4, 1, 1))
    # The places are 0, -, -, 1, - for k = 1; 0, 1, -, 2, 3 for k = 2; 0 to 4 for k = 3.
    places = places_in_lists(ranks, [1, 2, 3], 10)
    assert count_hitting(found, places, [1, 2, 4, 10]).tolist() == [[0, 1, 1, 1], [0, 1, 3, 3], [0, 1, 2, 3]]


def test_takers_are_as_many_as_the_relationships_that_they_take() -> None:
    assert count_found(np.array([[0, 7, 100], [100, 100, 100]]), [1, 8, 50]).tolist() == [
        [1, 2, 2],
        [0, 0, 0],
    ]
