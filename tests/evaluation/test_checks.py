from dataclasses import replace

import numpy as np
import pytest

from reldn_d2.evaluation import (
    ConfusionProtocol,
    GroundTruthGraph,
    PairAnswers,
    PredictedGraph,
    TripletAnswers,
    motifs,
    reldn,
)
from reldn_d2.evaluation.checks import check_ground_truth, prepare_prediction
from reldn_d2.evaluation.protocols.recall import RecallProtocol
from tests.builders.evaluation_scenes import predicted_graph, ranked, truth_graph

A, B = (0, 0, 9, 9), (20, 0, 29, 9)
TRUTH = truth_graph([A, B], [0, 1], [(0, 1, 0), (0, 0, 2)])
ROWS = [(0, 1, 0, 0.9, 1), (1, 0, 2, 0.5, 1)]
PAIRS = PairAnswers(np.array([0, 0]), np.array([1, 0]), np.ones(2), np.full((2, 3), 0.2))
GOOD = predicted_graph([A, B], [0, 1], ROWS, PAIRS)
NAN = float("nan")
ASKS_PAIRS = reldn()
OPTIONS = {"num_classes": 2, "num_predicates": 3, "where": "image 7"}


def prepare(
    predicted: PredictedGraph, task: str = "sgdet", protocol: RecallProtocol = ASKS_PAIRS
) -> PredictedGraph:
    return prepare_prediction(predicted, TRUTH, task, [protocol], **OPTIONS)


def test_good_prediction_is_ranked_and_cut() -> None:
    rows = [(1, 0, 2, 0.5, 1), (0, 1, 0, 0.9, 1), (0, 1, 1, 0.1, 2)]
    short = replace(motifs(), recall_at=(1,), list_length=2)
    prepared = prepare(predicted_graph([A, B], [0, 1], rows), protocol=short)
    assert prepared.relations.subject.tolist() == [0, 1]
    assert len(prepare(predicted_graph([A, B], [0, 1], rows)).relations) == 3


def test_pair_answers_are_kept_if_a_protocol_asked() -> None:
    assert prepare(GOOD, "prdcls").pair_answers is PAIRS
    assert prepare(GOOD, "prdcls", motifs()).pair_answers is None
    assert prepare(GOOD, "sgdet").pair_answers is None


def test_nothing_predicted_is_fine() -> None:
    assert len(prepare(PredictedGraph.empty()).relations) == 0


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (predicted_graph([A, (0, 0, NAN, 9)], [0, 1], ROWS), "boxes .* not finite"),
        (predicted_graph([A, (9, 0, 0, 9)], [0, 1], ROWS), "x0 <= x1"),
        (predicted_graph([A, B], [0, 2], ROWS), r"class must be in \[0, 2\)"),
        (predicted_graph([A, B], [-1, 1], ROWS), "class must be in"),
        (replace(GOOD, scores=np.array([0.5, NAN])), "entity scores .* not finite"),
        (replace(GOOD, scores=np.ones(3)), "entity scores must have shape"),
        (replace(GOOD, boxes=np.zeros((2, 5))), "boxes must have shape"),
        (predicted_graph([A, B], [0, 1], [(0, 1, 0, NAN, 1)]), "relationship scores .* not finite"),
        (predicted_graph([A, B], [0, 1], [(0, 1, 0, float("inf"), 1)]), "relationship scores .* not finite"),
        (predicted_graph([A, B], [0, 1], [(0, 2, 0, 0.5, 1)]), "object_index must be in"),
        (predicted_graph([A, B], [0, 1], [(-1, 1, 0, 0.5, 1)]), "subject_index must be in"),
        (predicted_graph([A, B], [0, 1], [(0, 1, 3, 0.5, 1)]), "pred_predicates must be in"),
        (predicted_graph([A, B], [0, 1], [(0, 1, 0, 0.5, 0)]), "rank_in_pair must be in"),
        (predicted_graph([A, B], [0, 1], [(0, 1, 0, 0.5, 4)]), "rank_in_pair must be in"),
        (predicted_graph([A, B], [0, 1], [(0, 1, 0, 0.5, 1), (0, 1, 1, 0.4, 1)]), "must be 1, 2, 3"),
        (predicted_graph([A, B], [0, 1], [(0, 1, 0, 0.5, 2), (0, 1, 1, 0.4, 1)]), "must be 1, 2, 3"),
        (predicted_graph([A, B], [0, 1], [(0, 1, 0, 0.5, 2), (0, 1, 1, 0.4, 3)]), "must be 1, 2, 3"),
        (predicted_graph([A, B], [0, 1], [(0, 1, 0, 0.5, 1), (0, 1, 1, 0.4, 3)]), "must be 1, 2, 3"),
        (replace(GOOD, classes=np.array([0.0, NAN])), "class must be an integer"),
        (replace(GOOD, classes=np.array(["0", "1"])), "class must be an integer"),
        (replace(GOOD, scores=np.array(["0.5", "0.5"])), "entity scores .* hold numbers"),
        (
            replace(GOOD, relations=replace(ranked(ROWS), subject=np.array([0.0, 1.0]))),
            "subject_index must be an integer",
        ),
        (
            predicted_graph([A, B], [0, 1], [(0, 1, 0, 0.5, 1), (0, 1, 0, 0.4, 2)]),
            "same pred_predicates twice",
        ),
        (
            replace(GOOD, relations=replace(ranked(ROWS), predicate=np.zeros(3, dtype=int))),
            "pred_predicates has shape",
        ),
    ],
)
def test_broken_predictions_are_refused_with_the_image(broken: PredictedGraph, message: str) -> None:
    with pytest.raises(ValueError, match=f"^image 7.*{message}"):
        prepare(broken)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (predicted_graph([A], [0], []), "prdcls predicts 1 entities, 2 are annotated"),
        (replace(GOOD, boxes=GOOD.boxes[::-1]), "box of predicted entity 0 is not the annotated one"),
        (replace(GOOD, classes=GOOD.classes[::-1]), "annotated classes, row by row"),
        (replace(GOOD, pair_answers=None), "lacks 'pair_answers'"),
        (replace(GOOD, pair_answers=replace(PAIRS, object=np.array([1, 1]))), "row by row"),
        (replace(GOOD, pair_answers=replace(PAIRS, score=np.array([1.0, NAN]))), "pair_scores .* not finite"),
        (replace(GOOD, pair_answers=replace(PAIRS, score=np.array([1.0, -0.5]))), "must not be negative"),
        (
            replace(GOOD, pair_answers=replace(PAIRS, predicate_probs=np.full((2, 3), -0.1))),
            "must not be negative",
        ),
        (
            replace(GOOD, pair_answers=replace(PAIRS, predicate_probs=np.ones((2, 4)))),
            "predicate_probs must have shape",
        ),
    ],
)
def test_predictions_that_do_not_fit_the_task_are_refused(broken: PredictedGraph, message: str) -> None:
    with pytest.raises(ValueError, match=f"^image 7: .*{message}"):
        prepare(broken, "prdcls")


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (truth_graph([A, (0, 0, NAN, 1)], [0, 1], []), "not finite"),
        (truth_graph([A, (0, 9, 9, 0)], [0, 1], []), "y0 <= y1"),
        (truth_graph([A, B], [0, 2], []), "class must be in"),
        (truth_graph([A, B], [0, 1], [(0, 2, 0)]), "relation object"),
        (replace(TRUTH, classes=np.array([0.5, 1.0])), "class must be an integer"),
        (replace(TRUTH, verified_classes=np.array([0, 2])), "verified class must be in"),
        (truth_graph([A, B], [0, 1], [(-1, 1, 0)]), "relation subject"),
        (truth_graph([A, B], [0, 1], [(0, 1, 3)]), "relation predicate"),
        (GroundTruthGraph(TRUTH.boxes, TRUTH.classes, np.zeros((2, 2), dtype=int)), "must be \\(R, 3\\)"),
    ],
)
def test_broken_annotation_is_refused_with_the_image(broken: GroundTruthGraph, message: str) -> None:
    with pytest.raises(ValueError, match=f"^image 7.*{message}"):
        check_ground_truth(broken, 2, 3, "image 7")


CONFUSABLE = truth_graph([A, B, (40, 0, 49, 9)], [0, 1, 1], [(0, 1, 0)])
CONFUSION = [ConfusionProtocol()]


def test_an_image_with_cases_needs_triplet_answers() -> None:
    with pytest.raises(
        ValueError, match=r"^image 7: .*lacks 'triplet_answers', which protocol confusion asked"
    ):
        prepare_prediction(GOOD, CONFUSABLE, "sgdet", CONFUSION, **OPTIONS)
    assert prepare_prediction(GOOD, TRUTH, "sgdet", CONFUSION, **OPTIONS).triplet_answers is None


def test_missing_answers_name_the_remedy() -> None:
    remedy = r"with_queries\(loader, queries=evaluator\.queries\).*Trainer\.build_test_loader.*"
    with pytest.raises(ValueError, match=rf"^image 7: .*{remedy}leave protocol reldn out"):
        prepare(replace(GOOD, pair_answers=None), "prdcls")


def test_answers_that_no_protocol_asked_for_are_dropped() -> None:
    answers = TripletAnswers(*np.zeros((3, 1), dtype=int), np.ones(1), np.ones(1, dtype=bool))
    assert prepare(replace(GOOD, triplet_answers=answers)).triplet_answers is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, None),
        ({"score": np.array([0.5, -0.1])}, "is below 0"),
        ({"score": np.array([0.5, NAN])}, "not finite"),
        ({"object": np.array([2, 1])}, "row by row"),
        ({"detected": np.ones(3, dtype=bool)}, "detected must be bool of shape"),
        ({"detected": np.ones(2)}, "detected must be bool of shape"),
    ],
)
def test_triplet_answers_must_repeat_what_was_asked(change: dict, message: str | None) -> None:
    answers = TripletAnswers(
        np.zeros(2, dtype=int),
        np.array([1, 2]),
        np.zeros(2, dtype=int),
        np.full(2, 0.5),
        np.ones(2, dtype=bool),
    )
    predicted = replace(GOOD, triplet_answers=replace(answers, **change))
    if message is None:
        found = prepare_prediction(predicted, CONFUSABLE, "sgdet", CONFUSION, **OPTIONS)
        assert found.triplet_answers is predicted.triplet_answers
        return
    with pytest.raises(ValueError, match=f"^image 7: .*{message}"):
        prepare_prediction(predicted, CONFUSABLE, "sgdet", CONFUSION, **OPTIONS)


def test_equal_scores_of_a_pair_may_come_in_any_order() -> None:
    # Different probabilities may round to one score. The order is then that of the predicates.
    rows = [(0, 1, 0, 0.5, 2), (0, 1, 1, 0.5, 1), (1, 0, 2, 0.25, 1)]
    assert len(prepare(predicted_graph([A, B], [0, 1], rows)).relations) == 3


def test_given_boxes_may_be_rounded_and_clipped() -> None:
    moved = replace(GOOD, boxes=GOOD.boxes + np.float32(0.4))
    assert prepare(moved, "prdcls").boxes is moved.boxes
