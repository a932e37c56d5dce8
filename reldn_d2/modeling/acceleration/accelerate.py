"""Makes a built model compute the same in less time."""

from typing import TypeVar

import torch
from torch import nn

from .pooler import RegionPooler
from .prepared_layers import prepare_layers, unprepare_layers, writes_outside
from .shared_start import make_startable, unmake_startable

ModelT = TypeVar("ModelT", bound=nn.Module)


def accelerate(model: ModelT) -> ModelT:
    """Makes a model compute the same in less time, in place.

    Poolers with RoIAlign become `RegionPooler`. Weights of convolutions get the memory format that CPUs
    prefer, frozen normalisations are folded into them, and autocast converts weights once instead of each
    time (`prepare_layers`). RelDN computes the stages once that its two backbones share (`SharedStart`).
    Names and values of parameters stay, so checkpoints do. Results change by rounding.

    Some tools know only PyTorch's and Detectron2's own layers, for example TorchScript and quantisation:
    undo this with `as_built` before.

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
    make_startable(model)
    if any(map(writes_outside, model.modules())):
        return model
    return model.to(memory_format=torch.channels_last)


def as_built(model: ModelT) -> ModelT:
    """Undoes `accelerate`, in place, for example to export a model. The memory format stays.

    Args:
        model: a model, accelerated or not.

    Returns:
        The same model, with Detectron2's own layers.
    """
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is RegionPooler:
                setattr(module, name, child.to_pooler())
    unprepare_layers(model)
    unmake_startable(model)
    return model
