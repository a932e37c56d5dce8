"""What a training split holds, as far as metrics of a test split depend on it."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .graphs import BoolArray, GroundTruthGraph, IntArray

GROUPS = ("head", "body", "tail")


@dataclass(frozen=True)
class TrainingSplit:
    """Label triplets of a training split.

    Attributes:
        num_classes: C.
        predicate_counts: (P,) int, annotated relationships of each predicate, repeats included.
        triplets: (N,) int, rising: the number `_keys` gives to every label triplet that occurs.
    """

    num_classes: int
    predicate_counts: IntArray
    triplets: IntArray

    def is_zero_shot(self, truth: GroundTruthGraph) -> BoolArray:
        """(R,) whether no training relationship has the same subject class, predicate and object class."""
        return ~np.isin(_keys(truth, self.num_classes, len(self.predicate_counts)), self.triplets)

    def predicate_groups(self) -> dict[str, IntArray]:
        """Predicates of the head, the body and the tail, each rising.

        By falling training count (equal counts: lower index first) the first P // 3 are the head, half of the
        others (rounded down) the body, the rest the tail: 16, 17, 17 of 50 predicates.
        """
        order = np.argsort(-self.predicate_counts, kind="stable")
        head = len(order) // 3
        body = (len(order) - head) // 2
        parts = np.split(order, [head, head + body])
        return {name: np.sort(part) for name, part in zip(GROUPS, parts, strict=True)}


def training_split(
    truths: Iterable[GroundTruthGraph], num_classes: int, num_predicates: int
) -> TrainingSplit:
    """Count a training split.

    Args:
        truths: annotation of every image, with classes and predicates in range.
        num_classes, num_predicates: C and P.
    """
    keys = [np.zeros(0, dtype=np.int64), *(_keys(truth, num_classes, num_predicates) for truth in truths)]
    every = np.concatenate(keys)
    counts = np.bincount(every % num_predicates, minlength=num_predicates)
    return TrainingSplit(num_classes, counts, np.unique(every))


def _keys(truth: GroundTruthGraph, num_classes: int, num_predicates: int) -> npt.NDArray[np.int64]:
    """(R,) one number for each (subject class, object class, predicate)."""
    subject, object, predicate = truth.relations.T
    ends = truth.classes[subject].astype(np.int64) * num_classes + truth.classes[object]
    keys: npt.NDArray[np.int64] = ends * num_predicates + predicate
    return keys
