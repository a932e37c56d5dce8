"""Tables of all ordered pairs of a batch: the entities of rows and columns, and random subsets."""

import torch
from torch import Tensor

from reldn_d2.structures import EntityBatch


def padded_rows(entities: EntityBatch) -> tuple[Tensor, Tensor]:
    """Returns (N, Emax) entity rows and (N, Emax) bool, whether an entity exists in this place."""
    device = entities.boxes.device
    counts = torch.tensor(entities.counts).to(device, non_blocking=True)
    position = torch.arange(max(entities.counts), device=device)
    rows = position + (counts.cumsum(0) - counts)[:, None]
    return rows.clamp(max=len(entities) - 1), position < counts[:, None]


def draw(eligible: Tensor, most: int, limit: Tensor | None = None) -> Tensor:
    """Draws random subsets of the eligible places along the last dimension.

    Args:
        eligible: (..., K) bool.
        most: largest number of places to draw.
        limit: (..., 1) number of places to draw from each row, if less than `most`; None means `most`.

    Returns:
        (..., K) bool: from each row that number of eligible places, or all if there are fewer. Every subset
        of this size is equally likely.
    """
    if most >= eligible.shape[-1] and limit is None:
        return eligible
    keys = torch.rand(eligible.shape, device=eligible.device).masked_fill_(~eligible, -1.0)
    top, place = keys.topk(min(most, eligible.shape[-1]), dim=-1, sorted=limit is not None)
    taken = top >= 0
    if limit is not None:
        taken &= torch.arange(top.shape[-1], device=top.device) < limit
    return torch.zeros_like(eligible).scatter(-1, place, taken)


def draw_for_cross_entropy(related: Tensor, unrelated: Tensor, size: int, positives: int) -> Tensor:
    """Draws the pairs of L0: up to `positives` related pairs, and unrelated ones, up to `size` in all.

    Args:
        related, unrelated: (N, Emax, Emax) bool, the pairs of each image.
        size, positives: numbers of pairs of an image.

    Returns:
        (N, Emax, Emax) bool.
    """
    positive = draw(related.flatten(1), min(positives, size))
    free = size - positive.sum(dim=1, keepdim=True)
    return (positive | draw(unrelated.flatten(1), size, free)).view_as(related)
