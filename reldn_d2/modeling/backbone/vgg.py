"""VGG-16 as a backbone of stride 16, and its fully connected layers as a box head."""

from collections.abc import Sequence
from typing import Any

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, ROI_BOX_HEAD_REGISTRY, Backbone
from detectron2.modeling.roi_heads import FastRCNNConvFCHead
from fvcore.nn import weight_init
from torch import Tensor, nn

from reldn_d2.config_values import check_arguments

_CONVOLUTIONS = (2, 2, 3, 3, 3)  # in each block


class VGG16(Backbone):
    """The 13 convolutions of VGG-16 without the last max pooling: one feature map, "conv5", of stride 16.

    The convolutions are called conv1_1 to conv5_3, by block and place in it.
    """

    def __init__(self, *, channels: Sequence[int], input_channels: int = 3, freeze_at: int = 0) -> None:
        """Builds the convolutions and freezes the first blocks.

        Args:
            channels: numbers of channels of the five blocks; 64, 128, 256, 512, 512 in VGG-16.
            input_channels: number of channels of the image.
            freeze_at: number of frozen blocks, counted from the first; the first 2 have four convolutions.

        Raises:
            ValueError: `channels` are not five numbers above 0, or `freeze_at` is not in [0, 5].
        """
        super().__init__()
        blocks = len(_CONVOLUTIONS)
        check_arguments("VGG16", channels=channels)
        if not 0 <= freeze_at <= blocks:
            raise ValueError(f"MODEL.BACKBONE.FREEZE_AT is {freeze_at}: VGG-16 has {blocks} blocks")
        width = input_channels
        for block, (layers, outputs) in enumerate(zip(_CONVOLUTIONS, channels, strict=True), start=1):
            for place in range(1, layers + 1):
                convolution = nn.Conv2d(width, outputs, kernel_size=3, padding=1)
                weight_init.c2_msra_fill(convolution)
                convolution.requires_grad_(block > freeze_at)
                self.add_module(f"conv{block}_{place}", convolution)
                self.add_module(f"relu{block}_{place}", nn.ReLU(inplace=True))
                width = outputs
            if block < blocks:
                self.add_module(f"pool{block}", nn.MaxPool2d(kernel_size=2))
        self._out_features = ["conv5"]
        self._out_feature_channels = {"conv5": width}
        self._out_feature_strides = {"conv5": 16}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Computes the feature map of a batch of images.

        Args:
            x: (N, input_channels, H, W).

        Returns:
            "conv5": (N, channels, floor(H / 16), floor(W / 16)).

        Raises:
            ValueError: a side is shorter than 16 pixels, so that the map would have none.
        """
        height, width = (int(side) for side in x.shape[-2:])
        if min(height, width) < self._out_feature_strides["conv5"]:
            raise ValueError(
                f"an image has {width} x {height} pixels when it is resized for VGG-16, which needs 16 on "
                "each side: crop it, or leave it out"
            )
        for layer in self.children():
            x = layer(x)
        return {"conv5": x}


@BACKBONE_REGISTRY.register()
def build_reldn_vgg16_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> VGG16:
    """Builds VGG-16 with MODEL.RELDN_VGG.CHANNELS; MODEL.BACKBONE.FREEZE_AT is a number of blocks."""
    return VGG16(
        channels=cfg.MODEL.RELDN_VGG.CHANNELS,
        input_channels=input_shape.channels,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
    )


@ROI_BOX_HEAD_REGISTRY.register()
class RelDNVGGBoxHead(FastRCNNConvFCHead):
    """FastRCNNConvFCHead with dropout after each layer. VGG-16's fc6 is fc1, and its fc7 is fc2."""

    @configurable
    def __init__(self, input_shape: ShapeSpec, *, dropout: float, **layers: Any) -> None:
        """Builds the layers of FastRCNNConvFCHead and adds dropout.

        Args:
            input_shape: shape of a pooled region.
            dropout: share of the features dropped in training.
            layers: other arguments of FastRCNNConvFCHead.

        Raises:
            ValueError: `dropout` is not possible (`SETTINGS`).
        """
        check_arguments("RelDNVGGBoxHead", dropout=dropout)
        super().__init__(input_shape, **layers)
        for number in range(1, len(self.fcs) + 1):
            # Replaces the ReLU. The head runs its layers in the order in which their names were first added.
            self.add_module(f"fc_relu{number}", nn.Sequential(nn.ReLU(), nn.Dropout(dropout)))

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """Adds MODEL.RELDN_VGG.DROPOUT to the arguments of FastRCNNConvFCHead."""
        args: dict[str, Any] = super().from_config(cfg, input_shape)
        return {**args, "dropout": cfg.MODEL.RELDN_VGG.DROPOUT}
