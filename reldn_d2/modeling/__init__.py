"""The RelDN meta-architecture, its relation head, and backbones that Detectron2 lacks."""

from reldn_d2.structures import EntityBatch, Pairs, PairTargets

from .acceleration import accelerate, as_built, autocast, pool_regions
from .backbone import (
    VGG16,
    RelDNVGGBoxHead,
    TimmBackbone,
    build_reldn_timm_backbone,
    build_reldn_timm_fpn_backbone,
    build_reldn_vgg16_backbone,
)
from .lazy_model import relation_model
from .meta_arch import TASKS, RelDN
from .postprocessing import relation_postprocess
from .published import PublishedRelDN
from .region_heads import RegionParts, region_parts
from .relation_head import (
    CONTRASTIVE_TERM_REGISTRY,
    ROI_RELATION_HEAD_REGISTRY,
    CellMembership,
    ClassAgnosticTerm,
    ClassRows,
    ContrastiveLosses,
    ContrastiveTerm,
    DetectorCopy,
    EntityClassTerm,
    FeatureMaps,
    PairSampler,
    PairwiseRelationHead,
    PredicateClassTerm,
    PublishedPairSampler,
    RelationHead,
    RelDNHead,
    Selection,
    SemanticModule,
    SpatialModule,
    build_relation_head,
    predicate_cross_entropy,
    select_in_batch,
    select_relationships,
)
from .test_time_augmentation import RelDNWithTTA

__all__ = [
    "CONTRASTIVE_TERM_REGISTRY",
    "ROI_RELATION_HEAD_REGISTRY",
    "TASKS",
    "VGG16",
    "CellMembership",
    "ClassAgnosticTerm",
    "ClassRows",
    "ContrastiveLosses",
    "ContrastiveTerm",
    "DetectorCopy",
    "EntityBatch",
    "EntityClassTerm",
    "FeatureMaps",
    "PairSampler",
    "PairTargets",
    "Pairs",
    "PairwiseRelationHead",
    "PredicateClassTerm",
    "PublishedPairSampler",
    "PublishedRelDN",
    "RegionParts",
    "RelDN",
    "RelDNHead",
    "RelDNVGGBoxHead",
    "RelDNWithTTA",
    "RelationHead",
    "Selection",
    "SemanticModule",
    "SpatialModule",
    "TimmBackbone",
    "accelerate",
    "as_built",
    "autocast",
    "build_relation_head",
    "build_reldn_timm_backbone",
    "build_reldn_timm_fpn_backbone",
    "build_reldn_vgg16_backbone",
    "pool_regions",
    "predicate_cross_entropy",
    "region_parts",
    "relation_model",
    "relation_postprocess",
    "select_in_batch",
    "select_relationships",
]
