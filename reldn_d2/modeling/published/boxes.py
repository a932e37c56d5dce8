"""Box arithmetic of the published code, whose boxes name their first and last pixel.

An *inclusive* box (x1, y1, x2, y2) is x2 - x1 + 1 pixels wide; the *continuous* one of the same pixels, as
everywhere else in this project, has x2 and y2 one larger. With continuous boxes, widths, areas, IoU, box
deltas and enclosing boxes are those of the published code without a change. The functions below are the rest.
"""

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import nms


def inclusive(boxes: Tensor) -> Tensor:
    """(..., 4) continuous boxes by their first and last pixel."""
    return boxes - boxes.new_tensor([0, 0, 1, 1])


def continuous(boxes: Tensor) -> Tensor:
    """(..., 4) inclusive boxes in continuous coordinates."""
    return boxes + boxes.new_tensor([0, 0, 1, 1])


def clip_to_pixels(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Continuous boxes whose first and last pixel are clipped to the pixels of an image.

    A box outside the image becomes a line or a dot of pixels at its border, but no box becomes empty.

    Args:
        boxes: (..., 4) XYXY.
        size: (height, width) of the image.

    Returns:
        (..., 4), x1 in [0, width - 1], x2 in [1, width], and so for y.
    """
    height, width = size
    last = boxes.new_tensor([width - 1, height - 1, width - 1, height - 1])
    return continuous(inclusive(boxes).clamp(min=0).minimum(last))


def suppress(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Non-maximum suppression where a box of IoU *equal* to the threshold is suppressed, too.

    Args:
        boxes: (K, 4) XYXY, continuous.
        scores: (K,).
        iou_threshold: in [0, 1].

    Returns:
        Rows that are kept, by falling score.
    """
    # torchvision suppresses what is strictly above.
    just_below = np.nextafter(np.float32(iou_threshold), np.float32(-1))
    kept: Tensor = nms(boxes.float(), scores.float(), float(just_below))
    return kept


def suppress_in_groups(boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float) -> Tensor:
    """`suppress` in each group by itself.

    It makes one call per group. torchvision's single call for all groups shifts them apart, which costs
    digits of small boxes.

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
