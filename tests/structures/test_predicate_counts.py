"""Counts that name only what occurs, beside the whole array."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reldn_d2.structures.predicate_counts import (
    SparsePredicateCounts,
    is_large,
    related_pairs,
    rows_of,
    smallest,
    table_bytes,
)
from tests.builders.sparse_counts import sparse


@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 2**32))
def test_both_forms_hold_the_same(classes: int, predicates: int, seed: int) -> None:
    shape = (classes, classes, predicates + 1)
    counts = np.random.default_rng(seed).choice([0, 0, 0, 1, 2, 1000], shape)
    found = sparse(counts)
    assert found.shape == counts.shape
    np.testing.assert_array_equal(np.asarray(found), counts)
    np.testing.assert_array_equal(related_pairs(found), related_pairs(counts))
    related = {int(pair) for pair in related_pairs(counts)}
    assert related == {i for i, row in enumerate(counts.reshape(-1, counts.shape[-1])) if row[:-1].any()}
    pairs = np.array([*range(len(counts) ** 2)][::-1])  # in another order
    np.testing.assert_array_equal(rows_of(found, pairs), rows_of(counts, pairs))
    assert min(smallest(found), 0) == smallest(counts) == 0 or smallest(counts) > 0


def test_a_negative_count_is_seen_in_both_forms() -> None:
    counts = np.zeros((2, 2, 3), dtype=np.int64)
    counts[0, 1, 2] = -3
    assert smallest(counts) == smallest(sparse(counts)) == -3


def test_a_copy_can_not_be_refused() -> None:
    counts = SparsePredicateCounts(1, 1, *[np.zeros(0, dtype=np.int64)] * 2, np.zeros((1, 1), dtype=np.int64))
    with pytest.raises(ValueError, match="copy=False"):
        np.asarray(counts, copy=False)


def test_which_vocabularies_are_large() -> None:
    assert table_bytes(150, 50) == 150 * 150 * 51 * 4
    assert not is_large(150, 50) and not is_large(1000, 63) and is_large(1000, 64) and is_large(1703, 311)
