"""Computes the predicate logits of entity pairs from feature maps and entity boxes."""

from copy import deepcopy
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.roi_heads import build_roi_heads
from torch import Tensor, nn

from reldn_d2.structures import EntityBatch, Pairs, enclosing_boxes

from ..acceleration import pool_regions
from ..acceleration.precision import at_least_float32
from ..region_heads import before_last_relu, region_parts
from .contract import FeatureMaps
from .modules import EntityTerms, SemanticModule, SpatialFeatures, SpatialModule, VisualModule
from .spatial import spatial_features


class PairClassifier(nn.Module):
    """Pools regions and adds up the logits of the semantic, spatial and visual modules (section 4).

    Subject and object features are pooled from the detector's feature maps, once per entity. Predicate
    features are pooled from the predicate backbone's feature maps, once per unordered pair. Shape letters:
    see `reldn_d2.structures.pairs`.
    """

    @configurable
    def __init__(
        self,
        *,
        semantic: SemanticModule | None,
        spatial: SpatialModule | None,
        visual: VisualModule | None,
        in_features: list[str],
        pooler: ROIPooler | None,
        subject_head: nn.Module | None,
        object_head: nn.Module | None,
        predicate_head: nn.Module | None,
    ) -> None:
        """Puts the parts together.

        Args:
            semantic, spatial, visual: the three modules; None switches one off.
            in_features: names of the feature maps to pool from.
            pooler: pools regions from these maps; None if the visual module is off.
            subject_head, object_head, predicate_head: box heads from pooled regions to D features; None if
                the visual module does not need one.

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
    def from_config(
        cls,
        cfg: CfgNode,
        input_shape: dict[str, ShapeSpec],
        *,
        spatial_features: SpatialFeatures = spatial_features,
    ) -> dict[str, Any]:
        """Builds the modules and heads that the config switches on."""
        head = cfg.MODEL.ROI_RELATION_HEAD
        num_predicates = head.NUM_PREDICATES
        fused = head.VISUAL.FUSED
        subject_skip, object_skip = head.VISUAL.SUBJECT_SKIP, head.VISUAL.OBJECT_SKIP
        in_features: list[str] = []
        pooler = visual = region_head = None
        if fused or subject_skip or object_skip:
            # The heads have the structure of the detector's ROI heads, since they start as copies of them.
            parts = region_parts(build_roi_heads(cfg, input_shape))
            in_features, pooler = parts.in_features, parts.pooler
            region_head = before_last_relu(parts.head) if head.VISUAL.FEATURES_BEFORE_RELU else parts.head
            visual = VisualModule(
                feature_size=parts.feature_size,
                num_predicates=num_predicates,
                fused=fused,
                subject_skip=subject_skip,
                object_skip=object_skip,
                dropout=head.VISUAL.DROPOUT,
            )
        semantic = spatial = None
        if head.SEMANTIC.ENABLED:
            semantic = SemanticModule(
                num_classes=cfg.MODEL.ROI_HEADS.NUM_CLASSES,
                num_predicates=num_predicates,
                learnable=head.SEMANTIC.LEARNABLE,
                eps=head.SEMANTIC.EPS,
            )
        if head.SPATIAL.ENABLED:
            spatial = SpatialModule(num_predicates=num_predicates, features=spatial_features)
        return {
            "semantic": semantic,
            "spatial": spatial,
            "visual": visual,
            "in_features": in_features,
            "pooler": pooler,
            "subject_head": deepcopy(region_head) if fused or subject_skip else None,
            "object_head": deepcopy(region_head) if fused or object_skip else None,
            "predicate_head": deepcopy(region_head) if fused else None,
        }

    @property
    def uses_detector_features(self) -> bool:
        """Whether subject or object features are pooled from the detector's feature maps."""
        return self.visual is not None

    @property
    def uses_relation_features(self) -> bool:
        """Whether predicate features are pooled from the predicate backbone's feature maps."""
        return self.predicate_head is not None

    def output_layers(self) -> list[nn.Linear]:
        """The layers whose outputs are logits of predicates, with a row for each and for the background."""
        modules = (self.spatial, self.visual)
        return [layer for module in modules if module is not None for layer in module.output_layers()]

    def entity_terms(self, features: FeatureMaps, batch: EntityBatch) -> EntityTerms:
        """Computes the parts of the visual module that depend on single entities, once for all pairs.

        Args:
            features: feature maps of the detector's backbone.
            batch: E entities.
        """
        if self.visual is None:
            return EntityTerms(None, None, None, None)
        regions = self._pool(features, batch.regions, batch.image)
        return self.visual.entity_terms(
            None if self.subject_head is None else self.subject_head(regions),
            None if self.object_head is None else self.object_head(regions),
        )

    def forward(
        self, relation_features: FeatureMaps | None, batch: EntityBatch, terms: EntityTerms, pairs: Pairs
    ) -> Tensor:
        """Computes the predicate logits of pairs.

        Args:
            relation_features: feature maps of the predicate backbone, if `uses_relation_features`.
            batch: E entities.
            terms: result of `entity_terms` for these entities.
            pairs: M ordered pairs, whose unordered pairs are sorted by image.

        Returns:
            (M, P+1) logits in float32 (float64 for a model in float64), background last. Their softmax is
            eq. 12.
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
            logits.append(self.semantic(*pairs.classes(batch)))
        total = torch.stack(logits).sum(dim=0)
        # Softmax and losses need more digits than autocast keeps.
        return at_least_float32(total)

    def bytes_per_pair(self, relation_features: FeatureMaps | None, num_predicates: int) -> int:
        """Estimates the memory that `forward` needs for an unordered pair in both directions, in inference.

        Args:
            relation_features: feature maps of the predicate backbone, if `uses_relation_features`.
            num_predicates: P.
        """
        # In both directions the logits of the modules, their sum, probabilities and scores.
        numbers = 2 * 6 * (num_predicates + 1)
        if self.predicate_head is not None and relation_features is not None:
            pooler: Any = self.pooler
            height, width = pooler.output_size
            # On a GPU the pooler has three tables of regions at a time. The box head adds its first layer.
            numbers += 4 * relation_features[self.in_features[0]].shape[1] * height * width
        if self.visual is not None and self.visual.fuse is not None:
            # In both directions the sum of three rows, and one of them; the hidden layer, and the features.
            numbers += 2 * 4 * self.visual.fuse.out_features
        return numbers * torch.float32.itemsize

    def _pool_predicates(self, relation_features: FeatureMaps, batch: EntityBatch, pairs: Pairs) -> Tensor:
        boxes = enclosing_boxes(batch.regions[pairs.first], batch.regions[pairs.second])
        return self._pool(relation_features, boxes, batch.image[pairs.first])

    def _pool(self, maps: FeatureMaps, boxes: Tensor, image: Tensor) -> Tensor:
        assert self.pooler is not None
        return pool_regions(self.pooler, [maps[name] for name in self.in_features], boxes, image)
