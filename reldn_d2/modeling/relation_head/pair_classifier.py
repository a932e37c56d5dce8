"""From feature maps and entity boxes to the predicate logits of entity pairs."""

from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.roi_heads import build_box_head
from detectron2.structures import Boxes
from torch import Tensor, nn

from reldn_d2.structures import EntityBatch, Pairs, enclosing_boxes

from .predictor import EntityTerms, SemanticModule, SpatialModule, VisualModule

FeatureMaps = dict[str, Tensor]


class PairClassifier(nn.Module):
    """Pools regions and adds up the logits of the semantic, spatial and visual modules (section 4 of the paper).

    Subject and object features are pooled from the detector's feature maps once per entity, predicate features from
    the predicate backbone's once per unordered pair. Shape letters: see `reldn_d2.structures.pairs`.
    """

    @configurable
    def __init__(
        self,
        *,
        semantic: SemanticModule | None,
        spatial: SpatialModule | None,
        visual: VisualModule | None,
        in_features: list[str],
        pooler: ROIPooler,
        subject_head: nn.Module | None,
        object_head: nn.Module | None,
        predicate_head: nn.Module | None,
    ) -> None:
        """
        Args:
            semantic, spatial, visual: the three modules; None switches one off.
            in_features: names of the feature maps to pool from.
            pooler: region pooler for these maps.
            subject_head, object_head, predicate_head: box heads from pooled regions to D features; None where the
                visual module does not need them.

        Raises:
            ValueError: all three modules are off.
        """
        super().__init__()
        if semantic is None and spatial is None and visual is None:
            raise ValueError(
                "the semantic, spatial and visual modules are all switched off: enable at least one in "
                "MODEL.ROI_RELATION_HEAD"
            )
        self.semantic, self.spatial, self.visual = semantic, spatial, visual
        self.in_features, self.pooler = in_features, pooler
        self.subject_head, self.object_head = subject_head, object_head
        self.predicate_head = predicate_head

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        head, box_head = cfg.MODEL.ROI_RELATION_HEAD, cfg.MODEL.ROI_BOX_HEAD
        num_predicates = head.NUM_PREDICATES
        in_features = cfg.MODEL.ROI_HEADS.IN_FEATURES
        shapes = [input_shape[name] for name in in_features]
        size = box_head.POOLER_RESOLUTION
        region = ShapeSpec(channels=shapes[0].channels, height=size, width=size)
        fused, subject_skip, object_skip = (
            head.VISUAL.FUSED,
            head.VISUAL.SUBJECT_SKIP,
            head.VISUAL.OBJECT_SKIP,
        )
        subject_head = build_box_head(cfg, region) if fused or subject_skip else None
        object_head = build_box_head(cfg, region) if fused or object_skip else None
        predicate_head = build_box_head(cfg, region) if fused else None
        any_head = subject_head or object_head
        visual = None
        if any_head is not None:
            visual = VisualModule(
                feature_size=any_head.output_shape.channels,
                num_predicates=num_predicates,
                fused=fused,
                subject_skip=subject_skip,
                object_skip=object_skip,
                dropout=head.VISUAL.DROPOUT,
            )
        return {
            "semantic": SemanticModule(
                num_classes=cfg.MODEL.ROI_HEADS.NUM_CLASSES,
                num_predicates=num_predicates,
                learnable=head.SEMANTIC.LEARNABLE,
                eps=head.SEMANTIC.EPS,
            )
            if head.SEMANTIC.ENABLED
            else None,
            "spatial": SpatialModule(num_predicates=num_predicates) if head.SPATIAL.ENABLED else None,
            "visual": visual,
            "in_features": in_features,
            "pooler": ROIPooler(
                output_size=size,
                scales=tuple(1.0 / shape.stride for shape in shapes),
                sampling_ratio=box_head.POOLER_SAMPLING_RATIO,
                pooler_type=box_head.POOLER_TYPE,
            ),
            "subject_head": subject_head,
            "object_head": object_head,
            "predicate_head": predicate_head,
        }

    @property
    def uses_detector_features(self) -> bool:
        """Whether subject or object features are pooled from the detector's feature maps."""
        return self.visual is not None

    @property
    def uses_relation_features(self) -> bool:
        """Whether predicate features are pooled from a backbone of their own."""
        return self.predicate_head is not None

    def entity_terms(self, features: FeatureMaps, batch: EntityBatch) -> EntityTerms:
        """What the visual module needs of every entity, computed once for all pairs.

        Args:
            features: feature maps of the detector's backbone.
            batch: E entities.
        """
        if self.visual is None:
            return EntityTerms(None, None, None, None)
        maps = [features[name] for name in self.in_features]
        regions = self.pooler(maps, [Boxes(boxes) for boxes in batch.boxes_per_image()])
        return self.visual.entity_terms(
            None if self.subject_head is None else self.subject_head(regions),
            None if self.object_head is None else self.object_head(regions),
        )

    def forward(
        self, relation_features: FeatureMaps | None, batch: EntityBatch, terms: EntityTerms, pairs: Pairs
    ) -> Tensor:
        """
        Args:
            relation_features: feature maps of the predicate backbone, if `uses_relation_features`.
            batch: E entities.
            terms: their `entity_terms`.
            pairs: M ordered pairs; unordered ones sorted by image.

        Returns:
            (M, P+1) logits in float32 (float64 if the model is), background last; their softmax is eq. 12.
        """
        logits = []
        if self.visual is not None:
            predicate_features = None
            if self.predicate_head is not None and relation_features is not None:
                predicate_features = self.predicate_head(
                    self._pool_predicates(relation_features, batch, pairs)
                )
            logits.append(self.visual(terms, predicate_features, pairs))
        if self.spatial is not None:
            sizes = batch.image_sizes[batch.image[pairs.subject]]
            logits.append(self.spatial(batch.boxes[pairs.subject], batch.boxes[pairs.object], sizes))
        if self.semantic is not None:
            logits.append(self.semantic(batch.classes[pairs.subject], batch.classes[pairs.object]))
        total = torch.stack(logits).sum(dim=0)
        # Softmax and losses need more digits than autocast leaves.
        return total.to(torch.promote_types(total.dtype, torch.float32))

    def _pool_predicates(self, relation_features: FeatureMaps, batch: EntityBatch, pairs: Pairs) -> Tensor:
        boxes = enclosing_boxes(batch.boxes[pairs.first], batch.boxes[pairs.second])
        if len(batch.counts) > 1:
            # The pooler takes boxes image by image.
            sizes = torch.bincount(batch.image[pairs.first], minlength=len(batch.counts)).tolist()
            per_image = [Boxes(part) for part in torch.split(boxes, sizes)]
        else:
            per_image = [Boxes(boxes)]
        regions: Tensor = self.pooler([relation_features[name] for name in self.in_features], per_image)
        return regions
