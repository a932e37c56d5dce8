"""The relation head of RelDN (sections 3 and 4 of the paper)."""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from torch import Tensor, nn

from reldn_d2.structures import EntityBatch, Pairs
from reldn_d2.structures.predicate_counts import PredicateCounts

from .build import ROI_RELATION_HEAD_REGISTRY
from .contract import ClassRows, DetectorCopy, FeatureMaps
from .modules import EntityTerms, SpatialFeatures
from .pair_classifier import PairClassifier
from .pairwise import PairwiseRelationHead
from .spatial import spatial_features


@ROI_RELATION_HEAD_REGISTRY.register()
class RelDNHead(PairwiseRelationHead[EntityTerms]):
    """Classifies the pairs of entities with RelDN's `PairClassifier`."""

    #: Paths of its layers in its state dict, for those who convert weights of another project.
    LAYER_PATHS: ClassVar = {
        "subject_head": "pair_classifier.subject_head",
        "object_head": "pair_classifier.object_head",
        "predicate_head": "pair_classifier.predicate_head",
        "visual_fuse": "pair_classifier.visual.fuse",
        "visual_hidden": "pair_classifier.visual.score.1",
        "visual_scores": "pair_classifier.visual.score.3",
        "subject_skip": "pair_classifier.visual.subject_skip",
        "object_skip": "pair_classifier.visual.object_skip",
        "spatial_first": "pair_classifier.spatial.mlp.0",
        "spatial_second": "pair_classifier.spatial.mlp.2",
        "spatial_scores": "pair_classifier.spatial.mlp.4",
        "semantic_table": "pair_classifier.semantic.log_prior",
    }

    @configurable
    def __init__(self, *, pair_classifier: PairClassifier, **pairwise: Any) -> None:
        """Puts the parts together.

        Args:
            pair_classifier: computes predicate logits of pairs.
            pairwise: arguments of `PairwiseRelationHead`.
        """
        super().__init__(**pairwise)
        self.pair_classifier = pair_classifier

    @classmethod
    def from_config(
        cls,
        cfg: CfgNode,
        input_shape: dict[str, ShapeSpec],
        *,
        spatial_features: SpatialFeatures = spatial_features,
    ) -> dict[str, Any]:
        """Builds the parts that the config describes."""
        classifier = PairClassifier(cfg, input_shape, spatial_features=spatial_features)
        return {**super().from_config(cfg, input_shape), "pair_classifier": classifier}

    @staticmethod
    def trains_with(cfg: CfgNode) -> bool:
        """Whether a head of this config has anything to train: more than a frozen semantic table."""
        head = cfg.MODEL.ROI_RELATION_HEAD
        visual = head.VISUAL.FUSED or head.VISUAL.SUBJECT_SKIP or head.VISUAL.OBJECT_SKIP
        learnable = head.SEMANTIC.ENABLED and head.SEMANTIC.LEARNABLE
        return bool(visual or head.SPATIAL.ENABLED or learnable)

    @property
    def uses_detector_features(self) -> bool:
        """Whether subject or object features are pooled."""
        return self.pair_classifier.uses_detector_features

    @property
    def uses_relation_features(self) -> bool:
        """Whether predicate features are pooled."""
        return self.pair_classifier.uses_relation_features

    @property
    def relation_in_features(self) -> Sequence[str]:
        """The maps that predicate features are pooled from."""
        return self.pair_classifier.in_features

    def encode_entities(self, features: FeatureMaps, entities: EntityBatch) -> EntityTerms:
        """Computes the parts of the visual module that depend on single entities."""
        return self.pair_classifier.entity_terms(features, entities)

    def predicate_logits(
        self, relation_features: FeatureMaps | None, entities: EntityBatch, encoded: EntityTerms, pairs: Pairs
    ) -> Tensor:
        """Adds up the logits of the semantic, spatial and visual modules."""
        logits: Tensor = self.pair_classifier(relation_features, entities, encoded, pairs)
        return logits

    def bytes_per_pair(self, features: FeatureMaps, relation_features: FeatureMaps | None) -> int | None:
        """Memory of the pair's region, features and logits, estimated from their sizes."""
        return self.pair_classifier.bytes_per_pair(relation_features, self.num_predicates)

    def set_predicate_counts(self, counts: PredicateCounts) -> None:
        """Sets the semantic module's table, if there is one; see `SemanticModule.set_counts`."""
        if self.pair_classifier.semantic is not None:
            self.pair_classifier.semantic.set_counts(counts)

    def detector_copies(self) -> Iterable[DetectorCopy]:
        """The box heads of subject, object and predicate."""
        classifier = self.pair_classifier
        heads = (classifier.subject_head, classifier.object_head, classifier.predicate_head)
        return [DetectorCopy(head, "box_head") for head in heads if head is not None]

    def slow_parameters(self) -> Iterable[nn.Parameter]:
        """The predicate's box head, as in the published recipe."""
        head = self.pair_classifier.predicate_head
        return () if head is None else head.parameters()

    def bias_like_parameters(self) -> Iterable[nn.Parameter]:
        """The semantic table, as in the published recipe."""
        semantic = self.pair_classifier.semantic
        return () if semantic is None else (semantic.table,)

    def class_rows(self) -> Iterable[ClassRows]:
        """The last layers of the spatial and visual modules."""
        layers = self.pair_classifier.output_layers()
        return [ClassRows(layer, "predicate_classes", background=True) for layer in layers]

    def counted_parameters(self) -> Iterable[Tensor]:
        """The semantic table."""
        semantic = self.pair_classifier.semantic
        return () if semantic is None else semantic.tensors()
