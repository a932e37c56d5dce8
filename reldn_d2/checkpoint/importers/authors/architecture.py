"""Finds out which model a checkpoint of the authors contains, from the names and shapes of its tensors."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

_RESNET_BLOCK = re.compile(r"Conv_Body\.conv_body\.res([2-5])\.(\d+)\.")
# Depth -> number of residual blocks in res2 to res5.
RESNET_BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


@dataclass(frozen=True)
class AuthorsArchitecture:
    """A model of the authors' code.

    Attributes:
        resnet_depth: number of layers of the ResNet or ResNeXt with FPN; None for VGG-16.
        groups: number of groups of the 3×3 convolutions: 64 for ResNeXt-101-64x4d, 1 for ResNet and VGG-16.
        relations: whether it is RelDN; otherwise it is a detector.
        spatial: whether RelDN has the spatial module.
        semantic: whether RelDN has the semantic module.
    """

    resnet_depth: int | None
    groups: int
    relations: bool
    spatial: bool
    semantic: bool

    @classmethod
    def of(cls, weights: Mapping[str, Tensor]) -> "AuthorsArchitecture":
        """Finds out the architecture of a checkpoint.

        Args:
            weights: state dict under the authors' names.

        Raises:
            ValueError: the backbone is neither VGG-16 nor a ResNet or ResNeXt of a known depth with FPN.
        """

        def has(prefix: str) -> bool:
            return any(name.startswith(prefix) for name in weights)

        depth, groups = None, 1
        if not has("Conv_Body.convs."):
            depth, groups = _resnet_depth(weights), _groups(weights)
        return cls(
            resnet_depth=depth,
            groups=groups,
            relations=has("RelDN.") or has("Prd_RCNN."),
            spatial=has("RelDN.spt_"),
            semantic=has("RelDN.freq_bias."),
        )

    @property
    def is_vgg16(self) -> bool:
        """Whether the backbone is VGG-16."""
        return self.resnet_depth is None

    @property
    def blocks(self) -> tuple[int, int, int, int]:
        """Numbers of residual blocks in res2 to res5. Only for ResNets."""
        assert self.resnet_depth is not None
        return RESNET_BLOCKS[self.resnet_depth]

    def __str__(self) -> str:
        if self.is_vgg16:
            backbone = "VGG-16"
        elif self.groups == 1:
            backbone = f"ResNet-{self.resnet_depth}-FPN"
        else:
            backbone = f"ResNeXt-{self.resnet_depth}-FPN of {self.groups} groups"
        if not self.relations:
            return f"a detector on {backbone}"
        off = [name for name in ("spatial", "semantic") if not getattr(self, name)]
        return f"RelDN on {backbone}" + (f" without the {' and '.join(off)} module" if off else "")


def _resnet_depth(weights: Mapping[str, Tensor]) -> int:
    blocks = [0, 0, 0, 0]
    for name in weights:
        if found := _RESNET_BLOCK.match(name):
            stage, block = int(found[1]) - 2, int(found[2])
            blocks[stage] = max(blocks[stage], block + 1)
    for depth, known in RESNET_BLOCKS.items():
        if tuple(blocks) == known:
            return depth
    if any(blocks):
        raise ValueError(
            f"the backbone has {blocks} residual blocks in res2 to res5: known are {RESNET_BLOCKS}, by depth"
        )
    raise ValueError(
        "this is no checkpoint of the authors' code, nor of Detectron.pytorch, with VGG-16 "
        "(Conv_Body.convs.*) or a ResNet with FPN (Conv_Body.conv_body.res2.*): its names start with "
        f"{', '.join(list(weights)[:3])}"
    )


def _groups(weights: Mapping[str, Tensor]) -> int:
    inner = weights.get("Conv_Body.conv_body.res2.0.conv2.weight")
    return 1 if inner is None else inner.shape[0] // inner.shape[1]
