"""The protocols of OpenImages.

`openimages` has the official metrics of the visual relationship challenge. `reldn_openimages` has the metrics
of the paper's ablations.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..graphs import BoolArray, GroundTruthGraph, IntArray, PredictedGraph, RankedTriplets
from ..matching import (
    MIN_OVERLAP,
    Matches,
    count_found,
    count_hitting,
    first_hits,
    first_takers,
    places_in_lists,
)
from .average_precision import AveragePrecisionProtocol
from .protocol import LIST_LENGTH, ScoredImage
from .recall import ALL_PREDICATES, RecallList, RecallSummary

_MIN_SCORE = 1e-5  # in the paper's ablations
_RECALL_AT, _ABLATION_RECALL_AT = (50, 100), (20, 50, 100)


@dataclass(frozen=True)
class OpenImagesProtocol(AveragePrecisionProtocol):
    """Recall, average precision and score as the challenge's official tool counts them; for sgdet only.

    The list holds the triplets of the submission. Only its evaluable triplets count (see `is_evaluable`). An
    overlap of at least 0.5, of continuous boxes, is enough. Recall counts the same true positives as average
    precision, so a triplet finds at most one relationship. mAP is the mean over the predicates that are
    annotated.

    The official tool also prints a "weighted AP", which ranks the triplets of all predicates in one list. It
    is not wmAP and is not computed here.
    """

    name: ClassVar = "openimages"
    offset: ClassVar = 0.0
    strict: ClassVar = False
    absent_is_zero: ClassVar = False

    @property
    def recall(self) -> RecallSummary:
        """Micro recall of relations and of phrases."""
        lists = tuple(RecallList(prefix, self.predicates_per_pair, bool(prefix)) for prefix in ("", "phr_"))
        return RecallSummary(self.name, lists, _RECALL_AT, "micro")

    def _counts(self, image: ScoredImage, triplets: RankedTriplets) -> BoolArray:
        return is_evaluable(image.predicted, triplets, image.truth)

    def _places(
        self,
        triplets: RankedTriplets,
        matches: Mapping[str, Matches],
        true: Mapping[str, BoolArray],
        num_truths: int,
    ) -> tuple[IntArray, IntArray]:
        rows = []
        for kind in ("rel", "phr"):
            # Two true positives never answer the same relationship, so each takes its best one.
            answers = matches[kind].rows(true[kind][matches[kind].triplet])
            ranks = triplets.rank_in_pair
            rows.append(first_takers(answers, ranks, (ALL_PREDICATES,), LIST_LENGTH, num_truths))
        places = np.concatenate(rows)
        return places, count_found(places, _RECALL_AT)


def is_evaluable(predicted: PredictedGraph, triplets: RankedTriplets, truth: GroundTruthGraph) -> BoolArray:
    """Find the triplets that the annotation of an image can judge.

    A triplet can be judged in two cases. Either both its classes are classes of subjects or objects of
    annotated relationships. Or one of its classes was verified, as present or absent, but no annotated
    relationship has it: then the triplet is wrong for any other class. In all other cases,
    annotators did not look for a class in the image.

    Returns:
        (T,) bool.
    """
    related = truth.classes[truth.relations[:, :2]]
    unrelated = truth.verified_classes[~np.isin(truth.verified_classes, related)]
    is_related, is_wrong = (np.isin(predicted.classes, classes) for classes in (related, unrelated))
    both_related = is_related[triplets.subject] & is_related[triplets.object]
    evaluable: BoolArray = both_related | is_wrong[triplets.subject] | is_wrong[triplets.object]
    return evaluable


def openimages(excluded_predicates: Sequence[str] = ()) -> OpenImagesProtocol:
    """Make the challenge's protocol, for the triplets that `write_submission` would submit.

    To score another list, make an `OpenImagesProtocol` with other limits.

    Args:
        excluded_predicates: names of the predicates that are not in the starred numbers.
    """
    return OpenImagesProtocol(tuple(excluded_predicates))


@dataclass(frozen=True)
class OpenImagesAblationProtocol(AveragePrecisionProtocol):
    """Recall, average precision and score as in the paper's OpenImages ablations; for sgdet only.

    The list holds the best 100 triplets of each image with at most two predicates a pair. Triplets with a
    score above 1e-5 count. In recall an overlap of at least 0.5 is enough, and a triplet may hit several
    relationships. In average precision the overlap must be more than 0.5, and matching is one to one. mAP
    divides by the number of all predicates.
    """

    name: ClassVar = "reldn_openimages"
    offset: ClassVar = 1.0
    strict: ClassVar = True
    absent_is_zero: ClassVar = True

    @property
    def recall(self) -> RecallSummary:
        """Micro recall of relations."""
        return RecallSummary(
            self.name, (RecallList("", self.predicates_per_pair),), _ABLATION_RECALL_AT, "micro"
        )

    def _counts(self, image: ScoredImage, triplets: RankedTriplets) -> BoolArray:
        counts: BoolArray = triplets.score > _MIN_SCORE
        return counts

    def _places(
        self,
        triplets: RankedTriplets,
        matches: Mapping[str, Matches],
        true: Mapping[str, BoolArray],
        num_truths: int,
    ) -> tuple[IntArray, IntArray]:
        hits = matches["rel"].rows(matches["rel"].overlap >= MIN_OVERLAP)
        in_list = places_in_lists(triplets.rank_in_pair, (ALL_PREDICATES,), LIST_LENGTH)
        places = first_hits(hits, in_list, LIST_LENGTH, num_truths)
        return places, count_hitting(hits, in_list, _ABLATION_RECALL_AT)


def reldn_openimages(excluded_predicates: Sequence[str] = ()) -> OpenImagesAblationProtocol:
    """Make the protocol of the paper's ablations.

    Args:
        excluded_predicates: names of the predicates that are not in the starred numbers.
    """
    return OpenImagesAblationProtocol(tuple(excluded_predicates))
