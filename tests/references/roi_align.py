"""RoIAlign as it is defined, one sample after the other, in float64."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def slow_roi_align(
    maps: Sequence[Tensor],
    boxes: Tensor,
    image: Tensor,
    level: Tensor,
    scales: Sequence[float],
    output_size: Sequence[int],
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """Pools regions, with the arguments of `sparse_roi_align`."""
    height, width = output_size
    pooled = torch.zeros(len(boxes), maps[0].shape[1], height, width, dtype=torch.float64)
    for k, box in enumerate(boxes.double().tolist()):
        x, scale = maps[level[k]][image[k]].double(), scales[level[k]]
        shift = 0.5 if aligned else 0.0
        left, top, right, bottom = (value * scale - shift for value in box)
        box_height, box_width = bottom - top, right - left
        if not aligned:
            box_height, box_width = max(box_height, 1.0), max(box_width, 1.0)
        rows = sampling_ratio if sampling_ratio > 0 else math.ceil(box_height / height)
        columns = sampling_ratio if sampling_ratio > 0 else math.ceil(box_width / width)
        for i in range(height):
            for j in range(width):
                total = torch.zeros(x.shape[0], dtype=torch.float64)
                for row in range(rows):
                    for column in range(columns):
                        at_y = top + box_height / height * (i + (row + 0.5) / rows)
                        at_x = left + box_width / width * (j + (column + 0.5) / columns)
                        total += _bilinear(x, at_y, at_x)
                pooled[k, :, i, j] = total / max(rows * columns, 1)
    return pooled


def _bilinear(x: Tensor, at_y: float, at_x: float) -> Tensor:
    _, height, width = x.shape
    if not (-1 <= at_y <= height and -1 <= at_x <= width):
        return torch.zeros(x.shape[0], dtype=x.dtype)
    total = torch.zeros(x.shape[0], dtype=x.dtype)
    for row, row_weight in _neighbours(at_y, height):
        for column, column_weight in _neighbours(at_x, width):
            total += x[:, row, column] * row_weight * column_weight
    return total


def _neighbours(at: float, length: int) -> list[tuple[int, float]]:
    """The two nearest pixels and their weights. Outside of the map its border goes on."""
    at = min(max(at, 0.0), length - 1.0)
    low = int(at)
    return [(low, 1 - (at - low)), (min(low + 1, length - 1), at - low)]
