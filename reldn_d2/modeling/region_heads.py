"""The parts of a detector's ROI heads that RelDN uses, for all supported kinds of ROI heads.

Subject, object and predicate features come from copies of the layers that turn a region into a vector in the
detector. Only this file knows where each kind of ROI heads has them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.layers import cat
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.roi_heads import (
    CascadeROIHeads,
    FastRCNNConvFCHead,
    FastRCNNOutputLayers,
    Res5ROIHeads,
    StandardROIHeads,
)
from detectron2.modeling.roi_heads.rotated_fast_rcnn import RROIHeads
from detectron2.structures import Instances
from torch import Tensor, nn


@dataclass(frozen=True)
class RegionParts:
    """The parts of a detector that turn feature maps into a vector for each region.

    Attributes:
        in_features: names of the feature maps to pool from.
        pooler: pools regions from these maps.
        head: (R, channels, height, width) regions -> (R, D).
        feature_size: D.
        num_classes: number of entity classes C of the detector.
        state_prefix, classifier_prefix: prefixes of the parameters of the head, and of the layer from its
            features to the scores of the C classes and the background, in the state dict of the ROI heads.
    """

    in_features: list[str]
    pooler: ROIPooler
    head: nn.Module
    feature_size: int
    num_classes: int
    state_prefix: str
    classifier_prefix: str


class MeanOverRegion(nn.Sequential):
    """Layers, followed by the mean over each region: (R, C, H, W) -> (R, D)."""

    @staticmethod
    def of_stage(blocks: Iterable[nn.Module]) -> "MeanOverRegion":
        """The blocks of a stage of a ResNet, followed by the mean. For configs in Python."""
        return MeanOverRegion(*blocks)

    def forward(self, regions: Tensor) -> Tensor:
        """Runs the layers and averages over height and width."""
        for layer in self:
            regions = layer(regions)
        return regions.mean(dim=(2, 3))


def region_parts(roi_heads: Any) -> RegionParts:
    """Finds the parts of ROI heads that RelDN copies.

    * StandardROIHeads, with masks or without: the box head.
    * CascadeROIHeads: the box head of the last stage.
    * Res5ROIHeads: res5 and the mean over each region.

    Raises:
        ValueError: the ROI heads are of another kind. The message names them.
    """
    if isinstance(roi_heads, Res5ROIHeads):
        return RegionParts(
            in_features=roi_heads.in_features,
            pooler=roi_heads.pooler,
            head=MeanOverRegion(*roi_heads.res5),
            feature_size=roi_heads.box_predictor.cls_score.in_features,
            num_classes=roi_heads.num_classes,
            state_prefix="res5.",
            classifier_prefix="box_predictor.cls_score.",
        )
    stages = _stages(roi_heads)
    if not stages:
        keypoints = " and keypoints" if getattr(roi_heads, "keypoint_on", False) else ""
        box_head = type(getattr(roi_heads, "box_head", None)).__name__
        raise ValueError(refusal(type(roi_heads).__name__, box_head, keypoints))
    head, _ = stages[-1]
    last = f"{len(stages) - 1}." if isinstance(roi_heads, CascadeROIHeads) else ""
    return RegionParts(
        in_features=roi_heads.box_in_features,
        pooler=roi_heads.box_pooler,
        head=head,
        feature_size=head.output_shape.channels,
        num_classes=roi_heads.num_classes,
        state_prefix=f"box_head.{last}",
        classifier_prefix=f"box_predictor.{last}cls_score.",
    )


def class_probabilities(
    roi_heads: Any, features: dict[str, Tensor], entities: list[Instances]
) -> list[Tensor]:
    """Classifies given boxes with the box predictors, for CascadeROIHeads with the mean over the stages.

    Args:
        roi_heads: ROI heads that `region_parts` accepts.
        features: feature maps of the detector's backbone.
        entities: for each image Instances with `pred_boxes`.

    Returns:
        For each image (E, C+1) probabilities, background last.
    """
    parts = region_parts(roi_heads)
    maps = [features[name] for name in parts.in_features]
    regions = parts.pooler(maps, [found.pred_boxes for found in entities])
    stages = _stages(roi_heads) or [(parts.head, roi_heads.box_predictor)]
    by_stage = [
        cat(predictor.predict_probs(predictor(head(regions)), entities)) for head, predictor in stages
    ]
    mean = torch.stack(by_stage).mean(dim=0)
    return list(torch.split(mean, [len(found) for found in entities]))


def before_last_relu(head: nn.Module) -> FastRCNNConvFCHead:
    """Removes the activation and dropout after the last layer of a fully connected box head, in place.

    Raises:
        ValueError: the head is of another kind.
    """
    if not isinstance(head, FastRCNNConvFCHead):
        raise ValueError(
            "MODEL.ROI_RELATION_HEAD.VISUAL.FEATURES_BEFORE_RELU needs a box head that ends in fully "
            f"connected layers, not {type(head).__name__}: switch it off"
        )
    layers = list(head.named_children())
    while not isinstance(layers[-1][1], nn.Linear):
        # Slicing the Sequential would rename the layers that stay.
        delattr(head, layers.pop()[0])
    return head


def _stages(roi_heads: Any) -> list[tuple[Any, Any]]:
    """(box head, box predictor) of each stage; empty if the ROI heads are not supported."""
    if not isinstance(roi_heads, StandardROIHeads) or isinstance(roi_heads, RROIHeads):
        return []
    if roi_heads.keypoint_on:
        return []
    heads, predictors = roi_heads.box_head, roi_heads.box_predictor
    stages = (
        list(zip(heads, predictors, strict=True))
        if isinstance(roi_heads, CascadeROIHeads)
        else [(heads, predictors)]
    )
    supported = all(
        isinstance(head, FastRCNNConvFCHead)
        and head.output_shape.height is None
        and isinstance(predictor, FastRCNNOutputLayers)
        for head, predictor in stages
    )
    return stages if supported else []


def refusal(roi_heads: str, box_head: str, keypoints: str) -> str:
    """The message about ROI heads that RelDN can't use.

    Args:
        roi_heads, box_head: names of their classes.
        keypoints: " and keypoints" if they find keypoints, else "".
    """
    return (
        "RelDN needs StandardROIHeads or CascadeROIHeads with a FastRCNNConvFCHead that ends in fully "
        "connected layers (MODEL.ROI_BOX_HEAD.NUM_FC >= 1), or Res5ROIHeads; with masks or without, but "
        f"without keypoints. It got {roi_heads} with {box_head}{keypoints}. "
        "Another detector's boxes can be precomputed (DATASETS.DETECTION_FILES_TRAIN and _TEST)"
    )
