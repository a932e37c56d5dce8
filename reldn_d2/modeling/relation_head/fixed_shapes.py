"""Selects rows by a mask without making a GPU wait.

`nonzero` and an index of booleans read the number of rows from the device, so each of them is a wait. Here
the caller knows the number. It reads the numbers of several masks at once, together with what else it needs.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def true_rows(mask: Tensor, count: int) -> Tensor:
    """Finds where a mask is True, as `mask.nonzero()[:, 0]`.

    Args:
        mask: (K,) bool.
        count: how often it is True.

    Returns:
        (count,) long, in ascending order.
    """
    if mask.device.type == "cpu":
        return torch.nonzero_static(mask, size=count)[:, 0]
    # For GPUs, not every supported PyTorch has `nonzero_static`.
    return _search_true_rows(mask, count)


def _search_true_rows(mask: Tensor, count: int) -> Tensor:
    return torch.searchsorted(mask.cumsum(dim=0), torch.arange(1, count + 1, device=mask.device))


def true_rows_of_each(masks: Sequence[Tensor]) -> list[Tensor]:
    """Finds where masks are True. A GPU waits once, however many there are.

    Args:
        masks: (K_i,) bool each, at least one.

    Returns:
        For each mask the rows, in ascending order.
    """
    counts = torch.stack([mask.sum() for mask in masks]).tolist()
    return [true_rows(mask, count) for mask, count in zip(masks, counts, strict=True)]
