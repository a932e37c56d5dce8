import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reldn_d2.evaluation import GroundTruthGraph, PredictedGraph, reldn_openimages
from reldn_d2.evaluation.protocols.average_precision import means_and_scores
from tests.builders.evaluation_scenes import NAMES, Scene, predicted_graph, scenes, score_images, truth_graph
from tests.references.openimages import image_dict, slow_reldn_openimages

A, B = (0, 0, 9, 9), (20, 0, 29, 9)


def score(
    *images: tuple[GroundTruthGraph, PredictedGraph], excluded_predicates: tuple[str, ...] = ()
) -> dict[str, float]:
    return score_images(reldn_openimages(excluded_predicates), images).metrics


@given(st.lists(scenes(), min_size=1, max_size=3), st.sampled_from([(), ("has",), ("on", "near")]))
def test_equals_the_definitions(split: list[Scene], excluded_predicates: tuple[str, ...]) -> None:
    metrics = score(
        *((scene.truth, scene.predicted) for scene in split), excluded_predicates=excluded_predicates
    )
    images = [image_dict(scene.truth, scene.predicted) for scene in split]
    assert metrics == pytest.approx(slow_reldn_openimages(images, NAMES, excluded_predicates), nan_ok=True)


def test_predicate_without_ground_truth_or_without_prediction_lowers_the_mean() -> None:
    truth = truth_graph([A, B], [0, 1], [(0, 1, 0), (1, 0, 1)])
    result = score_images(reldn_openimages(), [(truth, predicted_graph([A, B], [0, 1], [(0, 1, 0, 0.9, 1)]))])
    # "on" is found, "has" is annotated but not predicted, "near" is not annotated
    assert result.metrics["mAP_rel"] == pytest.approx(100 / 3)
    assert result.metrics["wmAP_rel"] == pytest.approx(50.0)
    assert result.metrics["AP_rel/near"] == 0.0
    assert {name: column.tolist() for name, column in result.per_predicate.items()} == {
        "annotated": [1, 1, 0],
        **{f"pooled_R@{k}": [100.0, 0.0, pytest.approx(np.nan, nan_ok=True)] for k in (20, 50, 100)},
        "AP_rel": [100.0, 0.0, 0.0],
        "AP_phr": [100.0, 0.0, 0.0],
    }
    assert result.notes[1:] == ["mAP is the mean over 3 of 3 predicates, of which 2 are annotated."]


def test_half_overlap_is_a_recall_hit_but_not_a_true_positive() -> None:
    truth = truth_graph([A, B], [0, 1], [(0, 1, 0)])
    metrics = score((truth, predicted_graph([(0, 0, 9, 4), B], [0, 1], [(0, 1, 0, 0.9, 1)])))
    assert metrics["R@50"] == 100.0 and metrics["AP_rel/on"] == 0.0
    assert metrics["AP_phr/on"] == 100.0


def test_third_predicate_and_lowest_scores_are_not_submitted() -> None:
    truth = truth_graph([A, B], [0, 1], [(0, 1, 0), (1, 0, 0)])
    rows = [(0, 1, 1, 0.9, 1), (0, 1, 2, 0.8, 2), (0, 1, 0, 0.7, 3), (1, 0, 0, 1e-5, 1)]
    metrics = score((truth, predicted_graph([A, B], [0, 1], rows)))
    assert metrics["R@50"] == 0.0 and metrics["AP_rel/on"] == 0.0
    rows[3] = (1, 0, 0, 1.1e-5, 1)
    assert score((truth, predicted_graph([A, B], [0, 1], rows)))["R@50"] == 50.0


def test_list_ends_after_100_triplets() -> None:
    truth = truth_graph([A, B], [0, 1], [(0, 1, 0)])
    rows = [(i, 101, 1, 0.9, 1) for i in range(100)] + [(100, 101, 0, 0.5, 1)]
    boxes, classes = [A] * 101 + [B], [0] * 101 + [1]
    assert score((truth, predicted_graph(boxes, classes, rows)))["R@100"] == 0.0
    assert score((truth, predicted_graph(boxes, classes, rows[1:])))["AP_rel/on"] == 100.0


def test_second_triplet_on_one_truth_is_false_but_hits_for_recall() -> None:
    truth = truth_graph([A, B, B], [0, 1, 1], [(0, 1, 0), (0, 2, 0)])
    rows = [(0, 1, 0, 0.9, 1), (0, 2, 0, 0.8, 1)]
    metrics = score((truth, predicted_graph([A, B, B], [0, 1, 1], rows)))
    # both triplets are compared with the first of the two equal annotations
    assert metrics["AP_rel/on"] == pytest.approx(50.0)
    assert metrics["R@50"] == 100.0


def test_images_without_ground_truth_bring_false_positives() -> None:
    truth = truth_graph([A, B], [0, 1], [(0, 1, 0)])
    empty = truth_graph([], [], [])
    found = predicted_graph([A, B], [0, 1], [(0, 1, 0, 0.5, 1)])
    surer = predicted_graph([A, B], [0, 1], [(0, 1, 0, 0.9, 1)])
    assert score((truth, found), (empty, surer))["AP_rel/on"] == pytest.approx(50.0)


def test_starred_numbers_leave_predicates_out() -> None:
    truth = truth_graph([A, B], [0, 1], [(0, 1, 0), (1, 0, 1)])
    predicted = predicted_graph([A, B], [0, 1], [(0, 1, 0, 0.9, 1)])
    metrics = score((truth, predicted), excluded_predicates=("near",))
    assert metrics["mAP_rel_starred"] == pytest.approx(50.0)
    assert metrics["score_starred"] == pytest.approx(0.2 * 50 + 0.4 * 50 + 0.4 * 50)
    assert "mAP_rel_starred" not in score((truth, predicted))
    # "has" is found, "near" not annotated
    metrics = score(
        (truth, predicted_graph([A, B], [0, 1], [(1, 0, 1, 0.9, 1)])), excluded_predicates=("on",)
    )
    assert metrics["mAP_rel_starred"] == pytest.approx(50.0)
    assert metrics["wmAP_rel_starred"] == pytest.approx(100.0)


def test_published_table_follows_from_its_own_columns() -> None:
    # AP_rel of the cross-entropy baseline in the paper's Table 1; its means are in Tables 1 and 5
    ap = np.array([32.40, 36.51, 41.84, 36.04, 40.43, 5.70, 44.17, 25.00, 55.40])
    counts = np.ones(9, dtype=np.int64)
    every = means_and_scores({"rel": ap, "phr": np.full(9, 41.04)}, counts, 74.67)
    assert every["mAP_rel"] == pytest.approx(35.28, abs=0.005)
    assert every["score"] == pytest.approx(45.46, abs=0.005)
    starred = means_and_scores({"rel": ap[:7], "phr": np.full(7, 38.99)}, counts[:7], 74.67)
    assert starred["mAP_rel"] == pytest.approx(33.87, abs=0.005)
    assert starred["score"] == pytest.approx(44.08, abs=0.005)


def test_verified_classes_and_their_lack_have_no_influence() -> None:
    # unlike in protocol openimages, a triplet of an unverified class is wrong
    truth = truth_graph([A, B], [0, 1], [(0, 1, 0)])
    rows = [(2, 1, 0, 0.9, 1), (0, 1, 0, 0.5, 1)]
    assert score((truth, predicted_graph([A, B, A], [0, 1, 2], rows)))["AP_rel/on"] == pytest.approx(50.0)
