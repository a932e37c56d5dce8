"""Rows of arrays."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def is_repeat(rows: NDArray[Any]) -> NDArray[np.bool_]:
    """(K,) whether an earlier row is equal.

    Args:
        rows: (K, D) numbers; NaN is equal to nothing.
    """
    repeat = np.zeros(len(rows), dtype=np.bool_)
    # stable, so that the first of equal rows stays the first
    order = np.lexsort(rows.T[::-1])
    ordered = rows[order]
    repeat[order[1:]] = (ordered[1:] == ordered[:-1]).all(axis=1)
    return repeat
