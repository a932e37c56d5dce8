"""Anchors and region proposals as in the published code."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.anchor_generator import ANCHOR_GENERATOR_REGISTRY, BufferList, DefaultAnchorGenerator
from detectron2.modeling.proposal_generator import PROPOSAL_GENERATOR_REGISTRY, RPN
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor

from .boxes import clip_to_pixels, suppress


@ANCHOR_GENERATOR_REGISTRY.register()
class RelDNRoundedAnchorGenerator(DefaultAnchorGenerator):
    """Anchors with rounded sides.

    For stride d, ratio r = h / w and size a, an anchor is (a / d)·w wide and (a / d)·h high with
    `w = round(sqrt(d² / r)), h = round(w·r)`. Halves are rounded to even.

    The centres of anchors are the middles of the cells: (d - 1) / 2 in whole pixels, which is d / 2 in
    continuous coordinates. So MODEL.ANCHOR_GENERATOR.OFFSET is not read. The order of anchors in a cell is
    Detectron2's: by size, then by ratio.
    """

    @configurable
    def __init__(
        self,
        *,
        sizes: Sequence[Sequence[float]],
        aspect_ratios: Sequence[Sequence[float]],
        strides: Sequence[int],
    ) -> None:
        """Makes the anchors of one cell for each level.

        Args:
            sizes, aspect_ratios, strides: see DefaultAnchorGenerator.
        """
        super().__init__(sizes=sizes, aspect_ratios=aspect_ratios, strides=strides, offset=0.5)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: list[ShapeSpec]) -> dict[str, object]:
        """The arguments of DefaultAnchorGenerator, without the offset."""
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


@PROPOSAL_GENERATOR_REGISTRY.register()
class RelDNPublishedRPN(RPN):
    """RPN that clips boxes to the pixels of the padded network input and removes no box as empty.

    It suppresses boxes whose IoU equals the threshold, too.
    """

    def forward(
        self, images: ImageList, features: dict[str, Tensor], gt_instances: list[Instances] | None = None
    ) -> Any:
        """Proposes regions as RPN does, with the padded size as the size of every image."""
        height, width = images.tensor.shape[-2:]
        padded = ImageList(images.tensor, [(height, width)] * len(images))
        return super().forward(padded, features, gt_instances)

    @torch.no_grad()
    def predict_proposals(
        self,
        anchors: list[Boxes],
        pred_objectness_logits: list[Tensor],
        pred_anchor_deltas: list[Tensor],
        image_sizes: list[tuple[int, int]],
    ) -> list[Instances]:
        """Returns for each image `proposal_boxes` (continuous) and `objectness_logits`, by falling score."""
        decoded = self._decode_proposals(anchors, pred_anchor_deltas)
        return [
            self._best_of_image([x[i] for x in decoded], [x[i] for x in pred_objectness_logits], size)
            for i, size in enumerate(image_sizes)
        ]

    def _best_of_image(
        self, boxes_by_level: list[Tensor], logits_by_level: list[Tensor], size: tuple[int, int]
    ) -> Instances:
        boxes, logits = [], []
        for level_boxes, level_logits in zip(boxes_by_level, logits_by_level, strict=True):
            count = min(self.pre_nms_topk[self.training], len(level_logits))
            top_logits, rows = level_logits.topk(count)
            top_boxes = clip_to_pixels(level_boxes[rows], size)
            kept = suppress(top_boxes, top_logits, self.nms_thresh)
            boxes.append(top_boxes[kept])
            logits.append(top_logits[kept])
        all_logits = torch.cat(logits)
        best, rows = all_logits.topk(min(self.post_nms_topk[self.training], len(all_logits)))
        return Instances(size, proposal_boxes=Boxes(torch.cat(boxes)[rows]), objectness_logits=best)
