"""Queries: the questions of an evaluation about one image."""

import numpy as np
import pytest
import torch

from reldn_d2.structures import Queries


def test_nothing_is_asked_by_default() -> None:
    nothing = Queries.nothing()
    assert not nothing
    assert nothing.pairs.shape == (0, 2) and nothing.triplets.shape == (0, 3)
    assert nothing.pairs.dtype == nothing.triplets.dtype == torch.long


def test_a_union_keeps_the_first_rows_and_adds_what_is_new() -> None:
    first = Queries.from_rows(pairs=[(1, 0), (1, 0), (2, 2)])
    second = Queries.from_rows(pairs=[(2, 2), (0, 1), (0, 1)], triplets=[(0, 1, 4)])
    union = Queries.union([Queries.nothing(), first, second])
    assert union.pairs.tolist() == [[1, 0], [1, 0], [2, 2], [0, 1]]
    assert union.triplets.tolist() == [[0, 1, 4]]
    assert not Queries.union([])


def test_rows_of_any_integer_type_become_long() -> None:
    asked = Queries.from_rows(triplets=np.array([[1, 2, 3]], dtype=np.int32))
    assert asked.triplets.dtype == torch.long and asked


@pytest.mark.parametrize("pairs", [[(1, 2, 3)], [1, 2], [(0.5, 1.0)]])
def test_rows_of_another_kind_are_refused(pairs: list) -> None:
    with pytest.raises(ValueError, match="rows of 2 integers"):
        Queries.from_rows(pairs=pairs)
