"""What one small image shows about a backbone: the parameters its maps depend on, and the number of maps.

A detector's backbone may have levels that RelDN does not pool from, such as P6 of a feature pyramid. In the
predicate backbone, a copy of it, the parameters of such levels never get a gradient.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import ceil

import torch
from detectron2.modeling import Backbone
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

logger = logging.getLogger(__name__)

_LEAST_SIZE = 32


def freeze_unused_levels(backbone: Backbone, names: Sequence[str] | None, channels: int) -> None:
    """Stops the training of parameters that none of the used feature maps depends on, and logs their names.

    Otherwise they would have no gradient in a training step, which value clipping and DDP refuse.

    Args:
        backbone: predicate backbone. Its buffers, gradients, modes and random numbers stay as they are.
        names: names of the feature maps that are used; None: all of its `output_shape`.
        channels: number of channels of an image.

    Raises:
        ValueError: the backbone lacks one of the maps, or gives several maps for an image in training.
    """
    trained = {name: p for name, p in backbone.named_parameters() if p.requires_grad}
    with _unchanged(backbone), torch.enable_grad():
        maps = _maps_of_small_image(backbone, "predicate backbone", channels)
        if maps is None:
            return
        used = [x for x in _used(maps, names, backbone) if x.requires_grad]
        if set(trained.values()) <= _parameters_in_graph(used):
            return
        # Layers may hide their part of the graph, as activation checkpoints do, but not the gradients.
        if used:
            torch.autograd.backward([x.sum() for x in used])
        unused = [name for name, p in trained.items() if p.grad is None]
    for name in unused:
        trained[name].requires_grad_(False)
    if unused:
        modules = sorted({name.rpartition(".")[0] or name for name in unused})
        logger.info(
            "%d parameters of the predicate backbone are not trained, because none of the feature maps that "
            "the relation head pools from (%s) depends on them: %s",
            len(unused), ", ".join(_wanted(backbone, names)), ", ".join(modules),
        )  # fmt: skip


def _parameters_in_graph(outputs: Sequence[Tensor]) -> set[Tensor]:
    """The parameters that tensors visibly depend on."""
    found: set[Tensor] = set()
    open_nodes = [x.grad_fn for x in outputs]
    seen = set(open_nodes)
    while open_nodes:
        node = open_nodes.pop()
        if node is None:
            continue
        if hasattr(node, "variable"):  # where a gradient is accumulated
            found.add(node.variable)
        following = {after for after, _ in node.next_functions} - seen
        seen |= following
        open_nodes += following
    return found


def check_one_map_per_image(backbone: Backbone, names: Sequence[str], channels: int) -> None:
    """Refuses a backbone that gives several maps for an image.

    Args:
        backbone: the detector's backbone, in eval mode.
        names: names of the feature maps that are used.
        channels: number of channels of an image.

    Raises:
        ValueError: it does, or it lacks one of the maps.
    """
    with torch.no_grad(), _unchanged(backbone):
        maps = _maps_of_small_image(backbone, "detector's backbone", channels)
        if maps is not None:
            _used(maps, names, backbone)


def _maps_of_small_image(backbone: Backbone, role: str, channels: int) -> dict[str, Tensor] | None:
    """The maps of a black image; None, with a warning, if the backbone can't take a small image."""
    step = max(backbone.size_divisibility, 1)
    sides = [ceil(_LEAST_SIZE / step) * step]
    square = getattr(backbone, "padding_constraints", {}).get("square_size", 0)
    if square:
        sides.append(square)
    like = _some_tensor(backbone)
    for side in sides:
        try:
            maps: dict[str, Tensor] = backbone(like.new_zeros(1, channels, side, side))
            return maps
        except Exception as error:  # whatever a backbone of another project raises
            failure = f"{side}x{side} ({type(error).__name__}: {error})"
    logger.warning(
        "The %s, %s, can't take an image of %s, so it is unknown whether all levels are used. If a training "
        "stops at parameters without a gradient, freeze them",
        role, type(backbone).__name__, failure,
    )  # fmt: skip
    return None


def _some_tensor(backbone: nn.Module) -> Tensor:
    """A floating-point tensor with the type and device of the backbone."""
    tensors = [*backbone.parameters(), *backbone.buffers()]
    return next((x.detach() for x in tensors if x.is_floating_point()), torch.zeros(()))


def _wanted(backbone: Backbone, names: Sequence[str] | None) -> list[str]:
    return list(backbone.output_shape() if names is None else names)


def _used(maps: dict[str, Tensor], names: Sequence[str] | None, backbone: Backbone) -> list[Tensor]:
    wanted = _wanted(backbone, names)
    if missing := [name for name in wanted if name not in maps]:
        raise ValueError(
            f"{type(backbone).__name__} has no feature map {', '.join(missing)}, which the relation head "
            f"pools from: it has {', '.join(maps)}"
        )
    used = [maps[name] for name in wanted]
    if several := [name for name, x in zip(wanted, used, strict=True) if len(x) != 1]:
        mode = "training" if backbone.training else "inference"
        raise ValueError(
            f"{type(backbone).__name__} gives {len(maps[several[0]])} feature maps {several[0]} for one "
            f"image in {mode}, as the branches of TridentNet: RelDN needs one. Use another detector, or only "
            "its boxes: precompute them (reldn cache-detections, DATASETS.DETECTION_FILES_TRAIN and _TEST)"
        )
    return used


@contextmanager
def _unchanged(backbone: nn.Module) -> Iterator[None]:
    """Restores buffers, gradients, modes and the state of the random numbers afterwards.

    Batch normalisation is in eval mode meanwhile: a map of one pixel has no statistics.
    """
    # A forward pass may change a buffer, or put another one in its place.
    buffers = [
        (module, name, buffer, None if buffer is None else buffer.clone())
        for module in backbone.modules()
        for name, buffer in module._buffers.items()
    ]
    gradients = [(parameter, parameter.grad) for parameter in backbone.parameters()]
    norms = [layer for layer in backbone.modules() if isinstance(layer, _BatchNorm) and layer.training]
    device = _some_tensor(backbone).device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        for layer in norms:
            layer.eval()
        for parameter, _ in gradients:
            parameter.grad = None
        try:
            yield
        finally:
            for layer in norms:
                layer.train()
            with torch.no_grad():
                for module, name, buffer, values in buffers:
                    if buffer is not None and values is not None:
                        buffer.copy_(values)
                    module._buffers[name] = buffer
            for parameter, gradient in gradients:
                parameter.grad = gradient
