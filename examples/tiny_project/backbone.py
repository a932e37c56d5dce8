"""The backbone of this project, in Detectron2's registry: three convolutions."""

from itertools import pairwise

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from torch import Tensor, nn


@BACKBONE_REGISTRY.register()
class ThreeConvolutions(Backbone):
    """Three convolutions of stride 2. Their output is the only feature map, named "map"."""

    def __init__(self, cfg: CfgNode, input_shape: ShapeSpec) -> None:
        super().__init__()
        widths = [input_shape.channels, 16, 32, 32]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Turns (N, 3, H, W) images into a feature map, (N, 32, H / 8, W / 8)."""
        return {"map": self.layers(images)}

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Describes the feature map."""
        return {"map": ShapeSpec(channels=32, stride=8)}
