import dataclasses

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from reldn_d2.evaluation import (
    PROTOCOLS,
    EvaluatedSplit,
    PairAnswers,
    PredictedGraph,
    TripletAnswers,
    confusion_triplets,
    evaluate_graphs,
    motifs,
    reldn,
)
from reldn_d2.evaluation.protocols.registry import resolve_protocols
from tests.builders.evaluation_scenes import NAMES, Scene, predicted_graph, scenes, truth_graph

A, B = (0, 0, 9, 9), (20, 0, 29, 9)
SPLIT = EvaluatedSplit(NAMES)
TRUTH = truth_graph([A, B], [0, 1], [(0, 1, 0)])
FOUND = predicted_graph([A, B], [0, 1], [(0, 1, 0, 0.9, 1)])


def answered(scene: Scene) -> PredictedGraph:
    """The scene's prediction, with scores for the triplets that the confusion metrics ask for."""
    subject, object, predicate = confusion_triplets(scene.truth).T
    score = (subject + 2 * object + predicate) % 3 / 3
    named = TripletAnswers(subject, object, predicate, score, np.ones(len(score), dtype=np.bool_))
    return dataclasses.replace(scene.predicted, triplet_answers=named)


@given(st.lists(scenes(), min_size=2, max_size=4), st.randoms(use_true_random=False))
def test_order_of_images_and_protocols_has_no_influence(split: list[Scene], random: object) -> None:
    assume(any(len(scene.truth.relations) for scene in split))
    ids = [str(i) for i in range(len(split))]
    truths = {i: scene.truth for i, scene in zip(ids, split, strict=True)}
    predictions = {i: answered(scene) for i, scene in zip(ids, split, strict=True)}
    protocols = [make() for make in PROTOCOLS.values()]
    first = evaluate_graphs(truths, predictions, "sgdet", protocols, SPLIT)
    random.shuffle(ids)
    second = evaluate_graphs(
        {i: truths[i] for i in ids}, {i: predictions[i] for i in ids[::-1]}, "sgdet", protocols[::-1], SPLIT
    )
    for name, result in first.items():
        np.testing.assert_equal(dataclasses.asdict(result), dataclasses.asdict(second[name]))


def test_images_without_prediction_are_named_or_score_zero() -> None:
    truths, protocols = {"1": TRUTH, "2": TRUTH}, [motifs(), reldn()]
    with pytest.raises(ValueError, match="1 of 2 images have no prediction: image 2"):
        evaluate_graphs(truths, {"1": FOUND}, "sgdet", protocols, SPLIT)
    results = evaluate_graphs(truths, {"1": FOUND}, "sgdet", protocols, SPLIT, allow_missing=True)
    assert results["motifs"].metrics["R@50"] == 50.0
    assert results["reldn"].metrics["rel_k1_R@50"] == 50.0


def test_images_without_ground_truth_are_not_in_the_mean() -> None:
    empty = truth_graph([], [], [])
    results = evaluate_graphs({"1": TRUTH, "2": empty}, {"1": FOUND, "2": FOUND}, "sgdet", [motifs()], SPLIT)
    assert results["motifs"].metrics["R@50"] == 100.0
    assert results["motifs"].per_image["motifs"].ground_truths.tolist() == [1, 0]


def test_nothing_predicted_at_all_scores_zero() -> None:
    protocols = [make() for name, make in PROTOCOLS.items() if name != "confusion"]
    results = evaluate_graphs({"1": TRUTH}, {"1": PredictedGraph.empty()}, "sgdet", protocols, SPLIT)
    assert all(value == 0.0 for result in results.values() for value in result.metrics.values())


def test_unknown_images_and_empty_splits_are_refused() -> None:
    with pytest.raises(ValueError, match="9"):
        evaluate_graphs({"1": TRUTH}, {"9": FOUND}, "sgdet", [motifs()], SPLIT)
    with pytest.raises(ValueError, match="no annotated relationship"):
        evaluate_graphs(
            {"1": truth_graph([A], [0], [])}, {"1": PredictedGraph.empty()}, "sgdet", [motifs()], SPLIT
        )


def test_protocols_by_name_or_with_settings() -> None:
    resolved = resolve_protocols(["motifs", reldn((1, 70))], "sgcls", NAMES)
    assert [protocol.name for protocol in resolved] == ["motifs", "reldn"]


@pytest.mark.parametrize(
    ("protocols", "task", "message"),
    [
        (["recall"], "sgdet", "unknown protocol 'recall'"),
        (["reldn_openimages"], "prdcls", "not for prdcls"),
        (["motifs", motifs()], "sgdet", "each once"),
        ([], "sgdet", "at least one"),
    ],
)
def test_protocols_that_do_not_fit_are_refused(protocols: list, task: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve_protocols(protocols, task, NAMES)


def test_pure_functions_take_protocols_by_name() -> None:
    by_name = evaluate_graphs({"1": TRUTH}, {"1": FOUND}, "sgdet", ["motifs"], SPLIT)["motifs"]
    made = evaluate_graphs({"1": TRUTH}, {"1": FOUND}, "sgdet", [motifs()], SPLIT)["motifs"]
    assert by_name.metrics == made.metrics and by_name.metrics["R@20"] == 100.0
    with pytest.raises(ValueError, match="unknown protocol"):
        evaluate_graphs({"1": TRUTH}, {"1": FOUND}, "sgdet", ["recall"], SPLIT)


def test_the_task_may_be_in_upper_case() -> None:
    result = evaluate_graphs({"1": TRUTH}, {"1": FOUND}, "SGDET", ["motifs"], SPLIT)["motifs"]
    assert result.metrics["R@20"] == 100.0
    with pytest.raises(ValueError, match="unknown task 'all'"):
        evaluate_graphs({"1": TRUTH}, {"1": FOUND}, "all", ["motifs"], SPLIT)


def test_predictions_that_are_not_ranked_are_refused() -> None:
    unsorted = predicted_graph([A, B], [0, 1], [(0, 1, 0, 0.1, 1), (1, 0, 0, 0.2, 1)])
    nan = predicted_graph([A, B], [0, 1], [(0, 1, 0, float("nan"), 1)])
    for wrong in (unsorted, nan):
        with pytest.raises(ValueError, match="image 1: triplets must come best first"):
            evaluate_graphs({"1": TRUTH}, {"1": wrong}, "sgdet", ["motifs"], SPLIT)


def test_predictions_must_have_what_protocols_read() -> None:
    confusable = truth_graph([A, B, (40, 0, 49, 9)], [0, 1, 1], [(0, 1, 0)])
    for protocol, task, lacking in (
        ("reldn", "prdcls", "pair_answers"),
        ("confusion", "sgdet", "triplet_answers"),
    ):
        with pytest.raises(ValueError, match=f"image 1: protocol {protocol} .*give `{lacking}`"):
            evaluate_graphs({"1": confusable}, {"1": FOUND}, task, [protocol], SPLIT)
    assert evaluate_graphs({"1": TRUTH}, {"1": FOUND}, "sgdet", ["confusion"], SPLIT)


def test_images_without_relationships_need_no_answers() -> None:
    truths = {"1": TRUTH, "2": truth_graph([A, B], [0, 1], [])}
    pairs = PairAnswers(np.array([0]), np.array([1]), np.ones(1), np.array([[0.9, 0.1, 0.0]]))
    predictions = {"1": dataclasses.replace(FOUND, pair_answers=pairs), "2": FOUND}
    results = evaluate_graphs(truths, predictions, "prdcls", ["reldn"], SPLIT)
    assert results["reldn"].metrics["rel_k1_R@20"] == 100.0
