"""Checkpoints as the authors' code writes them, at reduced width: names, shapes and random numbers.

Written from a list of the names, independently of the key map under test.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tests.builders.tiny_models import REPOSITORY

Shapes = dict[str, tuple[int, ...]]
VGG_POSITIONS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
VGG_BLOCK_OF = (0, 0, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4)
CLASSES, PREDICATES = 6, 7
SCENES = ["DATASETS.TRAIN", "('reldn_scenes_tiny_train',)", "DATASETS.TEST", "('reldn_scenes_tiny_test',)"]
SCENES += [
    "MODEL.ROI_HEADS.NUM_CLASSES",
    str(CLASSES),
    "MODEL.ROI_RELATION_HEAD.NUM_PREDICATES",
    str(PREDICATES),
]
SCENES += ["MODEL.DEVICE", "cpu"]


@dataclass(frozen=True)
class Widths:
    """Channels of a network."""

    classes: int = CLASSES
    predicates: int = PREDICATES
    fc: int = 16
    vgg: tuple[int, ...] = (3, 4, 5, 6, 8)
    stem: int = 4
    inner: int = 8  # channels of the 3×3 convolutions in res2
    outer: int = 12  # output channels of res2
    groups: int = 4
    fpn: int = 8
    blocks: tuple[int, ...] = (3, 4, 6, 3)

    def vgg_options(self) -> list[str]:
        return [
            *SCENES,
            "MODEL.RELDN_VGG.CHANNELS",
            str(list(self.vgg)),
            "MODEL.ROI_BOX_HEAD.FC_DIM",
            str(self.fc),
        ]

    def fpn_options(self) -> list[str]:
        depth = {3 + 4 + 6 + 3: "50", 3 + 4 + 23 + 3: "101"}[sum(self.blocks)]
        return [
            *(*SCENES, "MODEL.RESNETS.DEPTH", depth, "MODEL.RESNETS.NUM_GROUPS", str(self.groups)),
            *("MODEL.RESNETS.WIDTH_PER_GROUP", str(self.inner // self.groups)),
            *("MODEL.RESNETS.RES2_OUT_CHANNELS", str(self.outer)),
            *("MODEL.RESNETS.STEM_OUT_CHANNELS", str(self.stem), "MODEL.FPN.OUT_CHANNELS", str(self.fpn)),
            *("MODEL.ROI_BOX_HEAD.FC_DIM", str(self.fc)),
        ]


FULL_VGG = Widths(fc=4096, vgg=(64, 128, 256, 512, 512))
FULL_X101 = Widths(fc=1024, stem=64, inner=256, outer=256, groups=64, fpn=256, blocks=(3, 4, 23, 3))
CONFIGS = REPOSITORY / "configs"


def layer(name: str, *weight: int) -> Shapes:
    return {f"{name}.weight": weight, f"{name}.bias": weight[:1]}


def vgg_backbone(name: str, widths: Widths) -> Shapes:
    shapes, inputs = {}, 3
    for position, block in zip(VGG_POSITIONS, VGG_BLOCK_OF, strict=True):
        shapes |= layer(f"{name}.convs.{position}", widths.vgg[block], inputs, 3, 3)
        inputs = widths.vgg[block]
    return shapes


def fpn_backbone(name: str, widths: Widths) -> Shapes:
    outer = [widths.outer * 2**i for i in range(4)]  # output channels of res2, ..., res5
    shapes = layer(f"{name}.conv_top", widths.fpn, outer[3], 1, 1)
    for i in range(3):
        lateral = f"{name}.topdown_lateral_modules.{i}.conv_lateral"
        shapes |= layer(lateral, widths.fpn, outer[2 - i], 1, 1)
    for i in range(4):
        shapes |= layer(f"{name}.posthoc_modules.{i}", widths.fpn, widths.fpn, 3, 3)
    body = f"{name}.conv_body"
    shapes[f"{body}.res1.conv1.weight"] = (widths.stem, 3, 7, 7)
    shapes |= layer(f"{body}.res1.bn1", widths.stem)
    inputs = widths.stem
    for stage in range(4):
        inner = widths.inner * 2**stage
        for i in range(widths.blocks[stage]):
            block = f"{body}.res{stage + 2}.{i}"
            shapes[f"{block}.conv1.weight"] = (inner, inputs, 1, 1)
            shapes[f"{block}.conv2.weight"] = (inner, inner // widths.groups, 3, 3)
            shapes[f"{block}.conv3.weight"] = (outer[stage], inner, 1, 1)
            shapes |= layer(f"{block}.bn1", inner) | layer(f"{block}.bn2", inner)
            shapes |= layer(f"{block}.bn3", outer[stage])
            if i == 0:
                shapes[f"{block}.downsample.0.weight"] = (outer[stage], inputs, 1, 1)
                shapes |= layer(f"{block}.downsample.1", outer[stage])
            inputs = outer[stage]
    return shapes


def box_head(name: str, widths: Widths, vgg: bool) -> Shapes:
    first, second = ("heads.0", "heads.3") if vgg else ("fc1", "fc2")
    inputs = (widths.vgg[-1] if vgg else widths.fpn) * 49
    return layer(f"{name}.{first}", widths.fc, inputs) | layer(f"{name}.{second}", widths.fc, widths.fc)


def detector_shapes(widths: Widths, vgg: bool) -> Shapes:
    shapes = (vgg_backbone if vgg else fpn_backbone)("Conv_Body", widths)
    rpn, channels, anchors = ("RPN.RPN", widths.vgg[-1], 15) if vgg else ("RPN.FPN_RPN", widths.fpn, 3)
    shapes |= layer(f"{rpn}_conv", channels, channels, 3, 3)
    shapes |= layer(f"{rpn}_cls_score", anchors, channels, 1, 1)
    shapes |= layer(f"{rpn}_bbox_pred", 4 * anchors, channels, 1, 1)
    shapes |= box_head("Box_Head", widths, vgg)
    shapes |= layer("Box_Outs.cls_score", widths.classes + 1, widths.fc)
    return shapes | layer("Box_Outs.bbox_pred", 4 * (widths.classes + 1), widths.fc)


def reldn_shapes(widths: Widths, vgg: bool, spatial: bool = True) -> Shapes:
    shapes = detector_shapes(widths, vgg)
    shapes |= (vgg_backbone if vgg else fpn_backbone)("Prd_RCNN.Conv_Body", widths)
    for name in ("Prd_RCNN.Box_Head", "S_Head", "O_Head"):
        shapes |= box_head(name, widths, vgg)
    d, outputs = widths.fc, widths.predicates + 1
    shapes |= layer("RelDN.prd_cls_feats.0", 3 * d // 2, 3 * d)
    shapes |= layer("RelDN.prd_cls_feats.2", d, 3 * d // 2)
    for name in ("prd_cls_scores", "prd_sbj_scores", "prd_obj_scores"):
        shapes |= layer(f"RelDN.{name}", outputs, d)
    shapes["RelDN.freq_bias.rel_baseline.weight"] = (widths.classes**2, outputs)
    if spatial:
        shapes |= layer("RelDN.spt_cls_feats.0", 64, 28) | layer("RelDN.spt_cls_feats.2", 64, 64)
        shapes |= layer("RelDN.spt_cls_scores", outputs, 64)
    return shapes


def random_weights(shapes: Shapes, seed: int = 0) -> dict[str, Tensor]:
    """Random numbers with which features neither explode nor vanish. No two tensors are equal."""
    random = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in shapes.items():
        value = torch.randn(shape, generator=random)
        if len(shape) > 1:
            value *= (2 / value[0].numel()) ** 0.5
        elif name.endswith("weight"):  # scale before a shift
            value = 0.6 + 0.1 * value
        if ".bn3." in name:  # the residual that is added to the shortcut
            value = 0.3 * value
        weights[name] = value
    return weights


def shapes_alone(shapes: Shapes) -> dict[str, Tensor]:
    """Tensors without memory."""
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
