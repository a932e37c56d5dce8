import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reldn_d2.evaluation import (
    GroundTruthGraph,
    PairAnswers,
    PredictedGraph,
    ProtocolResult,
    motifs,
    reldn,
)
from reldn_d2.evaluation.graphs import parse_task
from reldn_d2.evaluation.metrics import macro_recall, micro_recall
from reldn_d2.evaluation.protocols.recall import RecallList, RecallProtocol
from tests.builders.evaluation_scenes import Scene, predicted_graph, scenes, score_images, truth_graph
from tests.references.evaluation import RankedImage, slow_hit, slow_top

A, B, C = (0, 0, 9, 9), (20, 0, 29, 9), (40, 0, 49, 9)


def score(
    protocol: RecallProtocol, truth: GroundTruthGraph, predicted: PredictedGraph, task: str = "sgdet"
) -> ProtocolResult:
    return score_images(protocol, [(truth, predicted)], task)


def test_macro_averages_images_and_micro_relationships() -> None:
    hits, truths = np.array([1, 3, 0, 0]), np.array([1, 4, 5, 0])
    assert macro_recall(hits, truths) == pytest.approx(100 * (1 + 3 / 4 + 0) / 3)
    assert micro_recall(hits, truths) == pytest.approx(100 * 4 / 10)


def test_recall_without_ground_truth_is_undefined() -> None:
    nothing = np.zeros(2, dtype=np.int64)
    assert np.isnan(macro_recall(nothing, nothing)) and np.isnan(micro_recall(nothing, nothing))


def test_graph_constraint_shows_one_predicate_a_pair() -> None:
    truth = truth_graph([A, B], [0, 1], [(0, 1, 0), (0, 1, 1)])
    predicted = predicted_graph([A, B], [0, 1], [(0, 1, 1, 0.6, 1), (0, 1, 0, 0.4, 2)])
    metrics = score(motifs(), truth, predicted).metrics
    assert metrics["R@20"] == 50.0 and metrics["ngR@20"] == 100.0
    assert metrics["micro_R@20"] == 50.0


def test_constraint_list_is_not_filled_by_second_predicates() -> None:
    # 20 second-best triplets have higher scores than the right pair
    truth = truth_graph([A, B, C], [0, 1, 0], [(2, 1, 0)])
    boxes, classes = [A] * 21 + [B, C], [0] * 21 + [1, 0]
    rows = [(i, 21, p, 0.9 - 0.1 * p, p + 1) for p in (0, 1) for i in range(19)]
    predicted = predicted_graph(boxes, classes, [*rows, (22, 21, 0, 0.1, 1)])
    metrics = score(motifs(), truth, predicted).metrics
    assert metrics["R@20"] == 100.0
    assert metrics["ngR@20"] == 0.0 and metrics["ngR@50"] == 100.0


def test_a_triplet_hits_repeats_and_the_repeats_stay_in_the_denominator() -> None:
    truth = truth_graph([A, B, C], [0, 1, 0], [(0, 1, 0), (0, 1, 0), (2, 1, 0)])
    predicted = predicted_graph([A, B], [0, 1], [(0, 1, 0, 0.6, 1)])
    result = score(motifs(), truth, predicted)
    assert result.per_image["motifs"].hits["R@50"].tolist() == [2]
    assert result.per_image["motifs"].ground_truths.tolist() == [3]


def test_several_triplets_on_one_truth_count_once() -> None:
    truth = truth_graph([A, B], [0, 1], [(0, 1, 0)])
    predicted = predicted_graph([A, A, B], [0, 0, 1], [(0, 2, 0, 0.6, 1), (1, 2, 0, 0.5, 1)])
    assert score(motifs(), truth, predicted).metrics["micro_R@20"] == 100.0


def test_overlap_of_exactly_half_is_enough() -> None:
    # 10 x 10 pixels against 10 x 5 of them with inclusive sides
    truth = truth_graph([A, B], [0, 1], [(0, 1, 0)])
    exact = predicted_graph([(0, 0, 9, 4), B], [0, 1], [(0, 1, 0, 0.6, 1)])
    less = predicted_graph([(0, 0, 9, 3.99), B], [0, 1], [(0, 1, 0, 0.6, 1)])
    assert score(motifs(), truth, exact).metrics["R@20"] == 100.0
    assert score(motifs(), truth, less).metrics["R@20"] == 0.0


def test_phrase_looks_at_the_enclosing_box_only() -> None:
    truth = truth_graph([A, B], [0, 1], [(0, 1, 0)])
    predicted = predicted_graph([(0, 0, 2, 9), (27, 0, 29, 9)], [0, 1], [(0, 1, 0, 0.6, 1)])
    metrics = score(reldn(), truth, predicted).metrics
    assert metrics["phr_k1_R@20"] == 100.0 and metrics["rel_k1_R@20"] == 0.0


def test_annotated_pairs_rank_in_reldn_and_all_pairs_in_motifs() -> None:
    truth = truth_graph([A, B], [0, 1], [(0, 1, 0), (0, 0, 2)])
    annotated = PairAnswers(
        np.array([0, 0]), np.array([1, 0]), np.ones(2), np.array([[0.1, 0.9, 0.0], [0.0, 0.1, 0.9]])
    )
    predicted = predicted_graph([A, B], [0, 1], [(0, 1, 0, 0.8, 1)], annotated)
    given_pairs = score(reldn(), truth, predicted, "prdcls").metrics
    # the model is asked about the self relation; the other relationship is second in its pair
    assert given_pairs["rel_k1_R@20"] == 50.0 and given_pairs["rel_k2_R@20"] == 100.0
    assert score(motifs(), truth, predicted, "prdcls").metrics["R@20"] == 50.0
    assert score(reldn(), truth, predicted, "sgdet").metrics["rel_k2_R@20"] == 50.0


def test_repeats_of_annotated_pairs_push_others_out() -> None:
    truth = truth_graph([A, B, C], [0, 1, 1], [(0, 1, 0)] * 20 + [(0, 2, 0)])
    annotated = PairAnswers(
        np.zeros(21, dtype=int),
        np.array([1] * 20 + [2]),
        np.ones(21),
        np.array([[0.9, 0.0, 0.0]] * 20 + [[0.8, 0.0, 0.0]]),
    )
    result = score(reldn(), truth, predicted_graph([A, B, C], [0, 1, 1], [], annotated), "prdcls")
    assert result.per_image["reldn"].hits["rel_k1_R@20"].tolist() == [20]
    assert result.per_image["reldn"].hits["rel_k1_R@50"].tolist() == [21]


@given(scenes(max_entities=5), st.integers(1, 3), st.integers(1, 8))
def test_short_lists_equal_the_definitions(scene: Scene, k: int, at: int) -> None:
    protocol = RecallProtocol("short", (RecallList("", k),), "micro", recall_at=(at,), list_length=at + 1)
    hits = score(protocol, scene.truth, scene.predicted).per_image[protocol.name].hits
    listed = slow_top(scene.all_pairs, k, at)
    image = RankedImage(scene.truth, scene.predicted, scene.all_pairs)
    assert hits[f"R@{at}"] == sum(slow_hit(image, listed, phrase=False))


@given(scenes())
def test_more_predicates_and_places_never_lower_the_hits_of_an_unfilled_list(scene: Scene) -> None:
    hits = score(reldn((1, 2, 3)), scene.truth, scene.predicted).per_image["reldn"].hits
    assert hits["rel_k1_R@100"] <= hits["rel_k2_R@100"] <= hits["rel_k3_R@100"]
    assert hits["rel_k3_R@20"] <= hits["rel_k3_R@50"] <= hits["rel_k3_R@100"] <= len(scene.truth.relations)


def test_each_protocol_reports_the_other_average_under_its_name() -> None:
    truths = [truth_graph([A, B], [0, 1], [(0, 1, 0)] * n) for n in (1, 3)]
    found = predicted_graph([A, B], [0, 1], [(0, 1, 0, 0.6, 1)])
    images = [(truths[0], found), (truths[1], PredictedGraph.empty())]
    by_image = score_images(motifs(), images).metrics
    pooled = score_images(reldn(), images).metrics
    assert by_image["R@50"] == pooled["macro_rel_k1_R@50"] == 50.0
    assert by_image["micro_R@50"] == pooled["rel_k1_R@50"] == 25.0


def test_names_of_all_numbers() -> None:
    truth = truth_graph([A, B], [0, 1], [(0, 1, 0)])
    names = set(score(reldn((1, 9, 70)), truth, PredictedGraph.empty()).metrics)
    lists = [(f"{kind}_k{k}_", at) for kind in ("rel", "phr") for k in (1, 9, 70) for at in (20, 50, 100)]
    plain = {f"{prefix}R@{at}" for prefix, at in lists}
    precisions = {f"{prefix}P@{at}" for prefix, at in lists}
    means = {
        f"pooled_{prefix}{mean}@{at}"
        for mean in ("mR", "mR_all")
        for prefix, at in lists
        if "_k9_" not in prefix
    }
    assert names == plain | {f"macro_{name}" for name in plain} | precisions | means
    assert not any("-" in name for name in names)


@pytest.mark.parametrize("ks", [(), (0, 1), (2, 2)])
def test_senseless_numbers_of_predicates_are_refused(ks: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="predicates_per_pair"):
        reldn(ks)


def test_recall_beyond_the_list_is_refused() -> None:
    with pytest.raises(ValueError, match="recall at 200"):
        RecallProtocol("long", (RecallList("", 1),), "micro", recall_at=(50, 200))


def test_task_names() -> None:
    assert parse_task("sgdet") == parse_task("SGDET") == "sgdet"
    with pytest.raises(ValueError, match="SGGEN"):
        parse_task("SGGEN")
