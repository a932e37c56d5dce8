"""The numbers of the paper's ablations on OpenImages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..graphs import BoolArray, IntArray, RankedTriplets
from ..matching import MIN_OVERLAP, Matches, first_hits
from .average_precision import AveragePrecisionProtocol
from .protocol import LIST_LENGTH, ScoredImage
from .recall import ALL_PREDICATES
from .recall_summary import RecallSummary

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
