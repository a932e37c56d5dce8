"""Backbones that Detectron2 lacks, and the box head that belongs to one of them."""

from .timm import TimmBackbone, build_reldn_timm_backbone, build_reldn_timm_fpn_backbone
from .vgg import VGG16, RelDNVGGBoxHead, build_reldn_vgg16_backbone

__all__ = [
    "VGG16",
    "RelDNVGGBoxHead",
    "TimmBackbone",
    "build_reldn_timm_backbone",
    "build_reldn_timm_fpn_backbone",
    "build_reldn_vgg16_backbone",
]
