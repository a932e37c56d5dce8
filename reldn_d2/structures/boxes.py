"""Geometry that all packages share. Boxes are XYXY in absolute pixels, in continuous coordinates."""

import torch
from torch import Tensor


def enclosing_boxes(a: Tensor, b: Tensor) -> Tensor:
    """Tightest box around each pair of boxes (the predicate's region, `b_pred` in the paper).

    Args:
        a, b: (..., 4) XYXY.

    Returns:
        (..., 4) XYXY.
    """
    return torch.cat([torch.minimum(a[..., :2], b[..., :2]), torch.maximum(a[..., 2:], b[..., 2:])], dim=-1)


def boxes_overlap(a: Tensor, b: Tensor) -> Tensor:
    """Whether each pair of boxes shares area (touching edges do not count).

    Args:
        a, b: (..., 4) XYXY, broadcast against each other.

    Returns:
        (...) bool.
    """
    top_left = torch.maximum(a[..., :2], b[..., :2])
    bottom_right = torch.minimum(a[..., 2:], b[..., 2:])
    return (bottom_right > top_left).all(dim=-1)


def published_scale(size: tuple[int, int], min_size: int, max_size: int) -> float:
    """The factor that the code published with the paper resizes an image by.

    Args:
        size: (height, width) of the image.
        min_size: wanted length of the shorter side.
        max_size: largest length of the longer side.

    Returns:
        Pixels of the resized image per pixel of the image.
    """
    scale = min_size / min(size)
    # Compared after rounding: 1333.4 does not exceed 1333.
    return max_size / max(size) if round(scale * max(size)) > max_size else scale


def boxes_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of each pair of boxes, as Detectron2's `pairwise_iou` computes it.

    Args:
        a, b: (..., 4) XYXY, broadcast against each other.

    Returns:
        (...) in [0, 1]; 0 where a box is empty.
    """
    sides = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
    shared = sides.clamp(min=0).prod(dim=-1)
    areas = [(box[..., 2:] - box[..., :2]).prod(dim=-1) for box in (a, b)]
    return torch.where(shared > 0, shared / (areas[0] + areas[1] - shared), 0.0)
