"""Computes the first stages of two ResNets once, where they are frozen and equal.

A predicate backbone starts as a copy of the detector's, and `MODEL.BACKBONE.FREEZE_AT` keeps its first stages
as they are. So both backbones compute the same there.
"""

from collections.abc import Iterator
from itertools import chain, takewhile
from typing import Any, NamedTuple, cast

import torch
from detectron2.modeling import FPN, Backbone, ResNet
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .prepared_layers import is_watched, must_see_parameters, state_of


class Started(NamedTuple):
    """What the first stages of a ResNet computed.

    Attributes:
        stages: number of these stages, with the stem.
        x: output of the last of them.
        outputs: those of their outputs that the ResNet returns.
    """

    stages: int
    x: Tensor
    outputs: dict[str, Tensor]


class StartableResNet(ResNet):
    """Detectron2's ResNet that also goes on from what its first stages have computed."""

    def start(self, x: Tensor, stages: int) -> Started:
        """Computes the first stages.

        Args:
            x: (N, C, H, W) images.
            stages: number of stages, with the stem.
        """
        return self._run(Started(0, x, {}), stages)

    def forward(self, x: Tensor | Started) -> dict[str, Tensor]:
        """Computes the feature maps.

        Args:
            x: (N, C, H, W) images, or what `start` returned.
        """
        if not isinstance(x, Started):
            return cast(dict[str, Tensor], super().forward(x))
        return self._run(x, 1 + len(self.stages)).outputs

    def _run(self, started: Started, stages: int) -> Started:
        x, outputs = started.x, dict(started.outputs)
        for name, stage in list(self.all_stages())[started.stages : stages]:
            x = stage(x)
            if name in self._out_features:
                outputs[name] = x
        return Started(stages, x, outputs)

    def all_stages(self) -> Iterator[tuple[str, nn.Module]]:
        """The stem and the stages, with their names."""
        yield "stem", self.stem
        yield from zip(self.stage_names, self.stages, strict=True)


class SharedStart:
    """Finds the stages that two backbones share, and computes them once."""

    def __init__(self) -> None:
        # The values are held, so that no other tensor gets their address.
        self._known: tuple[object, int, list[Tensor]] = (None, 0, [])

    def __call__(self, first: Backbone, second: Backbone | None, images: Tensor) -> Tensor | Started:
        """What both backbones can go on from.

        Args:
            first, second: the backbones. Each is called with the result afterwards.
            images: (N, C, H, W).

        Returns:
            The images if the backbones share nothing.
        """
        ours, other = _resnet(first), _resnet(second)
        if ours is None or other is None or must_see_parameters():
            return images
        if any(_expects_images(x) for x in (first, second, ours, other)):
            return images
        stages = self._shared_stages(ours, other)
        return ours.start(images, stages) if stages else images

    def _shared_stages(self, ours: StartableResNet, other: StartableResNet) -> int:
        pairs = list(zip(_frozen_stages(ours), _frozen_stages(other), strict=False))
        # Values are compared only after they have changed, since that makes a GPU wait.
        values = [x for pair in pairs for stage in pair for x in _values(stage)]
        state = tuple(map(state_of, values))
        known, stages, _ = self._known
        if known != state:
            stages = sum(1 for _ in takewhile(lambda pair: _equal(*pair), pairs))
            self._known = (state, stages, [x.detach() for x in values])
        return stages

    def __reduce__(self) -> tuple[type["SharedStart"], tuple[()]]:
        """Copies and pickles start anew."""
        return SharedStart, ()


def _expects_images(backbone: Any) -> bool:
    """Whether somebody sees what a backbone is called with."""
    return bool(backbone._forward_pre_hooks) or "forward" in backbone.__dict__


def _resnet(backbone: Any) -> StartableResNet | None:
    net = backbone.bottom_up if type(backbone) is FPN else backbone
    return net if type(net) is StartableResNet and net.num_classes is None else None


def _frozen_stages(net: StartableResNet) -> list[nn.Module]:
    """The leading stages that nothing changes, and nobody watches."""
    return list(takewhile(_is_frozen, (stage for _, stage in net.all_stages())))


def _is_frozen(stage: nn.Module) -> bool:
    if is_watched(stage) or any(x.requires_grad for x in stage.parameters()):
        return False
    return not any(isinstance(x, _BatchNorm) and x.training for x in stage.modules())


def _values(stage: nn.Module) -> Iterator[Tensor]:
    return chain(stage.parameters(), stage.buffers())


def _equal(a: nn.Module, b: nn.Module) -> bool:
    """Whether two stages have the same layers and the same weights."""
    return str(a) == str(b) and all(torch.equal(x, y) for x, y in zip(_values(a), _values(b), strict=True))
