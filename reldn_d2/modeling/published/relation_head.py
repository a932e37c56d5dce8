"""The relation head with the published code's spatial features; boxes are in pixels of the image."""

from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from torch import Tensor

from reldn_d2.structures import EntityBatch, Pairs, boxes_overlap, enclosing_boxes

from ..relation_head import ROI_RELATION_HEAD_REGISTRY, RelDNHead
from ..relation_head.modules import SpatialFeatures
from ..relation_head.pairwise import PairScorer
from ..relation_head.selection import Selection
from ..relation_head.spatial import box_delta
from .boxes import inclusive


def published_spatial_features(subject_boxes: Tensor, object_boxes: Tensor, network_sizes: Tensor) -> Tensor:
    """Computes the 28 numbers of eq. 11 as the published code does in tests.

    Boxes are in pixels of the image, but their positions are divided by the size of the network input. Thin
    boxes keep their width. A side of length zero counts as one pixel.

    Args:
        subject_boxes, object_boxes: (M, 4) XYXY in pixels of the original image, continuous.
        network_sizes: (M, 2), (height, width) of the padded network input.

    Returns:
        (M, 28), in the order of `spatial_features`.
    """
    subject, object = _not_empty(subject_boxes), _not_empty(object_boxes)
    union = enclosing_boxes(subject, object)
    return torch.cat(
        [
            box_delta(subject, object),
            box_delta(subject, union),
            box_delta(union, object),
            _position(subject, network_sizes),
            _position(object, network_sizes),
        ],
        dim=1,
    )


def _position(boxes: Tensor, network_sizes: Tensor) -> Tensor:
    """(M, 5): first and last pixel, divided by the size of the network input, and area, by its area."""
    corners = inclusive(boxes) / network_sizes.flip(1).repeat(1, 2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1) / network_sizes.prod(dim=1)
    return torch.cat([corners, area[:, None]], dim=1)


def _not_empty(boxes: Tensor) -> Tensor:
    first, end = boxes[:, :2], boxes[:, 2:]
    return torch.cat([first, torch.where(end > first, end, first + 1)], dim=1)


@ROI_RELATION_HEAD_REGISTRY.register()
class PublishedRelDNHead(RelDNHead):
    """RelDNHead for entities whose boxes are in pixels of the original image.

    In their `EntityBatch`, `image_sizes` are those of the network input *with* its padding.
    """

    @classmethod
    def from_config(
        cls,
        cfg: CfgNode,
        input_shape: dict[str, ShapeSpec],
        *,
        spatial_features: SpatialFeatures = published_spatial_features,
    ) -> dict[str, Any]:
        """The arguments of RelDNHead, with the published spatial features."""
        return super().from_config(cfg, input_shape, spatial_features=spatial_features)

    def has_pair(self, boxes: Tensor) -> bool:
        """Whether sgdet considers at least one pair of (E, 4) detected boxes.

        A single box is a pair with itself.
        """
        if len(boxes) < 2 or not self.overlap_only:
            return len(boxes) > 0
        return bool(boxes_overlap(boxes[:, None], boxes[None]).triu(diagonal=1).any())

    def _rank(
        self, batch: EntityBatch, classify: PairScorer, chunk_size: int, entities_given: bool
    ) -> list[Selection]:
        """The best relationships; of a single detected entity those with itself."""
        if entities_given or batch.counts != [1]:
            return super()._rank(batch, classify, chunk_size, entities_given)
        row = torch.zeros(1, dtype=torch.long, device=batch.boxes.device)
        (probs,) = classify(Pairs.one_direction(row, row))
        predicate = probs.argsort(descending=True, stable=True)[: self.top_k]
        rows, probs = row.expand(len(predicate)), probs[predicate]
        rank = torch.arange(1, len(predicate) + 1, device=row.device)
        return [Selection(rows, rows, predicate, batch.scores.square() * probs, rank, probs)]
