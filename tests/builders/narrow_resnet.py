"""A ResNet-50 that is 16 times narrower than usual: Detectron2 has only one width of ResNet-18."""

from typing import Any

from detectron2.layers import CNNBlockBase
from detectron2.modeling.backbone import ResNet
from detectron2.modeling.backbone.resnet import BottleneckBlock

#: The network as keys and values of a YAML config.
NARROW_RESNET = {
    "MODEL.RESNETS.DEPTH": "50",
    "MODEL.RESNETS.STEM_OUT_CHANNELS": "8",
    "MODEL.RESNETS.RES2_OUT_CHANNELS": "16",
    "MODEL.RESNETS.WIDTH_PER_GROUP": "4",
}
#: The network of configs/scenes as overrides, for tests whose numbers were chosen for it.
SCENES_RESNET = [
    *("MODEL.RESNETS.DEPTH", "18"),
    *("MODEL.RESNETS.STEM_OUT_CHANNELS", "64"),
    *("MODEL.RESNETS.RES2_OUT_CHANNELS", "64"),
    *("MODEL.RESNETS.WIDTH_PER_GROUP", "64"),
]
STEM_CHANNELS = 8
#: The same for a config in Python: arguments of `ResNet.make_stage`, without the norm.
STAGES: list[dict[str, Any]] = [
    {
        "block_class": BottleneckBlock,
        "num_blocks": blocks,
        "stride_per_block": [stride, *[1] * (blocks - 1)],
        "in_channels": inputs,
        "out_channels": outputs,
        "bottleneck_channels": outputs // 4,
        "stride_in_1x1": True,
    }
    for blocks, stride, inputs, outputs in (
        (3, 1, STEM_CHANNELS, 16),
        (4, 2, 16, 32),
        (6, 2, 32, 64),
        (3, 2, 64, 128),
    )
]


def narrow_stages(depth: int, norm: str) -> list[list[CNNBlockBase]]:
    """Stands for `ResNet.make_default_stages` in a config: the narrow stages, whatever the depth is."""
    del depth
    return [ResNet.make_stage(**stage, norm=norm) for stage in STAGES]
