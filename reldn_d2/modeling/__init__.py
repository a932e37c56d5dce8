"""The RelDN meta-architecture, its relation head, and backbones that Detectron2 lacks."""

from .backbone import (
    VGG16,
    TimmBackbone,
    VGGBoxHead,
    build_timm_backbone,
    build_timm_fpn_backbone,
    build_vgg16_backbone,
)
from .lazy_model import relation_model
from .meta_arch import TASKS, RelDN
from .postprocessing import relation_postprocess
from .published import PublishedRelDN
from .relation_head import (
    CONTRASTIVE_TERM_REGISTRY,
    ROI_RELATION_HEAD_REGISTRY,
    CellMembership,
    ContrastiveTerm,
    RelDNHead,
    build_relation_head,
)

__all__ = [
    "CONTRASTIVE_TERM_REGISTRY",
    "ROI_RELATION_HEAD_REGISTRY",
    "TASKS",
    "VGG16",
    "CellMembership",
    "ContrastiveTerm",
    "PublishedRelDN",
    "RelDN",
    "RelDNHead",
    "TimmBackbone",
    "VGGBoxHead",
    "build_relation_head",
    "build_timm_backbone",
    "build_timm_fpn_backbone",
    "build_vgg16_backbone",
    "relation_model",
    "relation_postprocess",
]
