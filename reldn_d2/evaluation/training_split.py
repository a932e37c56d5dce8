"""What a training split holds, as far as metrics of a test split depend on it."""

from collections.abc import Iterable, Sequence
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
        keys = _keys(_labels(truth), self.num_classes, len(self.predicate_counts))
        return ~np.isin(keys, self.triplets)

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
    labels = [np.zeros((0, 3), dtype=np.int64), *map(_labels, truths)]
    every = _keys(np.concatenate(labels), num_classes, num_predicates)
    counts = np.bincount(every % num_predicates, minlength=num_predicates)
    return TrainingSplit(num_classes, counts, np.unique(every))


@dataclass(frozen=True)
class UnseenTriplets:
    """Label triplets that a training split lacks, where nothing else is known of it.

    Attributes:
        num_classes, num_predicates: C and P.
        triplets: (N,) int, the number `_keys` gives to each of them.
    """

    num_classes: int
    num_predicates: int
    triplets: IntArray

    def is_zero_shot(self, truth: GroundTruthGraph) -> BoolArray:
        """(R,) whether the subject class, predicate and object class are one of the triplets."""
        return np.isin(_keys(_labels(truth), self.num_classes, self.num_predicates), self.triplets)


def unseen_triplets(
    labels: Sequence[Sequence[int]] | IntArray, num_classes: int, num_predicates: int
) -> UnseenTriplets:
    """
    Args:
        labels: rows (subject class, object class, predicate), in any order.
        num_classes, num_predicates: C and P.

    Raises:
        ValueError: no rows of three integers, or one that is out of range.
    """
    rows = np.asarray(labels)
    if not rows.size:
        rows = np.zeros((0, 3), dtype=np.int64)
    limits = (num_classes, num_classes, num_predicates)
    if rows.ndim != 2 or rows.shape[1] != 3 or not np.issubdtype(rows.dtype, np.integer):
        raise ValueError(f"not rows of three integers, but {rows.dtype} of shape {rows.shape}")
    if ((rows < 0) | (rows >= limits)).any():
        raise ValueError(f"a row is not in the range of (subject class, object class, predicate), {limits}")
    return UnseenTriplets(
        num_classes, num_predicates, _keys(rows.astype(np.int64), num_classes, num_predicates)
    )


def _labels(truth: GroundTruthGraph) -> npt.NDArray[np.int64]:
    """(R, 3) subject class, object class and predicate of each relationship."""
    subject, object, predicate = truth.relations.T
    return np.stack([truth.classes[subject], truth.classes[object], predicate], axis=1).astype(np.int64)


def _keys(labels: npt.NDArray[np.int64], num_classes: int, num_predicates: int) -> npt.NDArray[np.int64]:
    """(N,) one number for each row (subject class, object class, predicate)."""
    subject, object, predicate = labels.T
    keys: npt.NDArray[np.int64] = (subject * num_classes + object) * num_predicates + predicate
    return keys
