"""Matching predicted triplets with the annotated relationships of the same image.

Published numbers differ by the conventions of this matching, so each convention is an explicit argument: the
pixel `offset` of the box overlap, relation or phrase boxes, and whether a triplet may answer several
relationships.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .graphs import BoolArray, FloatArray, GroundTruthGraph, IntArray, PredictedGraph, RankedTriplets

Float64Array = npt.NDArray[np.float64]
MIN_OVERLAP = 0.5  # in every protocol; a protocol says whether exactly this overlap is enough


@dataclass(frozen=True)
class Matches:
    """The pairs (triplet, annotated relationship) with three equal labels, and the overlap of their boxes.

    Attributes:
        triplet: (M,) int, rows of the ranked list, in ascending order.
        truth: (M,) int, rows of the annotated relationships, in ascending order for each triplet.
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
        (...) in [0, 1]; 0 if both boxes have no area.
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
    """(K, 4) the smallest box around each of K pairs of boxes.

    Args:
        a, b: (K, 4) XYXY.
    """
    return np.concatenate([np.minimum(a[:, :2], b[:, :2]), np.maximum(a[:, 2:], b[:, 2:])], axis=1)


def find_matches(
    predicted: PredictedGraph,
    triplets: RankedTriplets,
    truth: GroundTruthGraph,
    *,
    phrase: bool,
    offset: float,
) -> Matches:
    """Find the annotated relationships with the same three labels as each triplet.

    Args:
        predicted: boxes and classes of the entities of `triplets`.
        triplets: T triplets.
        truth: annotation with R relationships.
        phrase: False measures relation detection: the smaller one of the IoU of the subjects and the IoU of
            the objects. True measures phrase detection: the IoU of the boxes that enclose subject and object.
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

    found_subject, found_object = triplets.subject[row], triplets.object[row]
    true_subject, true_object = subject[truth_row], object[truth_row]
    if phrase:
        overlap = box_iou(
            enclosing_boxes(predicted.boxes[found_subject], predicted.boxes[found_object]),
            enclosing_boxes(truth.boxes[true_subject], truth.boxes[true_object]),
            offset,
        )
    else:
        entity_iou = box_iou(predicted.boxes[:, None], truth.boxes[None, :], offset)
        overlap = np.minimum(entity_iou[found_subject, true_subject], entity_iou[found_object, true_object])
    return Matches(row, truth_row, overlap)


def places_in_lists(rank_in_pair: IntArray, predicates_per_pair: Sequence[int], list_length: int) -> IntArray:
    """Find the place of each ranked triplet in a list for every k.

    Args:
        rank_in_pair: (T,) ranks of the ranked triplets.
        predicates_per_pair: the k's; the list of k holds the triplets with rank_in_pair <= k.
        list_length: place of the triplets that are not in a list.

    Returns:
        (number of k's, T) int, from 0. The lists are not cut: a place may be behind `list_length`.
    """
    allowed = rank_in_pair[None, :] <= np.asarray(predicates_per_pair)[:, None]
    return np.where(allowed, np.cumsum(allowed, axis=1) - 1, list_length)


def first_hits(matches: Matches, places: IntArray, list_length: int, num_truths: int) -> IntArray:
    """Find the place of the first triplet that hits each annotated relationship, in every list.

    A triplet may hit several relationships. A relationship is found by the first triplet that hits it.

    Args:
        matches: the matches that count as hits.
        places: (lists, T) int, the place of each triplet, see `places_in_lists`.
        list_length: length of each list.
        num_truths: number R of annotated relationships.

    Returns:
        (lists, R) int: the place, from 0; `list_length` if no triplet of the list hits the relationship. So
        the relationships found among the best K <= list_length are `(places < K)`.
    """
    first = np.full((num_truths, len(places)), list_length, dtype=np.int64)
    np.minimum.at(first, matches.truth, places[:, matches.triplet].T)
    return first.T


def count_hitting(matches: Matches, places: IntArray, lengths: Sequence[int]) -> IntArray:
    """Count the triplets that hit an annotated relationship, among the first ones of every list.

    A triplet that hits several relationships counts once. Several triplets may hit the same relationship.

    Args:
        matches, places: see `first_hits`.
        lengths: the L lengths K, at most that of the lists; the first K triplets of each list are counted.

    Returns:
        (lists, L) int.
    """
    hitting = np.zeros(places.shape[1], dtype=np.bool_)
    hitting[matches.triplet] = True
    return count_found(places[:, hitting], lengths)


def count_found(places: IntArray, lengths: Sequence[int]) -> IntArray:
    """Count the triplets that find a relationship, if each finds at most one.

    Args:
        places: (lists, R) int, see `first_takers`.
        lengths: the L lengths K; the first K triplets of each list are counted.

    Returns:
        (lists, L) int.
    """
    counts: IntArray = (places[:, :, None] < np.asarray(lengths)).sum(axis=1)
    return counts


def first_takers(
    matches: Matches,
    rank_in_pair: IntArray,
    predicates_per_pair: Sequence[int],
    list_length: int,
    num_truths: int,
) -> IntArray:
    """Find the place of the triplet that takes each annotated relationship; a triplet takes at most one.

    The triplets choose in the order of their list. Among the relationships that it hits and that are not yet
    taken, a triplet takes the one with the best overlap (the lowest row if overlaps are equal).

    Args:
        matches: the matches that count as hits.
        rank_in_pair, predicates_per_pair: see `places_in_lists`.
        list_length, num_truths: see `first_hits`.

    Returns:
        See `first_hits`.
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
    """Match one to one, for average precision.

    Every triplet is compared only with its annotated relationship of best overlap (the lowest row if overlaps
    are equal). It is a true positive if that overlap is enough and no better triplet was compared with the
    same relationship and had enough overlap. It is never compared with its second best relationship.

    Args:
        matches: matches of all triplets.
        num_triplets: number T of triplets.
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
