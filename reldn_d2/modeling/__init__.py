"""The RelDN meta-architecture, its relation head, and backbones that Detectron2 lacks."""

from .backbone import (
    VGG16,
    RelDNVGGBoxHead,
    TimmBackbone,
    build_reldn_timm_backbone,
    build_reldn_timm_fpn_backbone,
    build_reldn_vgg16_backbone,
)
from .meta_arch import TASKS, RelDN
from .postprocessing import relation_postprocess
from .published import PublishedRelDN
from .region_heads import RegionParts, region_parts
from .relation_head import (
    CONTRASTIVE_TERM_REGISTRY,
    ROI_RELATION_HEAD_REGISTRY,
    CellMembership,
    ClassRows,
    ContrastiveTerm,
    DetectorCopy,
    FeatureMaps,
    PairwiseRelationHead,
    RelationHead,
    RelDNHead,
    SemanticModule,
    SpatialModule,
    build_relation_head,
)

__all__ = [
    "CONTRASTIVE_TERM_REGISTRY",
    "ROI_RELATION_HEAD_REGISTRY",
    "TASKS",
    "VGG16",
    "CellMembership",
    "ClassRows",
    "ContrastiveTerm",
    "DetectorCopy",
    "FeatureMaps",
    "PairwiseRelationHead",
    "PublishedRelDN",
    "RegionParts",
    "RelDN",
    "RelDNHead",
    "RelDNVGGBoxHead",
    "RelationHead",
    "SemanticModule",
    "SpatialModule",
    "TimmBackbone",
    "build_relation_head",
    "build_reldn_timm_backbone",
    "build_reldn_timm_fpn_backbone",
    "build_reldn_vgg16_backbone",
    "region_parts",
    "relation_postprocess",
]
