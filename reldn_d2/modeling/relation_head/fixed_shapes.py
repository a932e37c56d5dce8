"""Selects rows by a mask without making a GPU wait.

`nonzero` and an index of booleans read the number of rows from the device, so each of them is a wait. Here
the caller knows the number. It reads the numbers of several masks at once, together with what else it needs.
"""

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
    wanted = torch.arange(1, count + 1, device=mask.device)
    return torch.searchsorted(mask.cumsum(dim=0), wanted)
