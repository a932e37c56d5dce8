"""Geometry of the spatial module (eq. 9 to 11), as pure functions of boxes."""

import torch
from torch import Tensor

from reldn_d2.structures import enclosing_boxes

SPATIAL_FEATURE_SIZE = 28


def box_delta(a: Tensor, b: Tensor) -> Tensor:
    """Δ(a, b) of eq. 9: the Faster R-CNN delta of a relative to b, and the centre offset of b relative to a.

    With centres (x, y) and sizes (w, h):
    `<(xa-xb)/wb, (ya-yb)/hb, log(wa/wb), log(ha/hb), (xb-xa)/wa, (yb-ya)/ha>`.

    Args:
        a, b: (M, 4) XYXY, boxes of positive size.

    Returns:
        (M, 6).
    """
    size_a, size_b = a[:, 2:] - a[:, :2], b[:, 2:] - b[:, :2]
    offset = (a[:, :2] + a[:, 2:] - b[:, :2] - b[:, 2:]) / 2
    return torch.cat([offset / size_b, torch.log(size_a / size_b), -offset / size_a], dim=1)


def box_position(boxes: Tensor, image_sizes: Tensor) -> Tensor:
    """c(b) of eq. 10: `<x0/W, y0/H, x1/W, y1/H, w·h/(W·H)>`.

    Args:
        boxes: (M, 4) XYXY.
        image_sizes: (M, 2), (height, width) in the same pixels.

    Returns:
        (M, 5).
    """
    corners = boxes / image_sizes.flip(1).repeat(1, 2)
    area = (corners[:, 2:] - corners[:, :2]).prod(dim=1, keepdim=True)
    return torch.cat([corners, area], dim=1)


def spatial_features(subject_boxes: Tensor, object_boxes: Tensor, image_sizes: Tensor) -> Tensor:
    """The 28 numbers of eq. 11: `<Δ(s, o), Δ(s, u), Δ(u, o), c(s), c(o)>`.

    u is the enclosing box of s and o. A box thinner than a pixel is widened to a pixel, so that no ratio or
    logarithm explodes.

    Args:
        subject_boxes, object_boxes: (M, 4) XYXY.
        image_sizes: (M, 2), (height, width).

    Returns:
        (M, 28).
    """
    subject, object = _at_least_a_pixel(subject_boxes), _at_least_a_pixel(object_boxes)
    union = enclosing_boxes(subject, object)
    return torch.cat(
        [
            box_delta(subject, object),
            box_delta(subject, union),
            box_delta(union, object),
            box_position(subject, image_sizes),
            box_position(object, image_sizes),
        ],
        dim=1,
    )


def _at_least_a_pixel(boxes: Tensor) -> Tensor:
    return torch.cat([boxes[:, :2], torch.maximum(boxes[:, 2:], boxes[:, :2] + 1)], dim=1)
