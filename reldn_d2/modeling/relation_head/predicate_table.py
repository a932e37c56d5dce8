"""The values of the semantic module's table, and its two forms.

The table has a row of P+1 log probabilities, background last, for each pair of a subject and an object class.

    dense    (C, C, P+1)
    sparse   rows (K+1, P+1), and for each pair of classes the number of its row, (C, C): K rows of pairs that
             have a relationship, and before them the row of all others, which are equal
"""

import numpy as np
import torch
from torch import Tensor


def log_frequencies(counts: np.ndarray, eps: float) -> Tensor:
    """Computes rows of the table, `log(frequency + eps)`.

    One is added to the last column. So a pair of classes without a relationship has the frequencies 0, and 1
    for the background, however often the two occur together: the rows of all such pairs are equal.

    Args:
        counts: (K, P+1) non-negative.
        eps: number added to each frequency.

    Returns:
        (K, P+1) float64.
    """
    table = torch.tensor(counts, dtype=torch.float64)
    table[:, -1] += 1
    return (table / table.sum(dim=-1, keepdim=True)).add_(eps).log_()


def to_sparse(table: Tensor) -> tuple[Tensor, Tensor]:
    """Changes a table to the sparse form.

    The first row is one with the most frequent value of the background. Most pairs share it.

    Args:
        table: (C, C, P+1).

    Returns:
        Rows (K+1, P+1), and the numbers (C, C) of the rows, int32.
    """
    shared = table.flatten(0, 1)[table[..., -1].flatten().mode().indices]
    # One subject class at a time: the truth values of the whole table would take a quarter of its memory.
    others = torch.stack([(rows != shared).any(dim=-1) for rows in table])
    numbers = torch.zeros_like(others, dtype=torch.int32)
    numbers[others] = torch.arange(1, int(others.sum()) + 1, dtype=torch.int32, device=table.device)
    return torch.cat([shared[None], table[others]]), numbers


def to_dense(rows: Tensor, numbers: Tensor) -> Tensor:
    """Changes a sparse table to the dense form, (C, C, P+1)."""
    return rows[numbers.long()]


def check_sparse(rows: Tensor, numbers: Tensor) -> None:
    """Checks that the two parts of a sparse table belong to each other.

    Raises:
        ValueError: the numbers are no integers, or there is no row with one of them.
    """
    if numbers.is_floating_point():
        raise ValueError(f"its semantic table has {numbers.dtype} as numbers of rows: give another file")
    low, high = (int(x) for x in numbers.aminmax())
    if low < 0 or high >= len(rows):
        raise ValueError(
            f"its semantic table has {len(rows)} rows, but the numbers of rows go from {low} to {high}: the "
            "file is damaged. Give another one"
        )
