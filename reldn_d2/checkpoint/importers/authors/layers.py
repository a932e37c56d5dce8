"""From tensors in the published conventions to ours. Pure functions.

Shape letters: C entity classes, P predicates, A anchors of a place in a feature map. A ValueError says what the shape
should have been.
"""

from math import isqrt

import torch
from torch import Tensor

from reldn_d2.modeling.relation_head.spatial import SPATIAL_FEATURE_SIZE

# Anchors are of as many aspect ratios.
_ASPECT_RATIOS = 3
# Detectron2's FrozenBatchNorm2d adds this to the variance.
_FROZEN_NORM_EPS = 1e-5
# Of the six numbers of Δ, ours (a, b, c, d, e, f) are theirs (e, f, -c, -d, a, b): the same box pair, looked at from the
# other box. For W·x to stay, the columns of W go the way of the numbers.
_DELTA_ORDER = (4, 5, 2, 3, 0, 1)
_DELTA_SIGNS = (1.0, 1.0, -1.0, -1.0, 1.0, 1.0)
_DELTAS = 3


def unchanged(tensor: Tensor) -> Tensor:
    """The tensor itself: both sides keep it in the same way."""
    return tensor


def zeros(tensor: Tensor) -> Tensor:
    """Mean of a normalisation that is only scale and shift."""
    return torch.zeros_like(tensor)


def identity_variance(tensor: Tensor) -> Tensor:
    """Variance of a normalisation that is only scale and shift: 1 with the ε that FrozenBatchNorm2d adds."""
    return torch.ones_like(tensor) - _FROZEN_NORM_EPS


def background_last(tensor: Tensor) -> Tensor:
    """Rows of classes or predicates: the background from first to last. (N+1, ...) -> (N+1, ...)."""
    return tensor.roll(-1, dims=0)


def without_background_box(tensor: Tensor) -> Tensor:
    """Box regression: without the four rows of the background, which come first. (4(C+1), ...) -> (4C, ...)."""
    if tensor.shape[0] % 4 or tensor.shape[0] < 8:
        raise ValueError("four rows for each class and the background")
    return tensor[4:].clone()  # a file would hold the whole of what a view is of


def log_prior(tensor: Tensor) -> Tensor:
    """The table of log probabilities by pair of classes. (C·C, P+1), background first -> (C, C, P+1), background last.

    Rows count the object class faster than the subject class; neither counts a background.
    """
    classes = isqrt(tensor.shape[0])
    if tensor.dim() != 2 or classes**2 != tensor.shape[0]:
        raise ValueError("a row for each pair of entity classes")
    return tensor.view(classes, classes, -1).roll(-1, dims=2)


def spatial_columns(tensor: Tensor) -> Tensor:
    """First layer of the spatial module, (H, 28): columns for our order and signs of the numbers in each Δ."""
    if tensor.shape[1:] != (SPATIAL_FEATURE_SIZE,):
        raise ValueError(f"{SPATIAL_FEATURE_SIZE} columns")
    changed = tensor.clone()
    signs = tensor.new_tensor(_DELTA_SIGNS)
    for start in range(0, _DELTAS * len(_DELTA_ORDER), len(_DELTA_ORDER)):
        columns = [start + number for number in _DELTA_ORDER]
        changed[:, start : start + len(_DELTA_ORDER)] = tensor[:, columns] * signs
    return changed


def anchor_scores_by_size(tensor: Tensor) -> Tensor:
    """Rows (A, ...) of anchors on one feature map, from ratio by ratio to Detectron2's size by size."""
    return _by_size(tensor, values=1)


def anchor_boxes_by_size(tensor: Tensor) -> Tensor:
    """As `anchor_scores_by_size`, for four rows an anchor, (4A, ...)."""
    return _by_size(tensor, values=4)


def _by_size(tensor: Tensor, values: int) -> Tensor:
    if tensor.shape[0] % (_ASPECT_RATIOS * values):
        raise ValueError(f"{values} rows for each anchor of {_ASPECT_RATIOS} aspect ratios")
    by_ratio = tensor.reshape(_ASPECT_RATIOS, -1, values, *tensor.shape[1:])
    return by_ratio.transpose(0, 1).reshape(tensor.shape)
