"""The RelDN meta-architecture, its relation head, and backbones that Detectron2 lacks."""

from .backbone import TimmBackbone, build_timm_backbone, build_timm_fpn_backbone
from .meta_arch import TASKS, RelDN
from .postprocessing import relation_postprocess
from .relation_head import ROI_RELATION_HEAD_REGISTRY, RelDNHead, build_relation_head

__all__ = [
    "ROI_RELATION_HEAD_REGISTRY",
    "TASKS",
    "RelDN",
    "RelDNHead",
    "TimmBackbone",
    "build_relation_head",
    "build_timm_backbone",
    "build_timm_fpn_backbone",
    "relation_postprocess",
]
