"""Recall with at most one relationship for each triplet, counted by hand."""

import pytest

from reldn_d2.evaluation import GroundTruthGraph, PredictedGraph, motifs, training_split, vrd2016
from reldn_d2.evaluation.graphs import parse_task
from reldn_d2.evaluation.protocols.registry import resolve_protocols
from tests.builders.evaluation_scenes import predicted_graph, score_images, training_truths, truth_graph

# A and LEFT overlap by 0.6, A and RIGHT by 0.7, LEFT and RIGHT by 0.3.
A, B, C = (0, 0, 9, 9), (20, 0, 29, 9), (40, 0, 49, 9)
LEFT, RIGHT = (0, 0, 5, 9), (3, 0, 9, 9)


def score(*images: tuple[GroundTruthGraph, PredictedGraph]) -> dict[str, float]:
    return score_images(vrd2016(), images).metrics


def hits(truth: GroundTruthGraph, predicted: PredictedGraph, metric: str = "R@50") -> int:
    return int(score_images(vrd2016(), [(truth, predicted)]).per_image["vrd2016"].hits[metric][0])


def test_a_triplet_finds_one_relationship_only() -> None:
    truth = truth_graph([A, A, B], [0, 0, 1], [(0, 2, 0), (1, 2, 0)])
    found = predicted_graph([A, B], [0, 1], [(0, 1, 0, 0.9, 1)])
    assert hits(truth, found) == 1 and hits(truth, found, "phr_R@50") == 1
    assert score_images(motifs(), [(truth, found)]).metrics["R@50"] == 100.0


def test_a_relationship_is_taken_once() -> None:
    truth = truth_graph([A, B, C], [0, 1, 0], [(0, 1, 0), (2, 1, 0)])
    found = predicted_graph([A, A, B], [0, 0, 1], [(0, 2, 0, 0.9, 1), (1, 2, 0, 0.8, 1)])
    assert hits(truth, found) == 1


def test_a_triplet_whose_best_relationship_is_taken_takes_its_next_best() -> None:
    # Both overlap most with RIGHT, so the second one takes LEFT.
    truth = truth_graph([LEFT, RIGHT, B], [0, 0, 1], [(0, 2, 0), (1, 2, 0)])
    found = predicted_graph([A, A, B], [0, 0, 1], [(0, 2, 0, 0.9, 1), (1, 2, 0, 0.8, 1)])
    assert hits(truth, found) == 2


def test_the_better_triplet_takes_its_best_even_where_another_choice_would_find_more() -> None:
    # The first takes RIGHT, the only one that the second could take.
    truth = truth_graph([LEFT, RIGHT, B], [0, 0, 1], [(0, 2, 0), (1, 2, 0)])
    boxes, classes = [A, RIGHT, B], [0, 0, 1]
    assert hits(truth, predicted_graph(boxes, classes, [(0, 2, 0, 0.9, 1), (1, 2, 0, 0.8, 1)])) == 1
    assert hits(truth, predicted_graph(boxes, classes, [(1, 2, 0, 0.9, 1), (0, 2, 0, 0.8, 1)])) == 2


def test_equal_overlaps_go_to_the_relationship_annotated_first() -> None:
    # A overlaps both halves equally; the next triplet fits the upper half only.
    upper, lower = (0, 0, 9, 4), (0, 5, 9, 9)
    rows = [(0, 2, 0, 0.9, 1), (1, 2, 0, 0.8, 1)]
    found = predicted_graph([A, upper, B], [0, 0, 1], rows)
    assert hits(truth_graph([upper, lower, B], [0, 0, 1], [(0, 2, 0), (1, 2, 0)]), found) == 1
    assert hits(truth_graph([upper, lower, B], [0, 0, 1], [(1, 2, 0), (0, 2, 0)]), found) == 2


def test_overlap_of_exactly_half_is_enough() -> None:
    truth = truth_graph([A, B], [0, 1], [(0, 1, 0)])
    assert hits(truth, predicted_graph([(0, 0, 9, 4), B], [0, 1], [(0, 1, 0, 0.9, 1)])) == 1
    assert hits(truth, predicted_graph([(0, 0, 9, 3.99), B], [0, 1], [(0, 1, 0, 0.9, 1)])) == 0
    assert hits(truth, predicted_graph([A, (20, 0, 29, 3.99)], [0, 1], [(0, 1, 0, 0.9, 1)])) == 0


def test_a_relationship_that_overlaps_too_little_is_not_taken() -> None:
    truth = truth_graph([A, B], [0, 1], [(0, 1, 0)])
    rows = [(0, 2, 0, 0.9, 1), (1, 2, 0, 0.8, 1)]
    assert hits(truth, predicted_graph([(0, 0, 9, 3), A, B], [0, 0, 1], rows)) == 1


def test_all_three_labels_must_agree() -> None:
    truth = truth_graph([A, B], [0, 1], [(0, 1, 0)])
    rows = [(0, 1, 1, 0.9, 1), (2, 1, 0, 0.9, 1), (0, 3, 0, 0.9, 1), (1, 0, 0, 0.9, 1)]
    assert hits(truth, predicted_graph([A, B, A, B], [0, 1, 1, 0], rows)) == 0


def test_all_predicates_of_a_pair_compete() -> None:
    truth = truth_graph([A, B], [0, 1], [(0, 1, 0), (0, 1, 1), (0, 1, 2)])
    rows = [(0, 1, 2, 0.9, 1), (0, 1, 0, 0.8, 2), (0, 1, 1, 0.7, 3)]
    assert hits(truth, predicted_graph([A, B], [0, 1], rows)) == 3
    # They also take places in the list from others.
    far = [(i, j, p, 0.95, p + 1) for p in range(3) for i in range(2, 7) for j in range(2, 7) if i != j][:49]
    assert hits(truth, predicted_graph([A, B, *[C] * 5], [0, 1] + [0] * 5, [*far, *rows])) == 1


def test_lists_end_after_50_and_after_100_triplets() -> None:
    truth = truth_graph([A, B], [0, 1], [(0, 1, 0)])

    def found_behind(others: int) -> tuple[int, int]:
        rows = [(i, others + 1, 1, 0.9, 1) for i in range(others)] + [(others, others + 1, 0, 0.5, 1)]
        found = predicted_graph([A] * (others + 1) + [B], [0] * (others + 1) + [1], rows)
        return hits(truth, found, "R@50"), hits(truth, found, "R@100")

    assert [found_behind(n) for n in (49, 50, 99, 100)] == [(1, 1), (0, 1), (0, 1), (0, 0)]


def test_phrases_are_taken_one_by_one_too() -> None:
    # The enclosing box is right, but both entities are wrong.
    truth = truth_graph([A, B], [0, 1], [(0, 1, 0), (0, 1, 0)])
    wide = [(0, 0, 2, 9), (27, 0, 29, 9), (0, 0, 1, 9)]
    one = predicted_graph(wide, [0, 1, 0], [(0, 1, 0, 0.9, 1)])
    two = predicted_graph(wide, [0, 1, 0], [(0, 1, 0, 0.9, 1), (2, 1, 0, 0.8, 1)])
    assert hits(truth, one, "phr_R@50") == 1 and hits(truth, two, "phr_R@50") == 2
    assert hits(truth, two, "R@50") == 0


def test_two_triplets_answer_a_repeated_relationship() -> None:
    truth = truth_graph([A, B], [0, 1], [(0, 1, 0), (0, 1, 0), (1, 0, 1)])
    found = predicted_graph([A, A, B], [0, 0, 1], [(0, 2, 0, 0.9, 1), (1, 2, 0, 0.8, 1)])
    assert score((truth, found))["R@50"] == pytest.approx(100 * 2 / 3)


def test_recall_is_over_relationships_and_the_mean_over_images_stands_beside_it() -> None:
    found = predicted_graph([A, B], [0, 1], [(0, 1, 0, 0.9, 1)])
    images = [(truth_graph([A, B], [0, 1], [(0, 1, 0)] * n), found) for n in (1, 4)]
    metrics = score(*images, (truth_graph([], [], []), found))
    assert metrics["R@50"] == pytest.approx(100 * 2 / 5)
    assert metrics["macro_R@50"] == pytest.approx(100 * (1 + 1 / 4) / 2)


def test_zero_shot_recall_leaves_out_relationships_but_no_triplets() -> None:
    training = training_split(training_truths([(0, 1, 0)]), 2, 3)
    truth = truth_graph([A, B], [0, 1], [(0, 1, 0), (0, 1, 1)])
    seen = [(i, 50, 0, 0.9, 1) for i in range(50)]
    found = predicted_graph([A] * 50 + [B], [0] * 50 + [1], [*seen, (0, 50, 1, 0.5, 2)])
    metrics = score_images(vrd2016(), [(truth, found)], training=training).metrics
    # 50 triplets with labels known from training keep the unseen one out of the shorter list.
    assert metrics["zR@50"] == 0.0 and metrics["zR@100"] == 100.0
    assert metrics["phr_zR@100"] == 100.0 and metrics["macro_zR@100"] == 100.0
    assert metrics["R@50"] == 50.0 and metrics["R@100"] == 100.0


def test_no_prediction_finds_nothing_and_no_relationship_leaves_recall_undefined() -> None:
    truth = truth_graph([A, B], [0, 1], [(0, 1, 0)])
    found = predicted_graph([A, B], [0, 1], [(0, 1, 0, 0.9, 1)])
    assert set(score((truth, PredictedGraph.empty())).values()) == {0.0}
    assert score((truth, found), (truth, PredictedGraph.empty()))["R@100"] == 50.0
    assert score((truth_graph([A], [0], []), found)) == {}


def test_names_of_all_numbers_and_the_task() -> None:
    lists = [(kind, at) for kind in ("", "phr_") for at in (50, 100)]
    plain = {f"{kind}R@{at}" for kind, at in lists}
    means = {f"pooled_{kind}{mean}@{at}" for mean in ("mR", "mR_all") for kind, at in lists}
    names = set(score((truth_graph([A, B], [0, 1], [(0, 1, 0)]), PredictedGraph.empty())))
    precisions = {f"{kind}P@{at}" for kind, at in lists}
    assert names == plain | {f"macro_{name}" for name in plain} | means | precisions
    for task in ("sgcls", "prdcls"):
        with pytest.raises(ValueError, match=f"vrd2016 is for sgdet, not for {task}"):
            resolve_protocols(["vrd2016"], parse_task(task), ["on"])
