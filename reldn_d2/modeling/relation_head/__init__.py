"""Entity pairs → features → predicate logits → losses or ranked relationships."""

from .build import ROI_RELATION_HEAD_REGISTRY, build_relation_head, registered_head
from .contract import ClassRows, DetectorCopy, FeatureMaps, RelationHead, check_relation_head
from .entities import entity_batch
from .head import RelDNHead
from .losses import (
    CONTRASTIVE_TERM_REGISTRY,
    CellMembership,
    ClassAgnosticTerm,
    ContrastiveLosses,
    ContrastiveTerm,
    EntityClassTerm,
    PredicateClassTerm,
    predicate_cross_entropy,
)
from .modules import SemanticModule, SpatialModule, VisualModule
from .pair_classifier import PairClassifier
from .pairwise import PairwiseRelationHead
from .published_sampling import PublishedPairSampler
from .sampling import PairSampler
from .selection import Selection, select_in_batch, select_relationships
from .spatial import spatial_features

__all__ = [
    "CONTRASTIVE_TERM_REGISTRY",
    "ROI_RELATION_HEAD_REGISTRY",
    "CellMembership",
    "ClassAgnosticTerm",
    "ClassRows",
    "ContrastiveLosses",
    "ContrastiveTerm",
    "DetectorCopy",
    "EntityClassTerm",
    "FeatureMaps",
    "PairClassifier",
    "PairSampler",
    "PairwiseRelationHead",
    "PredicateClassTerm",
    "PublishedPairSampler",
    "RelDNHead",
    "RelationHead",
    "Selection",
    "SemanticModule",
    "SpatialModule",
    "VisualModule",
    "build_relation_head",
    "check_relation_head",
    "entity_batch",
    "predicate_cross_entropy",
    "registered_head",
    "select_in_batch",
    "select_relationships",
    "spatial_features",
]
