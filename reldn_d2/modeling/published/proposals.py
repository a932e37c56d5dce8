"""Region proposals as the published code takes them."""

from typing import Any

import torch
from detectron2.modeling.proposal_generator import PROPOSAL_GENERATOR_REGISTRY, RPN
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor

from .boxes import clip_to_pixels, suppress


@PROPOSAL_GENERATOR_REGISTRY.register()
class PublishedRPN(RPN):
    """RPN whose boxes are clipped to the pixels of the padded network input, none dropped as empty; a box of
    IoU equal to the threshold is suppressed."""

    def forward(
        self, images: ImageList, features: dict[str, Tensor], gt_instances: list[Instances] | None = None
    ) -> Any:
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
        """As in RPN: per image `proposal_boxes` (continuous) and `objectness_logits`, by falling score."""
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
