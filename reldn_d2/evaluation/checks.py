"""Checks of annotations and predictions: they refuse input that would silently give a wrong number.

Every function raises ValueError with a message that begins with `where`, which names the image.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from reldn_d2.structures import Queries

from .graphs import (
    FloatArray,
    GroundTruthGraph,
    IntArray,
    PairAnswers,
    PredictedGraph,
    RankedTriplets,
    Task,
    TripletAnswers,
)
from .matching import MIN_OVERLAP, box_iou
from .protocols.protocol import EvaluationProtocol
from .ranking import sort_triplets, truncate


def check_ground_truth(
    truth: GroundTruthGraph, num_classes: int | None, num_predicates: int, where: str
) -> None:
    """Check the shapes, the boxes, and the range of every class and index.

    If `num_classes` is None, classes only have to be 0 or more.
    """
    _check_entities(truth.boxes, truth.classes, num_classes, f"{where}, annotation")
    _check_range(truth.verified_classes, 0, num_classes, f"{where}: verified class")
    if truth.relations.ndim != 2 or truth.relations.shape[1] != 3:
        raise ValueError(f"{where}: relations must be (R, 3), not {truth.relations.shape}")
    subject, object, predicate = truth.relations.T
    _check_range(subject, 0, len(truth.boxes), f"{where}: relation subject")
    _check_range(object, 0, len(truth.boxes), f"{where}: relation object")
    _check_range(predicate, 0, num_predicates, f"{where}: relation predicate")


def check_graphs(
    truth: GroundTruthGraph,
    predicted: PredictedGraph | None,
    task: Task,
    protocols: Sequence[EvaluationProtocol[Any]],
    *,
    num_classes: int | None,
    num_predicates: int,
    where: str,
) -> None:
    """Check an annotation, and a prediction that protocols read as it is.

    The checks are those of `prepare_prediction`. The triplets must be ranked already, and the answers may
    hold more rows than the protocols ask about.

    Args:
        truth: annotation of the image.
        predicted: prediction for it; None checks the annotation alone.
        task, protocols, num_predicates, where: see `prepare_prediction`.
        num_classes: see `check_ground_truth`.
    """
    check_ground_truth(truth, num_classes, num_predicates, where)
    if predicted is None:
        return
    _check_prediction(predicted, truth, task, num_classes, num_predicates, where)
    if (np.diff(predicted.relations.score) > 0).any():
        raise ValueError(f"{where}: triplets must come best first; rank_triplets ranks them")
    _check_ranks(predicted.relations, where, has_repeats=predicted.has_repeats)
    pairs, triplets = predicted.pair_answers, predicted.triplet_answers
    if pairs is not None:
        _check_columns(pairs, len(truth.boxes), num_predicates, f"{where}: pair_answers")
        _check_pair_answers(pairs, num_predicates, where)
    if triplets is not None:
        _check_columns(triplets, len(truth.boxes), num_predicates, f"{where}: triplet_answers")
        _check_triplet_answers(triplets, where)
    if triplets is not None and (task == "sgdet" or pairs is not None):
        return  # Nothing can be missing: protocols ask about pairs only in sgcls and prdcls.
    for protocol in protocols:
        asked = protocol.queries(truth, task)
        if len(asked.pairs) and pairs is None:
            raise ValueError(
                f"{where}: protocol {protocol.name} ranks pairs it asks about; give `pair_answers`"
            )
        if len(asked.triplets) and triplets is None:
            raise ValueError(
                f"{where}: protocol {protocol.name} compares triplets it asks about; give `triplet_answers`"
            )


def prepare_prediction(
    predicted: PredictedGraph,
    truth: GroundTruthGraph,
    task: Task,
    protocols: Sequence[EvaluationProtocol[Any]],
    *,
    num_classes: int,
    num_predicates: int,
    where: str,
) -> PredictedGraph:
    """Check a prediction, rank it, and keep the parts that the protocols read.

    Args:
        predicted: prediction with any number of triplets in any order; equal scores keep their order.
        truth: annotation of the image.
        task: in sgcls and prdcls the predicted entities must be the annotated ones, row by row.
        protocols: one or more protocols that will read the prediction. The list is cut to the
            longest one that they read (see `ranking.truncate`). Answers must repeat their questions row by
            row; answers that no protocol asked for are dropped.
        num_classes, num_predicates: sizes C and P of the vocabulary, without background.
        where: name of the image, for errors.
    """
    _check_prediction(predicted, truth, task, num_classes, num_predicates, where)
    asked = {protocol.name: protocol.queries(truth, task) for protocol in protocols}
    _check_answered(predicted, asked, where)
    queries = Queries.union(list(asked.values()))
    list_length = max(protocol.list_length for protocol in protocols)
    relations = truncate(sort_triplets(predicted.relations), list_length)
    _check_ranks(relations, where, has_repeats=predicted.has_repeats)
    return PredictedGraph(
        predicted.boxes,
        predicted.classes,
        predicted.scores,
        relations,
        _checked_pair_answers(predicted.pair_answers, queries.pairs.numpy(), num_predicates, where),
        _checked_triplet_answers(predicted.triplet_answers, queries.triplets.numpy(), where),
        predicted.has_repeats,
    )


def _check_entities(boxes: FloatArray, classes: IntArray, num_classes: int | None, where: str) -> None:
    _check_numbers(boxes, (len(classes), 4), f"{where}: boxes")
    if (boxes[:, 2:] < boxes[:, :2]).any():
        raise ValueError(f"{where}: boxes must be (x0, y0, x1, y1) with x0 <= x1 and y0 <= y1")
    _check_range(classes, 0, num_classes, f"{where}: class")


def _check_prediction(
    predicted: PredictedGraph,
    truth: GroundTruthGraph,
    task: Task,
    num_classes: int | None,
    num_predicates: int,
    where: str,
) -> None:
    """Check the entities and the single triplets of a prediction."""
    _check_entities(predicted.boxes, predicted.classes, num_classes, f"{where}, prediction")
    _check_numbers(predicted.scores, (len(predicted.boxes),), f"{where}: entity scores")
    _check_triplets(predicted.relations, len(predicted.boxes), num_predicates, where)
    if task != "sgdet" and len(predicted.boxes) != len(truth.boxes):
        raise ValueError(
            f"{where}: {task} predicts {len(predicted.boxes)} entities, {len(truth.boxes)} are annotated; "
            "the model must keep all ground-truth entities, in annotation order"
        )
    if task == "prdcls" and not np.array_equal(predicted.classes, truth.classes):
        raise ValueError(
            f"{where}: in prdcls the entities must have the annotated classes, row by row; the model must "
            "keep all ground-truth entities, in annotation order"
        )
    if task != "sgdet":
        _check_given_boxes(predicted.boxes, truth.boxes, where)


def _check_triplets(triplets: RankedTriplets, num_entities: int, num_predicates: int, where: str) -> None:
    _check_numbers(triplets.score, (len(triplets.subject),), f"{where}: relationship scores")
    for name, column, low, high in (
        ("subject_index", triplets.subject, 0, num_entities),
        ("object_index", triplets.object, 0, num_entities),
        ("pred_predicates", triplets.predicate, 0, num_predicates),
        ("rank_in_pair", triplets.rank_in_pair, 1, num_predicates + 1),
    ):
        if column.shape != triplets.score.shape:
            raise ValueError(f"{where}: {name} has shape {column.shape}, scores {triplets.score.shape}")
        _check_range(column, low, high, f"{where}: {name}")


def _check_given_boxes(boxes: FloatArray, annotated: FloatArray, where: str) -> None:
    """Check that the boxes are the annotated ones, row by row.

    They may be rounded and clipped to the image.
    """
    wrong = box_iou(boxes, annotated, 1.0) < MIN_OVERLAP
    if wrong.any():
        raise ValueError(
            f"{where}: the box of predicted entity {np.flatnonzero(wrong)[0]} is not the annotated one; in "
            "sgcls and prdcls the model must keep all given boxes, in annotation order"
        )


def _check_ranks(triplets: RankedTriplets, where: str, *, has_repeats: bool) -> None:
    """Check that a pair has each predicate once, and the ranks 1, 2, 3, ... by descending score.

    Otherwise, a limit on the predicates of a pair would select the wrong triplets. With `has_repeats` a
    predicate may be there several times, with the same rank.
    """
    columns = np.stack([triplets.subject, triplets.object, triplets.predicate], axis=1).astype(np.int64)
    # One number for each row: unique numbers are found much faster than unique rows.
    keys = np.ravel_multi_index(tuple(columns.T), tuple(columns.max(axis=0, initial=0) + 1))
    _, first, of_first = np.unique(keys, return_index=True, return_inverse=True)
    if len(first) < len(keys):
        if not has_repeats:
            raise ValueError(f"{where}: an ordered pair has the same pred_predicates twice")
        if not np.array_equal(triplets.rank_in_pair[first[of_first]], triplets.rank_in_pair):
            raise ValueError(f"{where}: the repeats of a triplet must all have the rank_in_pair of the best")
        triplets = triplets.rows(np.sort(first))
    by_rank = triplets.rows(np.lexsort((triplets.rank_in_pair, triplets.object, triplets.subject)))
    pairs = np.stack([by_rank.subject, by_rank.object])
    starts = np.concatenate([[True], (pairs[:, 1:] != pairs[:, :-1]).any(axis=0)])[: len(by_rank)]
    before = by_rank.rows(np.arange(len(by_rank)) - 1)
    expected = np.where(starts, 1, before.rank_in_pair + 1)
    rises = ~starts & (by_rank.score > before.score)
    if rises.any() or not np.array_equal(by_rank.rank_in_pair, expected):
        raise ValueError(
            f"{where}: the rank_in_pair of an ordered pair must be 1, 2, 3, ... by descending score, without "
            "a gap"
        )


def _check_answered(predicted: PredictedGraph, asked: Mapping[str, Queries], where: str) -> None:
    """Check that the questions of the protocols have answers."""
    for key, answers, askers in (
        ("pair_answers", predicted.pair_answers, [name for name, x in asked.items() if len(x.pairs)]),
        (
            "triplet_answers",
            predicted.triplet_answers,
            [name for name, x in asked.items() if len(x.triplets)],
        ),
    ):
        if askers and answers is None:
            raise ValueError(
                f"{where}: the prediction lacks '{key}', which protocol {' and '.join(askers)} asked for. "
                "Join the test loader to the evaluator with reldn_d2.data.with_queries(loader, "
                "queries=evaluator.queries), or build it with reldn_d2.engine.Trainer.build_test_loader, or "
                f"leave protocol {' and '.join(askers)} out."
            )


def _checked_pair_answers(
    answers: PairAnswers | None, asked: IntArray, num_predicates: int, where: str
) -> PairAnswers | None:
    """Check the answers about (A, 2) pairs and return them; None if nothing is asked."""
    if answers is None or not len(asked):
        return None
    _check_repeats(np.stack([answers.subject, answers.object], axis=1), asked, "pair_answers", where)
    _check_pair_answers(answers, num_predicates, where)
    return answers


def _check_pair_answers(answers: PairAnswers, num_predicates: int, where: str) -> None:
    rows = len(answers.subject)
    _check_numbers(answers.score, (rows,), f"{where}: pair_scores")
    _check_numbers(answers.predicate_probs, (rows, num_predicates), f"{where}: predicate_probs")
    if (answers.score < 0).any() or (answers.predicate_probs < 0).any():
        raise ValueError(f"{where}: pair_scores and predicate_probs must not be negative")


def _checked_triplet_answers(
    answers: TripletAnswers | None, asked: IntArray, where: str
) -> TripletAnswers | None:
    """Check the answers about (Q, 3) triplets and return them; None if nothing is asked."""
    if answers is None or not len(asked):
        return None
    given = np.stack([answers.subject, answers.object, answers.predicate], axis=1)
    _check_repeats(given, asked, "triplet_answers", where)
    _check_triplet_answers(answers, where)
    return answers


def _check_triplet_answers(answers: TripletAnswers, where: str) -> None:
    rows = len(answers.subject)
    _check_numbers(answers.score, (rows,), f"{where}: scores of triplet_answers")
    if (answers.score < 0).any():
        raise ValueError(
            f"{where}: a score of triplet_answers is below 0, the score of a triplet that is not predicted"
        )
    if answers.detected.shape != (rows,) or answers.detected.dtype != np.bool_:
        raise ValueError(
            f"{where}: detected must be bool of shape {(rows,)}, not {answers.detected.dtype} of "
            f"{answers.detected.shape}"
        )


def _check_columns(
    answers: PairAnswers | TripletAnswers, num_entities: int, num_predicates: int, what: str
) -> None:
    """Check the rows that answers are about."""
    columns = [
        ("subject_index", answers.subject, num_entities),
        ("object_index", answers.object, num_entities),
    ]
    if isinstance(answers, TripletAnswers):
        columns.append(("pred_predicates", answers.predicate, num_predicates))
    for name, column, high in columns:
        if column.shape != (len(answers.subject),):
            raise ValueError(f"{what}: {name} has shape {column.shape}, not {(len(answers.subject),)}")
        _check_range(column, 0, high, f"{what}: {name}")


def _check_repeats(given: IntArray, asked: IntArray, what: str, where: str) -> None:
    if not np.array_equal(given, asked):
        raise ValueError(
            f"{where}: '{what}' must repeat row by row the {len(asked)} rows that were asked about "
            f"(RelationEvaluator.queries), but it has {len(given)} rows or other ones"
        )


def _check_numbers(values: FloatArray, shape: tuple[int, ...], what: str) -> None:
    if values.shape != shape or values.dtype.kind not in "fiu":
        raise ValueError(
            f"{what} must have shape {shape} and hold numbers, not {values.dtype} of {values.shape}"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"{what} hold a number that is not finite")


def _check_range(values: npt.NDArray[Any], low: int, high: int | None, what: str) -> None:
    """Check integers; if `high` is None, they have no upper limit."""
    if values.size and values.dtype.kind not in "iu":
        raise ValueError(f"{what} must be an integer, not {values.dtype}")
    if values.size and (values.min() < low or (high is not None and values.max() >= high)):
        rule = f"{low} or more" if high is None else f"in [{low}, {high})"
        raise ValueError(f"{what} must be {rule}, found {values.min()} to {values.max()}")
