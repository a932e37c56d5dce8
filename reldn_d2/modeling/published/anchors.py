"""Anchors of the first Faster R-CNN: sides rounded at the size of one stride, then scaled."""

from collections.abc import Sequence

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.anchor_generator import (
    ANCHOR_GENERATOR_REGISTRY,
    BufferList,
    DefaultAnchorGenerator,
)


@ANCHOR_GENERATOR_REGISTRY.register()
class RoundedAnchorGenerator(DefaultAnchorGenerator):
    """For a stride d, ratio r = h / w and size a, anchors are (a / d)·w wide and (a / d)·h high with

    `w = round(sqrt(d² / r)), h = round(w·r)`, halves rounded to even.

    Their centres are the middles of the cells, (d - 1) / 2 counted in whole pixels, which is d / 2 in
    continuous coordinates; so MODEL.ANCHOR_GENERATOR.OFFSET is not read. The order in a cell is Detectron2's:
    sizes, and in each size ratios.
    """

    @configurable
    def __init__(
        self,
        *,
        sizes: Sequence[Sequence[float]],
        aspect_ratios: Sequence[Sequence[float]],
        strides: Sequence[int],
    ) -> None:
        """
        Args:
            sizes, aspect_ratios, strides: see DefaultAnchorGenerator.
        """
        super().__init__(sizes=sizes, aspect_ratios=aspect_ratios, strides=strides, offset=0.5)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: list[ShapeSpec]) -> dict[str, object]:
        args = super().from_config(cfg, input_shape)
        del args["offset"]
        return dict(args)

    def _calculate_anchors(
        self, sizes: Sequence[Sequence[float]], aspect_ratios: Sequence[Sequence[float]]
    ) -> BufferList:
        return BufferList(map(_cell_anchors, sizes, aspect_ratios, self.strides))


def _cell_anchors(sizes: Sequence[float], aspect_ratios: Sequence[float], stride: int) -> torch.Tensor:
    """(sizes · ratios, 4) XYXY around the origin."""
    ratios = np.array(aspect_ratios, dtype=np.float64)
    widths = np.round(np.sqrt(stride**2 / ratios))
    sides = np.stack([widths, np.round(widths * ratios)], axis=1)
    scaled = (np.array(sizes, dtype=np.float64)[:, None, None] / stride * sides).reshape(-1, 2)
    return torch.from_numpy(np.concatenate([-scaled, scaled], axis=1) / 2).float()
