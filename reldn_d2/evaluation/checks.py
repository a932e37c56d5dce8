"""Refuse annotations and predictions that would give a wrong number without anybody noticing.

Every function raises ValueError with a message that begins with `where`, the name of the image.
"""

from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt

from .graphs import (
    AnnotatedPairs,
    FloatArray,
    GroundTruthGraph,
    IntArray,
    NamedTriplets,
    PredictedGraph,
    RankedTriplets,
    Task,
)
from .matching import MIN_OVERLAP, box_iou
from .protocols.confusion import named_triplets
from .protocols.protocol import Need
from .ranking import shorten, sort_triplets


def check_ground_truth(truth: GroundTruthGraph, num_classes: int, num_predicates: int, where: str) -> None:
    """Check shapes, boxes, and that every class and index is in range."""
    _check_entities(truth.boxes, truth.classes, num_classes, f"{where}, annotation")
    _check_range(truth.verified_classes, 0, num_classes, f"{where}: verified class")
    if truth.relations.ndim != 2 or truth.relations.shape[1] != 3:
        raise ValueError(f"{where}: relations must be (R, 3), not {truth.relations.shape}")
    subject, object, predicate = truth.relations.T
    _check_range(subject, 0, len(truth.boxes), f"{where}: relation subject")
    _check_range(object, 0, len(truth.boxes), f"{where}: relation object")
    _check_range(predicate, 0, num_predicates, f"{where}: relation predicate")


def prepare_prediction(
    predicted: PredictedGraph,
    truth: GroundTruthGraph,
    task: Task,
    *,
    num_classes: int,
    num_predicates: int,
    list_length: int,
    needs: Collection[Need],
    where: str,
) -> PredictedGraph:
    """Check a prediction, rank it, and cut its list to what protocols read.

    Args:
        predicted: triplets in any order and of any number; equal scores keep their order.
        truth: annotation of the image.
        task: in SGCLS and PRDCLS the predicted entities have to be the annotated ones, row by row.
        num_classes, num_predicates: sizes of the vocabulary, background left out.
        list_length: longest ranked list that will be read (see `ranking.shorten`).
        needs: what protocols read besides the ranked list; the rest is dropped.
        where: names the image in errors.
    """
    _check_entities(predicted.boxes, predicted.classes, num_classes, f"{where}, prediction")
    _check_numbers(predicted.scores, (len(predicted.boxes),), f"{where}: entity scores")
    _check_triplets(predicted.relations, len(predicted.boxes), num_predicates, where)
    if task != "SGDET" and len(predicted.boxes) != len(truth.boxes):
        raise ValueError(
            f"{where}: {task} predicts {len(predicted.boxes)} entities, {len(truth.boxes)} are annotated; "
            "the model must keep all ground-truth entities, in annotation order"
        )
    if task == "PRDCLS" and not np.array_equal(predicted.classes, truth.classes):
        raise ValueError(
            f"{where}: in PRDCLS the entities must have the annotated classes, row by row; the model must keep all "
            "ground-truth entities, in annotation order"
        )
    if task != "SGDET":
        _check_given_boxes(predicted.boxes, truth.boxes, where)
    annotated = None
    if task != "SGDET" and "annotated_pairs" in needs:
        annotated = _checked_annotated_pairs(predicted.annotated, truth, num_predicates, where)
    named = _checked_named_triplets(predicted.named, truth, where) if "named_triplets" in needs else None
    relations = shorten(sort_triplets(predicted.relations), list_length)
    _check_ranks(relations, where)
    return PredictedGraph(predicted.boxes, predicted.classes, predicted.scores, relations, annotated, named)


def _check_entities(boxes: FloatArray, classes: IntArray, num_classes: int, where: str) -> None:
    _check_numbers(boxes, (len(classes), 4), f"{where}: boxes")
    if (boxes[:, 2:] < boxes[:, :2]).any():
        raise ValueError(f"{where}: boxes must be (x0, y0, x1, y1) with x0 <= x1 and y0 <= y1")
    _check_range(classes, 0, num_classes, f"{where}: class")


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
    """Row by row the annotated boxes, but for rounding and clipping to the image."""
    wrong = box_iou(boxes, annotated, 1.0) < MIN_OVERLAP
    if wrong.any():
        raise ValueError(
            f"{where}: the box of predicted entity {np.flatnonzero(wrong)[0]} is not the annotated one; where boxes are "
            "given the model must keep them all, in annotation order"
        )


def _check_ranks(triplets: RankedTriplets, where: str) -> None:
    """A pair has each predicate once, and ranks 1, 2, 3, ... by falling score, or limits on its predicates fail."""
    keys = np.stack([triplets.subject, triplets.object, triplets.predicate], axis=1)
    if len(np.unique(keys, axis=0)) < len(keys):
        raise ValueError(f"{where}: an ordered pair has the same pred_predicates twice")
    by_rank = triplets.rows(np.lexsort((triplets.rank_in_pair, triplets.object, triplets.subject)))
    ends = np.stack([by_rank.subject, by_rank.object])
    starts = np.concatenate([[True], (ends[:, 1:] != ends[:, :-1]).any(axis=0)])[: len(by_rank)]
    expected = np.where(starts, 1, np.roll(by_rank.rank_in_pair, 1) + 1)
    rises = ~starts & (by_rank.score > np.roll(by_rank.score, 1))
    if rises.any() or not np.array_equal(by_rank.rank_in_pair, expected):
        raise ValueError(
            f"{where}: the rank_in_pair of an ordered pair must be 1, 2, 3, ... by falling score, none left out"
        )


def _checked_annotated_pairs(
    pairs: AnnotatedPairs | None, truth: GroundTruthGraph, num_predicates: int, where: str
) -> AnnotatedPairs | None:
    num_pairs = len(truth.relations)
    if pairs is None:
        if num_pairs:
            raise ValueError(
                f"{where}: the prediction lacks 'annotated_pairs', which a protocol ranks; give the "
                "model inputs with 'relations' or leave that protocol out"
            )
        return None
    if not np.array_equal(np.stack([pairs.subject, pairs.object], axis=1), truth.relations[:, :2]):
        raise ValueError(f"{where}: 'annotated_pairs' must repeat the annotated relationships row by row")
    _check_numbers(pairs.score, (num_pairs,), f"{where}: pair_scores")
    _check_numbers(pairs.predicate_probs, (num_pairs, num_predicates), f"{where}: predicate_probs")
    if (pairs.score < 0).any() or (pairs.predicate_probs < 0).any():
        raise ValueError(f"{where}: pair_scores and predicate_probs must not be negative")
    return pairs


def _checked_named_triplets(
    triplets: NamedTriplets | None, truth: GroundTruthGraph, where: str
) -> NamedTriplets | None:
    asked = named_triplets(truth)
    if triplets is None:
        if not len(asked):
            return None
        raise ValueError(
            f"{where}: the prediction lacks 'named_triplets', which protocol confusion compares; give the model inputs "
            "with 'named_triplets' or leave that protocol out"
        )
    given = np.stack([triplets.subject, triplets.object, triplets.predicate], axis=1)
    if not np.array_equal(given, asked):
        raise ValueError(
            f"{where}: 'named_triplets' must repeat row by row what confusion.named_triplets asks for "
            f"({len(asked)} rows), but there are {len(given)} rows, or others"
        )
    _check_numbers(triplets.score, (len(asked),), f"{where}: scores of named triplets")
    if (triplets.score < 0).any():
        raise ValueError(
            f"{where}: a named triplet scores below 0, which is what one that is not predicted scores"
        )
    if triplets.detected.shape != (len(asked),) or triplets.detected.dtype != np.bool_:
        raise ValueError(
            f"{where}: detected must be bool of shape {(len(asked),)}, not {triplets.detected.dtype} of "
            f"{triplets.detected.shape}"
        )
    return triplets


def _check_numbers(values: FloatArray, shape: tuple[int, ...], what: str) -> None:
    if values.shape != shape or values.dtype.kind not in "fiu":
        raise ValueError(
            f"{what} must have shape {shape} and hold numbers, not {values.dtype} of {values.shape}"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"{what} hold a number that is not finite")


def _check_range(values: npt.NDArray[Any], low: int, high: int, what: str) -> None:
    if values.size and values.dtype.kind not in "iu":
        raise ValueError(f"{what} must be an integer, not {values.dtype}")
    if values.size and (values.min() < low or values.max() >= high):
        raise ValueError(f"{what} must be in [{low}, {high}), found {values.min()} to {values.max()}")
