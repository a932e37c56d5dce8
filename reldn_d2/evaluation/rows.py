"""Rows of numbers: finding them in a table by value, and numbering equal ones."""

import numpy as np
import numpy.typing as npt

from .graphs import FloatArray, IntArray


def find_rows(table: IntArray, wanted: IntArray) -> npt.NDArray[np.int64]:
    """Find the wanted rows in a table.

    If the table holds a row several times, the n-th of equal wanted rows gets the n-th of them in the table,
    or the last one if there are fewer.

    Args:
        table: (N, D) int, not negative.
        wanted: (K, D) int, not negative.

    Returns:
        (K,) positions in the table.

    Raises:
        ValueError: if the table lacks a wanted row; the message says which.
    """
    shape = np.concatenate([table, wanted]).max(axis=0, initial=0) + 1
    keys, wanted_keys = (np.ravel_multi_index(tuple(rows.T), tuple(shape)) for rows in (table, wanted))
    order = np.argsort(keys, kind="stable")
    in_order = keys[order]
    first = np.searchsorted(in_order, wanted_keys)
    last = np.searchsorted(in_order, wanted_keys, side="right") - 1
    if (last < first).any():
        raise ValueError(f"no row is {wanted[int((last < first).argmax())].tolist()}")
    if (in_order[1:] == in_order[:-1]).any():
        first = np.minimum(first + repeat_numbers(wanted_keys), last)
    positions: npt.NDArray[np.int64] = order[first]
    return positions


def repeat_numbers(keys: IntArray) -> npt.NDArray[np.int64]:
    """(N,) number of earlier keys that are equal to each of (N,) keys."""
    order = np.argsort(keys, kind="stable")
    numbers = np.empty(len(keys), dtype=np.int64)
    numbers[order] = np.arange(len(keys)) - np.searchsorted(keys[order], keys[order])
    return numbers


def number_rows(table: IntArray | FloatArray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Number the distinct rows of a table. It is faster than `np.unique` of rows.

    Args:
        table: (N, D), not NaN.

    Returns:
        (K,) position of the first row with each number, and (N,) number of each row.
    """
    order = np.lexsort(table.T)
    in_order = table[order]
    starts = np.ones(len(table), dtype=np.bool_)
    starts[1:] = (in_order[1:] != in_order[:-1]).any(axis=1)
    numbers = np.empty(len(table), dtype=np.int64)
    numbers[order] = np.cumsum(starts) - 1
    # lexsort is stable, so the first of equal rows comes first
    return order[starts], numbers
