"""Sparse predicate counts from an array."""

import numpy as np

from reldn_d2.structures.predicate_counts import SparsePredicateCounts


def sparse(counts: np.ndarray) -> SparsePredicateCounts:
    """The counts (C, C, P+1) without zeros."""
    classes, _, columns = counts.shape
    subject, object, predicate = counts[..., :-1].nonzero()
    return SparsePredicateCounts(
        classes,
        columns - 1,
        (subject * classes + object) * (columns - 1) + predicate,
        counts[subject, object, predicate],
        counts[..., -1],
    )
