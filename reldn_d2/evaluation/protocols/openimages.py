"""The official metrics of the OpenImages visual relationship challenge."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..graphs import BoolArray, GroundTruthGraph, IntArray, PredictedGraph, RankedTriplets
from ..matching import MIN_OVERLAP, Matches, first_hits, first_takers
from .average_precision import AveragePrecisionProtocol
from .protocol import LIST_LENGTH, ScoredImage
from .recall import ALL_PREDICATES, RecallSummary


@dataclass(frozen=True)
class OpenImagesProtocol(AveragePrecisionProtocol):
    """Recall, average precision and score as the challenge's official tool counts them; SGDET only.

    The list is what is submitted, and only its evaluable triplets count (see `is_evaluable`). An overlap of at
    least 0.5, of continuous boxes, is enough. Recall counts the same true positives as average precision, so a
    triplet finds one relationship at most. mAP is the mean over the predicates that are annotated.

    The number that the tool itself calls weighted AP ranks the triplets of all predicates in one list. That is
    not wmAP and is not computed here.
    """

    recall: ClassVar = RecallSummary("openimages", ("", "phr_"), (50, 100), "micro")
    offset: ClassVar = 0.0
    strict: ClassVar = False
    absent_is_zero: ClassVar = False

    def _counts(self, image: ScoredImage, triplets: RankedTriplets) -> BoolArray:
        return is_evaluable(image.predicted, triplets, image.truth)

    def _places(
        self,
        triplets: RankedTriplets,
        matches: Mapping[str, Matches],
        true: Mapping[str, BoolArray],
        num_truths: int,
    ) -> IntArray:
        rows = []
        for kind in ("rel", "phr"):
            # No two true positives answer the same relationship: each takes its best, which is still free.
            answers = matches[kind].rows(true[kind][matches[kind].triplet])
            ranks = triplets.rank_in_pair
            rows.append(first_takers(answers, ranks, (ALL_PREDICATES,), LIST_LENGTH, num_truths))
        return np.concatenate(rows)


def is_evaluable(predicted: PredictedGraph, triplets: RankedTriplets, truth: GroundTruthGraph) -> BoolArray:
    """Which triplets the annotation of an image can judge.

    A triplet is evaluable if both its classes are ends of annotated relationships of the image. So is one with a
    class that is verified, present or absent, but no end of any: it is wrong whatever its other class. All else
    needs a class that nobody looked for.

    Returns:
        (T,) bool.
    """
    related = truth.classes[truth.relations[:, :2]]
    unrelated = np.setdiff1d(truth.verified_classes, related)
    ends = predicted.classes[np.stack([triplets.subject, triplets.object])]
    both_related = np.isin(ends, related).all(axis=0)
    surely_wrong = np.isin(ends, unrelated).any(axis=0)
    evaluable: BoolArray = np.logical_or(both_related, surely_wrong)
    return evaluable


def openimages(
    left_out: Sequence[str] = (), *, predicates_per_pair: int = 2, list_length: int = LIST_LENGTH
) -> OpenImagesProtocol:
    """The challenge's protocol.

    Args:
        left_out: predicates that the starred numbers leave out.
        predicates_per_pair, list_length: which of a model's triplets are submitted. To score a list as it was
            given, such as a submission file, ALL_PREDICATES for both.

    Raises:
        ValueError: if one of the two numbers is below 1.
    """
    return OpenImagesProtocol(tuple(left_out), predicates_per_pair, list_length)


_MIN_SCORE = 1e-5


@dataclass(frozen=True)
class OpenImagesAblationProtocol(AveragePrecisionProtocol):
    """Recall, average precision and score as in the paper's OpenImages ablations; SGDET only.

    The list holds the best 100 triplets of each image with at most two predicates a pair; those scoring above
    1e-5 count. Recall counts an overlap of at least 0.5 and lets a triplet hit several relationships; average
    precision wants more than 0.5 and matches one to one. mAP divides by the number of all predicates.
    """

    recall: ClassVar = RecallSummary("reldn_openimages", ("",), (20, 50, 100), "micro")
    offset: ClassVar = 1.0
    strict: ClassVar = True
    absent_is_zero: ClassVar = True

    def _counts(self, image: ScoredImage, triplets: RankedTriplets) -> BoolArray:
        counts: BoolArray = triplets.score > _MIN_SCORE
        return counts

    def _places(
        self,
        triplets: RankedTriplets,
        matches: Mapping[str, Matches],
        true: Mapping[str, BoolArray],
        num_truths: int,
    ) -> IntArray:
        hits = matches["rel"].rows(matches["rel"].overlap >= MIN_OVERLAP)
        return first_hits(hits, triplets.rank_in_pair, (ALL_PREDICATES,), LIST_LENGTH, num_truths)


def reldn_openimages(left_out: Sequence[str] = ()) -> OpenImagesAblationProtocol:
    """The protocol, with the predicates that its starred numbers leave out."""
    return OpenImagesAblationProtocol(tuple(left_out))
