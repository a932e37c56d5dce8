"""Pooling, and detection in pixels of the original image, as in the published code."""

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling.poolers import ROIPooler, convert_boxes_to_pooler_format
from detectron2.modeling.roi_heads import ROI_HEADS_REGISTRY, StandardROIHeads
from detectron2.structures import Boxes, Instances
from torch import Tensor

from .boxes import clip_to_pixels, inclusive, suppress_in_groups
from .image_frame import ImageFrame

_THRESHOLD_STEP = 0.01


class InclusivePooler(ROIPooler):
    """RoIAlign of inclusive boxes, without the half-pixel shift ("ROIAlign" of Detectron2).

    A box is pooled from level `floor(4 + log2(sqrt((w + 1)·(h + 1)) / 224 + 1e-6))`, or the nearest level.
    """

    def __init__(self, output_size: int, scales: Sequence[float], sampling_ratio: int) -> None:
        """Makes a pooler of type "ROIAlign".

        Args:
            output_size, scales, sampling_ratio: see ROIPooler. A sampling ratio of 0 takes one sample for
                each pixel.
        """
        super().__init__(output_size, scales, sampling_ratio, pooler_type="ROIAlign")

    def forward(self, x: list[Tensor], box_lists: list[Boxes]) -> Tensor:
        """Pools the regions of all boxes.

        Args:
            x: feature map (N, C, H, W) of each level.
            box_lists: boxes of each image, XYXY in pixels of the network input, inclusive.

        Returns:
            (K, C, output_size, output_size) for K boxes.
        """
        regions = convert_boxes_to_pooler_format(box_lists)
        level = self._levels(regions[:, 1:])
        pooled = x[0].new_zeros(len(regions), x[0].shape[1], *self.output_size)
        for i, (features, pooler) in enumerate(zip(x, self.level_poolers, strict=True)):
            (rows,) = (level == i).nonzero(as_tuple=True)
            pooled[rows] = pooler(features, regions[rows])
        return pooled

    def _levels(self, regions: Tensor) -> Tensor:
        # Inclusive boxes thinner than a pixel can have a negative side.
        area = (regions[:, 2:] - regions[:, :2] + 1).prod(dim=1).clamp(min=0)
        level = torch.floor(self.canonical_level + torch.log2(area.sqrt() / self.canonical_box_size + 1e-6))
        place: Tensor = level.clamp(self.min_level, self.max_level).long() - self.min_level
        return place


@ROI_HEADS_REGISTRY.register()
class RelDNPublishedROIHeads(StandardROIHeads):
    """Box head and box predictor that decode, clip and suppress boxes in pixels of the original image."""

    @classmethod
    def _init_box_head(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        args: dict[str, Any] = super()._init_box_head(cfg, input_shape)
        pooler = InclusivePooler(
            output_size=cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION,
            scales=[1.0 / input_shape[name].stride for name in args["box_in_features"]],
            sampling_ratio=cfg.MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO,
        )
        return {**args, "box_pooler": pooler}

    def forward(self, *_: Any) -> NoReturn:
        """Not supported, `detect` takes its place.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            "MODEL.ROI_HEADS.NAME RelDNPublishedROIHeads works in MODEL.META_ARCHITECTURE PublishedRelDN "
            "alone"
        )

    def detect(
        self,
        features: dict[str, Tensor],
        proposals: Instances,
        frame: ImageFrame,
        padded: tuple[int, int],
        enough: Callable[[Tensor], bool],
    ) -> Instances:
        """Detections of one image.

        Args:
            features: feature maps of the detector's backbone.
            proposals: Instances with `proposal_boxes` in pixels of the network input, continuous.
            frame: sizes of the image.
            padded: (height, width) of the network input with its padding, which boxes are clipped to.
            enough: takes the (K, 4) detected boxes and says whether they are enough. While they are not, the
                score threshold is lowered by 0.01, down to 0.

        Returns:
            Instances by falling score with `pred_boxes` (in pixels of the original image, continuous),
            `scores` and `pred_classes`.
        """
        boxes, scores = self._boxes_and_scores(features, proposals.proposal_boxes.tensor, frame)
        boxes = clip_to_pixels(boxes, (padded[0] / frame.scale, padded[1] / frame.scale))
        threshold = self.box_predictor.test_score_thresh
        while True:
            found = self._best(boxes, scores, threshold, frame.original)
            if threshold <= 0 or enough(found.pred_boxes.tensor):
                return found
            threshold = max(round(threshold - _THRESHOLD_STEP, 6), 0)

    def _boxes_and_scores(
        self, features: dict[str, Tensor], proposals: Tensor, frame: ImageFrame
    ) -> tuple[Tensor, Tensor]:
        """Decodes R proposals: (R, C, 4) boxes in the original image, continuous, and (R, C) scores."""
        maps = [features[name] for name in self.box_in_features]
        regions = self.box_pooler(maps, [Boxes(inclusive(proposals))])
        predictions = self.box_predictor(self.box_head(regions))
        moved = Instances(frame.original, proposal_boxes=Boxes(frame.proposals_in_image(proposals)))
        (boxes,) = self.box_predictor.predict_boxes(predictions, [moved])
        (probs,) = self.box_predictor.predict_probs(predictions, [moved])
        return boxes.view(len(proposals), -1, 4).expand(-1, self.num_classes, -1), probs[:, :-1]

    def _best(self, boxes: Tensor, scores: Tensor, threshold: float, size: tuple[int, int]) -> Instances:
        # Rounding can make a thin box empty, and an empty box has no finite geometry.
        candidates = (scores > threshold) & (boxes[..., 2:] > boxes[..., :2]).all(dim=-1)
        _, classes = candidates.nonzero(as_tuple=True)
        boxes, scores = boxes[candidates], scores[candidates]
        kept = suppress_in_groups(boxes, scores, classes, self.box_predictor.test_nms_thresh)
        kept = kept[: self.box_predictor.test_topk_per_image]
        return Instances(size, pred_boxes=Boxes(boxes[kept]), scores=scores[kept], pred_classes=classes[kept])
