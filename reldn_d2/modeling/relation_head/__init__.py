"""Entity pairs → features → predicate logits → losses or ranked relationships."""

from .build import ROI_RELATION_HEAD_REGISTRY, build_relation_head
from .head import RelDNHead
from .losses import contrastive_losses, predicate_cross_entropy
from .modules import SemanticModule, SpatialModule, VisualModule
from .options import with_options
from .pair_classifier import PairClassifier
from .sampling import label_and_sample_pairs
from .selection import Selection, select_relationships
from .spatial import spatial_features

__all__ = [
    "ROI_RELATION_HEAD_REGISTRY",
    "PairClassifier",
    "RelDNHead",
    "Selection",
    "SemanticModule",
    "SpatialModule",
    "VisualModule",
    "build_relation_head",
    "contrastive_losses",
    "label_and_sample_pairs",
    "predicate_cross_entropy",
    "select_relationships",
    "spatial_features",
    "with_options",
]
