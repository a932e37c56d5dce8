"""Box arithmetic of the published code, whose boxes name their first and last pixel.

An *inclusive* box (x1, y1, x2, y2) is x2 - x1 + 1 pixels wide. In the *continuous* box of the same pixels, x2
and y2 are larger by one; this is the convention everywhere else in this project. With continuous boxes,
widths, areas, IoU, box deltas and enclosing boxes are equal to those of the published code. This module has
the functions that differ.
"""

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import nms


def inclusive(boxes: Tensor) -> Tensor:
    """Converts (..., 4) continuous boxes to inclusive boxes."""
    return boxes - boxes.new_tensor([0, 0, 1, 1])


def continuous(boxes: Tensor) -> Tensor:
    """Converts (..., 4) inclusive boxes to continuous boxes."""
    return boxes + boxes.new_tensor([0, 0, 1, 1])


def clip_to_pixels(boxes: Tensor, size: tuple[float, float]) -> Tensor:
    """Clips the first and last pixel of continuous boxes to the pixels of an image.

    A box outside the image becomes a line or a dot of pixels at its border, but no box becomes empty.

    Args:
        boxes: (..., 4) XYXY.
        size: (height, width) of the image; not whole if it is that of a network input in pixels of the image.

    Returns:
        (..., 4), x1 in [0, width - 1], x2 in [1, width], y1 in [0, height - 1], y2 in [1, height].
    """
    height, width = size
    last = boxes.new_tensor([width - 1, height - 1, width - 1, height - 1])
    return continuous(inclusive(boxes).clamp(min=0).minimum(last))


def suppress(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Non-maximum suppression that also suppresses boxes whose IoU *equals* the threshold.

    Args:
        boxes: (K, 4) XYXY, continuous.
        scores: (K,).
        iou_threshold: in [0, 1].

    Returns:
        Rows that are kept, by falling score.
    """
    # torchvision suppresses only boxes strictly above the threshold.
    just_below = np.nextafter(np.float32(iou_threshold), np.float32(-1))
    kept: Tensor = nms(boxes.float(), scores.float(), float(just_below))
    return kept


def suppress_in_groups(boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float) -> Tensor:
    """Calls `suppress` for each group.

    torchvision can do this in one call, but it shifts the groups apart, which costs digits of small boxes.

    Args:
        boxes: (K, 4) XYXY, continuous.
        scores: (K,).
        groups: (K,) long.
        iou_threshold: in [0, 1].

    Returns:
        Rows that are kept, by falling score.
    """
    kept = [torch.zeros(0, dtype=torch.long, device=boxes.device)]
    for group in torch.unique(groups):
        (rows,) = (groups == group).nonzero(as_tuple=True)
        kept.append(rows[suppress(boxes[rows], scores[rows], iou_threshold)])
    everything = torch.cat(kept)
    return everything[scores[everything].argsort(descending=True, stable=True)]
