"""The label triplets and predicate counts of a training split, which metrics of the test split need."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .graphs import BoolArray, GroundTruthGraph, IntArray

GROUPS = ("head", "body", "tail")


@dataclass(frozen=True)
class TrainingSplit:
    """The label triplets of a training split, and how often each predicate is annotated.

    Attributes:
        num_classes: number C of entity classes.
        predicate_counts: (P,) int, number of annotated relationships of each predicate, including repeats.
        triplets: (N,) int, ascending, the number that `_keys` gives to each label triplet of the split.
    """

    num_classes: int
    predicate_counts: IntArray
    triplets: IntArray

    def is_zero_shot(self, truth: GroundTruthGraph) -> BoolArray:
        """(R,) whether no training relationship has the same subject class, predicate and object class."""
        keys = _keys(_labels(truth), self.num_classes, len(self.predicate_counts))
        return ~np.isin(keys, self.triplets)

    def predicate_groups(self) -> dict[str, IntArray]:
        """Divide the predicates into head, body and tail, each in ascending order.

        The predicates are sorted by descending training count (equal counts: lower index first). The first
        P // 3 are the head, half of the others (rounded down) are the body, and the rest is the tail. Of 50
        predicates, these are 16, 17 and 17.
        """
        order = np.argsort(-self.predicate_counts, kind="stable")
        head = len(order) // 3
        body = (len(order) - head) // 2
        parts = np.split(order, [head, head + body])
        return {name: np.sort(part) for name, part in zip(GROUPS, parts, strict=True)}


def training_split(
    truths: Iterable[GroundTruthGraph], num_classes: int, num_predicates: int
) -> TrainingSplit:
    """Count the label triplets and the predicates of a training split.

    Args:
        truths: annotation of every image, with classes and predicates in range.
        num_classes, num_predicates: sizes C and P of the vocabulary.
    """
    labels = [np.zeros((0, 3), dtype=np.int64), *map(_labels, truths)]
    every = _keys(np.concatenate(labels), num_classes, num_predicates)
    counts = np.bincount(every % num_predicates, minlength=num_predicates)
    return TrainingSplit(num_classes, counts, np.unique(every))


def join_training_splits(
    parts: Iterable[TrainingSplit], num_classes: int, num_predicates: int
) -> TrainingSplit:
    """The training split that consists of some parts.

    Args:
        parts: results of `training_split` for different images of one vocabulary.
        num_classes, num_predicates: sizes C and P of the vocabulary.
    """
    joined = training_split([], num_classes, num_predicates)
    for part in parts:
        joined = TrainingSplit(
            num_classes,
            joined.predicate_counts + part.predicate_counts,
            np.union1d(joined.triplets, part.triplets),
        )
    return joined


@dataclass(frozen=True)
class UnseenTriplets:
    """The label triplets that never occur in training, for use when the training split itself is not known.

    Attributes:
        num_classes, num_predicates: sizes C and P of the vocabulary.
        triplets: (N,) int, the number that `_keys` gives to each of these triplets.
    """

    num_classes: int
    num_predicates: int
    triplets: IntArray

    def is_zero_shot(self, truth: GroundTruthGraph) -> BoolArray:
        """(R,) whether the subject class, predicate and object class are one of these triplets."""
        return np.isin(_keys(_labels(truth), self.num_classes, self.num_predicates), self.triplets)


def unseen_triplets(
    labels: Sequence[Sequence[int]] | IntArray, num_classes: int, num_predicates: int
) -> UnseenTriplets:
    """Make `UnseenTriplets` from a list of label triplets.

    Args:
        labels: rows (subject class, object class, predicate), in any order.
        num_classes, num_predicates: sizes C and P of the vocabulary.

    Raises:
        ValueError: if these are not rows of three integers, or if a number is out of range.
    """
    rows = np.asarray(labels)
    if not rows.size:
        rows = np.zeros((0, 3), dtype=np.int64)
    limits = (num_classes, num_classes, num_predicates)
    if rows.ndim != 2 or rows.shape[1] != 3 or not np.issubdtype(rows.dtype, np.integer):
        raise ValueError(f"must be rows of three integers, not {rows.dtype} of shape {rows.shape}")
    if ((rows < 0) | (rows >= limits)).any():
        raise ValueError(f"a row is not in the range of (subject class, object class, predicate), {limits}")
    return UnseenTriplets(
        num_classes, num_predicates, _keys(rows.astype(np.int64), num_classes, num_predicates)
    )


def _labels(truth: GroundTruthGraph) -> npt.NDArray[np.int64]:
    """(R, 3) rows (subject class, object class, predicate), one for each relationship."""
    subject, object, predicate = truth.relations.T
    return np.stack([truth.classes[subject], truth.classes[object], predicate], axis=1).astype(np.int64)


def _keys(labels: npt.NDArray[np.int64], num_classes: int, num_predicates: int) -> npt.NDArray[np.int64]:
    """(N,) numbers, one for each different row (subject class, object class, predicate)."""
    subject, object, predicate = labels.T
    keys: npt.NDArray[np.int64] = (subject * num_classes + object) * num_predicates + predicate
    return keys
