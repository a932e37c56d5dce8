import dataclasses

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from reldn_d2.evaluation import (
    PROTOCOLS,
    EvaluatedSplit,
    GroundTruthGraph,
    PairAnswers,
    PredictedGraph,
    TripletAnswers,
    confusion_triplets,
    evaluate_graphs,
    motifs,
    reldn,
    training_split,
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
    with pytest.raises(ValueError, match="no prediction for 1 of 2 images: image 2"):
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
    with pytest.raises(ValueError, match="image 1: triplets must come best first"):
        evaluate_graphs({"1": TRUTH}, {"1": unsorted}, "sgdet", ["motifs"], SPLIT)


NAN = float("nan")
PAIRS = PairAnswers(np.array([0]), np.array([1]), np.ones(1), np.array([[0.9, 0.1, 0.0]]))
TRIPLETS = TripletAnswers(np.array([0]), np.array([1]), np.array([0]), np.ones(1), np.ones(1, dtype=bool))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (predicted_graph([A, B], [0, 1], [(0, 1, 0, NAN, 1)]), "relationship scores .* not finite"),
        (predicted_graph([A, (0, 0, NAN, 9)], [0, 1], []), "prediction: boxes .* not finite"),
        (predicted_graph([A, (9, 0, 0, 9)], [0, 1], []), "x0 <= x1"),
        (predicted_graph([A, B], [0, 2], []), r"class must be in \[0, 2\), found 0 to 2"),
        (predicted_graph([A, B], [0, -1], []), "class must be in"),
        (predicted_graph([A, B], [0, 1], [(0, 1, 3, 0.5, 1)]), "pred_predicates must be in"),
        (predicted_graph([A, B], [0, 1], [(0, 2, 0, 0.5, 1)]), "object_index must be in"),
        (predicted_graph([A, B], [0, 1], [(0, 1, 0, 0.5, 1), (0, 1, 1, 0.4, 1)]), "must be 1, 2, 3"),
        (predicted_graph([A, B], [0, 1], [(0, 1, 0, 0.5, 2), (0, 1, 1, 0.4, 1)]), "must be 1, 2, 3"),
        (predicted_graph([A, B], [0, 1], [(0, 1, 0, 0.5, 1), (0, 1, 0, 0.4, 2)]), "twice"),
        (dataclasses.replace(FOUND, classes=np.array([0.0, 1.0])), "class must be an integer"),
        (dataclasses.replace(FOUND, classes=[0, 1]), "'classes' must be an array, not a list"),
        (
            dataclasses.replace(FOUND, pair_answers=dataclasses.replace(PAIRS, score=np.array([NAN]))),
            "pair_scores .* not finite",
        ),
        (
            dataclasses.replace(FOUND, pair_answers=dataclasses.replace(PAIRS, object=np.array([2]))),
            "pair_answers: object_index must be in",
        ),
        (
            dataclasses.replace(FOUND, triplet_answers=dataclasses.replace(TRIPLETS, score=-np.ones(1))),
            "triplet_answers is below 0",
        ),
        (
            dataclasses.replace(
                FOUND, triplet_answers=dataclasses.replace(TRIPLETS, subject=np.zeros(2, int))
            ),
            r"triplet_answers: object_index has shape \(1,\), not \(2,\)",
        ),
    ],
)
def test_wrong_predictions_are_refused_with_the_image(wrong: PredictedGraph, message: str) -> None:
    split = EvaluatedSplit(NAMES, num_classes=2)
    with pytest.raises(ValueError, match=f"^image 1.*{message}"):
        evaluate_graphs({"1": TRUTH}, {"1": wrong}, "sgdet", ["motifs"], split)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (truth_graph([A, (0, 9, 9, 0)], [0, 1], [(0, 1, 0)]), "annotation: boxes must be"),
        (truth_graph([A, B], [0, 2], [(0, 1, 0)]), "annotation: class must be in"),
        (truth_graph([A, B], [0, 1], [(0, 2, 0)]), "relation object must be in"),
        (truth_graph([A, B], [0, 1], [(0, 1, 3)]), "relation predicate must be in"),
    ],
)
def test_wrong_annotations_are_refused_with_the_image(wrong: GroundTruthGraph, message: str) -> None:
    split = EvaluatedSplit(NAMES, num_classes=2)
    for predictions in ({"1": FOUND}, {}):
        with pytest.raises(ValueError, match=f"^image 1.*{message}"):
            evaluate_graphs({"1": wrong}, predictions, "sgdet", ["motifs"], split, allow_missing=True)


def test_the_number_of_classes_comes_from_the_split_or_its_training_split() -> None:
    truth = truth_graph([A, B], [0, 5], [(0, 1, 0)])
    high = {"1": predicted_graph([A, B], [0, 5], [(0, 1, 0, 0.9, 1)])}
    found = evaluate_graphs({"1": truth}, high, "sgdet", ["motifs"], SPLIT)["motifs"]
    assert found.metrics["R@20"] == 100.0
    known = EvaluatedSplit(NAMES, training_split([TRUTH], 2, len(NAMES)))
    with pytest.raises(ValueError, match=r"class must be in \[0, 2\)"):
        evaluate_graphs({"1": truth}, high, "sgdet", ["motifs"], known)
    negative = {"1": dataclasses.replace(FOUND, classes=np.array([0, -1]))}
    with pytest.raises(ValueError, match="class must be 0 or more, found -1"):
        evaluate_graphs({"1": TRUTH}, negative, "sgdet", ["motifs"], SPLIT)


def test_given_entities_must_be_the_annotated_ones() -> None:
    swapped = predicted_graph([B, A], [0, 1], [])
    with pytest.raises(ValueError, match="image 1: the box of predicted entity 0 is not the annotated one"):
        evaluate_graphs({"1": TRUTH}, {"1": swapped}, "sgcls", ["motifs"], SPLIT)
    other_class = predicted_graph([A, B], [1, 1], [])
    assert evaluate_graphs({"1": TRUTH}, {"1": other_class}, "sgcls", ["motifs"], SPLIT)
    with pytest.raises(ValueError, match="image 1: in prdcls the entities must have the annotated classes"):
        evaluate_graphs({"1": TRUTH}, {"1": other_class}, "prdcls", ["motifs"], SPLIT)


def test_an_answer_that_is_missing_is_named() -> None:
    answers = dataclasses.replace(PAIRS, subject=np.array([1]), object=np.array([0]))
    with pytest.raises(ValueError, match=r"image 1: protocol reldn .*no row is \[0, 1\]"):
        evaluate_graphs(
            {"1": TRUTH}, {"1": dataclasses.replace(FOUND, pair_answers=answers)}, "prdcls", ["reldn"], SPLIT
        )


def test_predictions_must_have_what_protocols_read() -> None:
    confusable = truth_graph([A, B, (40, 0, 49, 9)], [0, 1, 1], [(0, 1, 0)])
    found = predicted_graph([A, B, (40, 0, 49, 9)], [0, 1, 1], [(0, 1, 0, 0.9, 1)])
    for protocol, task, lacking in (
        ("reldn", "prdcls", "pair_answers"),
        ("confusion", "sgdet", "triplet_answers"),
    ):
        with pytest.raises(ValueError, match=f"image 1: protocol {protocol} .*give `{lacking}`"):
            evaluate_graphs({"1": confusable}, {"1": found}, task, [protocol], SPLIT)
    assert evaluate_graphs({"1": TRUTH}, {"1": FOUND}, "sgdet", ["confusion"], SPLIT)


def test_images_without_relationships_need_no_answers() -> None:
    truths = {"1": TRUTH, "2": truth_graph([A, B], [0, 1], [])}
    pairs = PairAnswers(np.array([0]), np.array([1]), np.ones(1), np.array([[0.9, 0.1, 0.0]]))
    predictions = {"1": dataclasses.replace(FOUND, pair_answers=pairs), "2": FOUND}
    results = evaluate_graphs(truths, predictions, "prdcls", ["reldn"], SPLIT)
    assert results["reldn"].metrics["rel_k1_R@20"] == 100.0
