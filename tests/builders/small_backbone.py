"""A backbone of four layers, for trainings where speed matters and what is learnt does not."""

import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from torch import Tensor, nn

_LEVELS = {"p2": 4, "p3": 8, "p4": 16, "p5": 32}
CHANNELS = 16


class SmallBackbone(Backbone):  # type: ignore[misc]
    """Levels p2 to p5 of 16 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, CHANNELS, 4, stride=4)
        self.norm = nn.BatchNorm2d(CHANNELS)
        self.more = nn.ModuleList(
            nn.Conv2d(CHANNELS, CHANNELS, 3, stride=2, padding=1) for _ in range(len(_LEVELS) - 1)
        )

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        found = [torch.relu(self.norm(self.first(images)))]
        for layer in self.more:
            found.append(torch.relu(layer(found[-1])))
        return dict(zip(_LEVELS, found, strict=True))

    @property
    def size_divisibility(self) -> int:
        return 32

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {name: ShapeSpec(channels=CHANNELS, stride=stride) for name, stride in _LEVELS.items()}


def build_small_backbone(_cfg: object, _input_shape: object) -> SmallBackbone:
    return SmallBackbone()


if "build_small_backbone" not in BACKBONE_REGISTRY:
    BACKBONE_REGISTRY.register(build_small_backbone)
