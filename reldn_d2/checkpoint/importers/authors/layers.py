"""Pure functions that change tensors from the authors' conventions to ours.

Shape letters: C entity classes, P predicates, A anchors at one place of a feature map, H hidden units. An
impossible shape raises a ValueError, whose message completes the sentence "the tensor should have ...".
"""

from math import isqrt

import torch
from torch import Tensor

from reldn_d2.modeling.relation_head.spatial import SPATIAL_FEATURE_SIZE

# Number of aspect ratios of the anchors.
_ASPECT_RATIOS = 3
# Detectron2's FrozenBatchNorm2d adds this to the variance.
_FROZEN_NORM_EPS = 1e-5
# Δ(a, b) has six numbers. Where theirs are (p, q, r, s, t, u), ours are (t, u, -r, -s, p, q): the same pair
# of boxes, seen from the other box. The columns of W change places and signs in the same way, so that W·x
# stays the same.
_DELTA_ORDER = (4, 5, 2, 3, 0, 1)
_DELTA_SIGNS = (1.0, 1.0, -1.0, -1.0, 1.0, 1.0)
_DELTAS = 3


def unchanged(tensor: Tensor) -> Tensor:
    """The tensor itself: both conventions are the same."""
    return tensor


def zeros(tensor: Tensor) -> Tensor:
    """Mean of a normalisation that is only scale and shift."""
    return torch.zeros_like(tensor)


def identity_variance(tensor: Tensor) -> Tensor:
    """Variance of a normalisation that is only scale and shift: 1 minus the ε that FrozenBatchNorm2d adds."""
    return torch.ones_like(tensor) - _FROZEN_NORM_EPS


def background_last(tensor: Tensor) -> Tensor:
    """Moves the background's row from the first place to the last. (N+1, ...) -> (N+1, ...)."""
    return tensor.roll(-1, dims=0)


def without_background_box(tensor: Tensor) -> Tensor:
    """Removes the background's four rows of box regression, the first ones. (4(C+1), ...) -> (4C, ...)."""
    if tensor.shape[0] % 4 or tensor.shape[0] < 8:
        raise ValueError("four rows for each class and the background")
    return tensor[4:].clone()  # torch.save would write all rows behind a view


def log_prior(tensor: Tensor) -> Tensor:
    """Table of log probabilities. (C·C, P+1), background first -> (C, C, P+1), background last.

    Row s·C + o is for subject class s and object class o; there is no background among these classes.
    """
    classes = isqrt(tensor.shape[0])
    if tensor.dim() != 2 or classes**2 != tensor.shape[0]:
        raise ValueError("a row for each pair of entity classes")
    return tensor.view(classes, classes, -1).roll(-1, dims=2)


def spatial_columns(tensor: Tensor) -> Tensor:
    """Weight (H, 28) of the spatial module's first layer, for our order and signs of the numbers in Δ."""
    if tensor.shape[1:] != (SPATIAL_FEATURE_SIZE,):
        raise ValueError(f"{SPATIAL_FEATURE_SIZE} columns")
    changed = tensor.clone()
    signs = tensor.new_tensor(_DELTA_SIGNS)
    for start in range(0, _DELTAS * len(_DELTA_ORDER), len(_DELTA_ORDER)):
        columns = [start + number for number in _DELTA_ORDER]
        changed[:, start : start + len(_DELTA_ORDER)] = tensor[:, columns] * signs
    return changed


def anchor_scores_by_size(tensor: Tensor) -> Tensor:
    """Reorders the rows (A, ...) of anchors: theirs go ratio by ratio, Detectron2's size by size."""
    return _by_size(tensor, values=1)


def anchor_boxes_by_size(tensor: Tensor) -> Tensor:
    """As `anchor_scores_by_size`, with four rows for each anchor, (4A, ...)."""
    return _by_size(tensor, values=4)


def _by_size(tensor: Tensor, values: int) -> Tensor:
    if tensor.shape[0] % (_ASPECT_RATIOS * values):
        raise ValueError(f"{values} rows for each anchor of {_ASPECT_RATIOS} aspect ratios")
    by_ratio = tensor.reshape(_ASPECT_RATIOS, -1, values, *tensor.shape[1:])
    return by_ratio.transpose(0, 1).reshape(tensor.shape)
