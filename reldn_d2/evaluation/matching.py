"""Which predicted triplets agree with which annotated relationships of the same image.

Numbers of this field differ by the conventions used here, so each is an explicit argument: the pixel `offset`
of the box overlap, relation or phrase boxes, and whether one triplet may answer several annotations.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .graphs import BoolArray, FloatArray, GroundTruthGraph, IntArray, PredictedGraph, RankedTriplets

Float64Array = npt.NDArray[np.float64]
MIN_OVERLAP = 0.5  # of every protocol; whether it is enough or must be exceeded is up to them


@dataclass(frozen=True)
class Matches:
    """Every (triplet, annotated relationship) with three equal labels, and how well the boxes agree.

    Attributes:
        triplet: (M,) int, rows of the ranked list; never falling.
        truth: (M,) int, rows of the annotated relationships; rising within a triplet.
        overlap: (M,) float64 in [0, 1].
    """

    triplet: IntArray
    truth: IntArray
    overlap: Float64Array

    def rows(self, index: BoolArray) -> "Matches":
        """The matches that `index` (M,) selects."""
        return Matches(self.triplet[index], self.truth[index], self.overlap[index])


def box_iou(a: FloatArray, b: FloatArray, offset: float) -> Float64Array:
    """Intersection over union of boxes, in float64.

    Args:
        a, b: (..., 4) XYXY, broadcast against each other.
        offset: 0 for continuous coordinates, 1 for inclusive pixels, where a side is x1 - x0 + 1.

    Returns:
        (...) in [0, 1]; 0 where both boxes have no area.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2]) + offset
    sides = np.maximum(sides, 0.0)
    intersection = sides[..., 0] * sides[..., 1]
    union = _area(first, offset) + _area(second, offset) - intersection
    iou: Float64Array = np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)
    return iou


def _area(boxes: Float64Array, offset: float) -> Float64Array:
    area: Float64Array = (boxes[..., 2] - boxes[..., 0] + offset) * (boxes[..., 3] - boxes[..., 1] + offset)
    return area


def enclosing_boxes(a: FloatArray, b: FloatArray) -> FloatArray:
    """(K, 4) smallest boxes around each pair of boxes (K, 4)."""
    return np.concatenate([np.minimum(a[:, :2], b[:, :2]), np.maximum(a[:, 2:], b[:, 2:])], axis=1)


def find_matches(
    predicted: PredictedGraph,
    triplets: RankedTriplets,
    truth: GroundTruthGraph,
    *,
    phrase: bool,
    offset: float,
) -> Matches:
    """Pair triplets with the annotated relationships of the same subject class, predicate and object class.

    Args:
        predicted: supplies the boxes and classes of the entities that `triplets` points to.
        triplets: T triplets.
        truth: R annotated relationships.
        phrase: False measures relation detection, the lesser of the two entities' IoU; True measures phrase
            detection, the IoU of the boxes that enclose subject and object.
        offset: see `box_iou`.
    """
    subject, object, predicate = truth.relations.T
    labels = (
        (predicted.classes[triplets.subject], truth.classes[subject]),
        (predicted.classes[triplets.object], truth.classes[object]),
        (triplets.predicate, predicate),
    )
    equal = np.ones((len(triplets), len(predicate)), dtype=np.bool_)
    for predicted_label, true_label in labels:
        equal &= predicted_label[:, None] == true_label[None, :]
    row, truth_row = np.nonzero(equal)

    ends = (triplets.subject[row], triplets.object[row], subject[truth_row], object[truth_row])
    if phrase:
        overlap = box_iou(
            enclosing_boxes(predicted.boxes[ends[0]], predicted.boxes[ends[1]]),
            enclosing_boxes(truth.boxes[ends[2]], truth.boxes[ends[3]]),
            offset,
        )
    else:
        entity_iou = box_iou(predicted.boxes[:, None], truth.boxes[None, :], offset)
        overlap = np.minimum(entity_iou[ends[0], ends[2]], entity_iou[ends[1], ends[3]])
    return Matches(row, truth_row, overlap)


def first_hits(
    matches: Matches,
    rank_in_pair: IntArray,
    predicates_per_pair: Sequence[int],
    list_length: int,
    num_truths: int,
) -> IntArray:
    """Place of the first triplet that hits each annotated relationship, in one ranked list for every k.

    A triplet may hit several relationships, and a relationship is found by the first of its triplets.

    Args:
        matches: the matches that count as hits.
        rank_in_pair: (T,) of the ranked triplets.
        predicates_per_pair: the k's; list k holds the best `list_length` triplets with rank_in_pair <= k.
        list_length: longest list.
        num_truths: R.

    Returns:
        (number of k's, R) int: the place, from 0; `list_length` where no triplet of the list hits. So the
        hits among the best K <= list_length are `(places < K)`.
    """
    allowed = rank_in_pair[None, :] <= np.asarray(predicates_per_pair)[:, None]
    place = np.where(allowed, np.cumsum(allowed, axis=1) - 1, list_length)
    first = np.full((num_truths, len(predicates_per_pair)), list_length, dtype=np.int64)
    np.minimum.at(first, matches.truth, place[:, matches.triplet].T)
    return first.T


def first_takers(
    matches: Matches,
    rank_in_pair: IntArray,
    predicates_per_pair: Sequence[int],
    list_length: int,
    num_truths: int,
) -> IntArray:
    """Place of the triplet that takes each annotated relationship when every triplet takes one at most.

    Triplets choose in the order of their list. Each takes, of the relationships it hits that are still free,
    the one of best overlap (the lowest row where overlaps are equal).

    Args and returns: as `first_hits`.
    """
    places = np.full((len(predicates_per_pair), num_truths), list_length, dtype=np.int64)
    by_preference = np.lexsort((matches.truth, -matches.overlap, matches.triplet))
    triplets, truths = matches.triplet[by_preference].tolist(), matches.truth[by_preference].tolist()
    for row, k in zip(places, predicates_per_pair, strict=True):
        allowed = rank_in_pair <= k
        place = np.cumsum(allowed) - 1
        last = -1
        for triplet, truth in zip(triplets, truths, strict=True):
            free = triplet != last and allowed[triplet] and row[truth] == list_length
            if free and place[triplet] < list_length:
                row[truth] = place[triplet]
                last = triplet
    return places


def true_positives(matches: Matches, num_triplets: int, min_overlap: float, *, strict: bool) -> BoolArray:
    """One-to-one matching for average precision.

    Every triplet looks at its annotated relationship of best overlap only (the lowest row where overlaps are
    equal). It is a true positive when that overlap is enough and no better triplet looked at the same one with
    enough overlap; it never turns to its second best.

    Args:
        matches: matches of all triplets.
        num_triplets: T.
        min_overlap: overlap that is enough.
        strict: whether the overlap must be greater than `min_overlap`; else it may be equal.

    Returns:
        (T,) bool.
    """
    by_preference = np.lexsort((matches.truth, -matches.overlap, matches.triplet))
    _, first = np.unique(matches.triplet[by_preference], return_index=True)
    best = by_preference[first]
    enough = np.greater if strict else np.greater_equal
    best = best[enough(matches.overlap[best], min_overlap)]
    _, first_taker = np.unique(matches.truth[best], return_index=True)
    positive = np.zeros(num_triplets, dtype=np.bool_)
    positive[matches.triplet[best[first_taker]]] = True
    return positive
