"""Makes a built model compute the same in less time."""

from typing import TypeVar

import torch
from torch import nn

from .pooler import RegionPooler
from .prepared_layers import prepare_layers

ModelT = TypeVar("ModelT", bound=nn.Module)


def accelerate(model: ModelT) -> ModelT:
    """Makes a model compute the same in less time, in place.

    Poolers with RoIAlign become `RegionPooler`. Weights of convolutions get the memory format that CPUs
    prefer, frozen normalisations are folded into them, and autocast converts weights once instead of each
    time (`prepare_layers`). Names and values of parameters stay, so checkpoints do. Results change by
    rounding.

    Prepared weights follow the parameters, but for changes through `parameter.data`, which PyTorch does not
    count: call this function again after them.

    Args:
        model: any model built from Detectron2's parts, on its device.

    Returns:
        The same model.
    """
    for module in list(model.modules()):
        for name, child in module.named_children():
            setattr(module, name, RegionPooler.from_pooler(child))
    prepare_layers(model)
    return model.to(memory_format=torch.channels_last)
