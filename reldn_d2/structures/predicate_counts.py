"""How often each predicate joins each pair of entity classes, for vocabularies of any size.

Shape letters:

    C  entity classes
    P  predicates
    N  label triplets (subject class, object class, predicate) that occur
    K  pairs of entity classes
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_IntArray = NDArray[np.int64]

#: Largest float32 table (C, C, P+1) that is held as one array, in bytes: 1,000 classes and 63 predicates.
DENSE_LIMIT = 256_000_000


def table_bytes(num_classes: int, num_predicates: int) -> int:
    """Size of the float32 table (C, C, P+1) as one array."""
    return num_classes**2 * (num_predicates + 1) * np.dtype(np.float32).itemsize


def is_large(num_classes: int, num_predicates: int) -> bool:
    """Whether the table is larger than `DENSE_LIMIT`, so that only what occurs is held."""
    return table_bytes(num_classes, num_predicates) > DENSE_LIMIT


@dataclass(frozen=True, eq=False)
class SparsePredicateCounts:
    """The (C, C, P+1) counts of a large vocabulary, without the many zeros.

    `np.asarray(counts)` makes the whole array, if there is memory for it.

    Attributes:
        num_classes, num_predicates: C and P.
        triplets: (N,) int64, ascending, without repeats: `(subject class * C + object class) * P + predicate`
            of each label triplet that occurs.
        occurrences: (N,) int64, at least 1: how often it occurs.
        background: (C, C) int64, the last column: how often the classes occur without a relationship.
    """

    num_classes: int
    num_predicates: int
    triplets: _IntArray
    occurrences: _IntArray
    background: _IntArray

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, C, P+1), as of the whole array."""
        return self.num_classes, self.num_classes, self.num_predicates + 1

    def related_pairs(self) -> _IntArray:
        """(K,) `subject class * C + object class` of the pairs that have a relationship, ascending."""
        return np.unique(self.triplets // self.num_predicates)

    def rows(self, pairs: _IntArray) -> _IntArray:
        """(K, P+1) counts of pairs of classes.

        Args:
            pairs: (K,) `subject class * C + object class`.
        """
        first, end = np.searchsorted(self.triplets, np.stack([pairs, pairs + 1]) * self.num_predicates)
        found = end - first
        row = np.repeat(np.arange(len(pairs)), found)
        triplet = np.arange(len(row)) + np.repeat(first - (np.cumsum(found) - found), found)
        counts = np.zeros((len(pairs), self.num_predicates + 1), dtype=np.int64)
        counts[row, self.triplets[triplet] % self.num_predicates] = self.occurrences[triplet]
        counts[:, -1] = self.background.reshape(-1)[pairs]
        return counts

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Makes the whole array.

        Raises:
            ValueError: `copy` is False, and there is nothing that could be shared.
        """
        if copy is False:
            raise ValueError("the array of sparse counts is always new: leave out copy=False")
        return self.rows(np.arange(self.num_classes**2)).reshape(self.shape).astype(dtype, copy=False)


#: Counts (C, C, P+1): one array, or, if `is_large`, what occurs.
PredicateCounts = NDArray[np.int64] | SparsePredicateCounts


def related_pairs(counts: PredicateCounts) -> _IntArray:
    """(K,) `subject class * C + object class` of the pairs that have a relationship, ascending."""
    if isinstance(counts, SparsePredicateCounts):
        return counts.related_pairs()
    return np.flatnonzero(counts[..., :-1].any(axis=-1))


def rows_of(counts: PredicateCounts, pairs: _IntArray) -> _IntArray:
    """(K, P+1) counts of pairs of classes, see `SparsePredicateCounts.rows`."""
    if isinstance(counts, SparsePredicateCounts):
        return counts.rows(pairs)
    return counts[np.divmod(pairs, len(counts))]


def smallest(counts: PredicateCounts) -> float:
    """The smallest count; of sparse counts at most 0. NaN if one is NaN."""
    if isinstance(counts, SparsePredicateCounts):
        return float(min(part.min(initial=0) for part in (counts.occurrences, counts.background)))
    return float(counts.min())
