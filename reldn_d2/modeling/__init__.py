"""The RelDN meta-architecture, its relation head, and backbones that Detectron2 lacks."""

from reldn_d2.structures import EntityBatch, Pairs, PairTargets

from .backbone import (
    VGG16,
    TimmBackbone,
    VGGBoxHead,
    build_timm_backbone,
    build_timm_fpn_backbone,
    build_vgg16_backbone,
)
from .meta_arch import TASKS, RelDN
from .postprocessing import relation_postprocess
from .published import PublishedRelDN
from .relation_head import (
    CONTRASTIVE_TERM_REGISTRY,
    ROI_RELATION_HEAD_REGISTRY,
    CellMembership,
    ClassAgnosticTerm,
    ContrastiveLosses,
    ContrastiveTerm,
    EntityClassTerm,
    PairSampler,
    PredicateClassTerm,
    RelDNHead,
    Selection,
    build_relation_head,
    predicate_cross_entropy,
    select_relationships,
)

__all__ = [
    "CONTRASTIVE_TERM_REGISTRY",
    "ROI_RELATION_HEAD_REGISTRY",
    "TASKS",
    "VGG16",
    "CellMembership",
    "ClassAgnosticTerm",
    "ContrastiveLosses",
    "ContrastiveTerm",
    "EntityBatch",
    "EntityClassTerm",
    "PairSampler",
    "PairTargets",
    "Pairs",
    "PredicateClassTerm",
    "PublishedRelDN",
    "RelDN",
    "RelDNHead",
    "Selection",
    "TimmBackbone",
    "VGGBoxHead",
    "build_relation_head",
    "build_timm_backbone",
    "build_timm_fpn_backbone",
    "build_vgg16_backbone",
    "predicate_cross_entropy",
    "relation_postprocess",
    "select_relationships",
]
