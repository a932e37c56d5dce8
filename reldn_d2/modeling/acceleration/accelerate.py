"""Makes a built model compute the same in less time."""

from typing import TypeVar

from detectron2.layers import Conv2d
from detectron2.modeling import ResNet
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.proposal_generator.rpn import StandardRPNHead
from detectron2.modeling.roi_heads import FastRCNNOutputLayers
from torch import nn

from .pooler import RegionPooler, has_roi_align
from .prepared_layers import (
    PreparedConv2d,
    PreparedLinear,
    PreparedPlainConv2d,
    prepare_layer,
    writes_outside,
)
from .score_layers import Float32OutputLayers, Float32RPNHead
from .shared_start import StartableResNet

ModelT = TypeVar("ModelT", bound=nn.Module)

# Exactly these classes are changed. A module stays the same object, so it does not matter where else a model
# refers to it, and its hooks stay.
_KINDS: dict[type[nn.Module], type[nn.Module]] = {
    Conv2d: PreparedConv2d,
    nn.Conv2d: PreparedPlainConv2d,
    nn.Linear: PreparedLinear,
    ROIPooler: RegionPooler,
    ResNet: StartableResNet,
    FastRCNNOutputLayers: Float32OutputLayers,
    StandardRPNHead: Float32RPNHead,
}


def accelerate(model: ModelT) -> ModelT:
    """Makes a model compute the same in less time, in place.

    Poolers with RoIAlign become `RegionPooler`. Frozen normalisations are folded into the weights of
    convolutions, and autocast converts weights once instead of each time (`prepared_layers`). RelDN computes
    the stages once that its two backbones share (`SharedStart`). On a CPU convolutions compute in the memory
    format "channels last", unless that is dangerous (`writes_outside`). Under autocast scores of detectors
    leave in float32. Parameters stay as they are, so checkpoints do. Results change by rounding.

    Some tools know only PyTorch's and Detectron2's own layers, for example TorchScript and quantisation:
    undo this with `as_built` before.

    Weights that are not trained are prepared once, so a model that only predicts wants
    `model.requires_grad_(False)`. They follow the parameters, but for changes through `parameter.data`,
    which PyTorch does not count: call this function again after them.

    Args:
        model: any model built from Detectron2's parts, on its device.

    Returns:
        The same model.
    """
    for module in model.modules():
        kind = _KINDS.get(type(module))
        if kind is not None and (kind is not RegionPooler or has_roi_align(module)):
            module.__class__ = kind
    on_cpu = all(x.device.type == "cpu" for x in model.parameters())
    channels_last = on_cpu and not any(map(writes_outside, model.modules()))
    for module in model.modules():
        prepare_layer(module, channels_last=channels_last)
    return model


def as_built(model: ModelT) -> ModelT:
    """Undoes `accelerate`, in place, for example to export a model.

    Args:
        model: a model, accelerated or not.

    Returns:
        The same model, with Detectron2's own layers.
    """
    for module in model.modules():
        module.__class__ = original_class(module)
        module.__dict__.pop("_prepared", None)
    return model


def original_class(module: nn.Module) -> type[nn.Module]:
    """The class that a module had before `accelerate`."""
    return next((original for original, kind in _KINDS.items() if kind is type(module)), type(module))
