"""Backbones that Detectron2 lacks, and the box head that belongs to one of them."""

from .timm import TimmBackbone, build_timm_backbone, build_timm_fpn_backbone
from .vgg import VGG16, VGGBoxHead, build_vgg16_backbone

__all__ = [
    "VGG16",
    "TimmBackbone",
    "VGGBoxHead",
    "build_timm_backbone",
    "build_timm_fpn_backbone",
    "build_vgg16_backbone",
]
