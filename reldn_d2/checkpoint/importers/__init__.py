"""Weights that others have published, converted to this package's names and conventions."""

from ..formats import write_weights
from .authors.architecture import PublishedArchitecture
from .authors.conversion import convert, detector_of
from .torchvision_vgg16 import to_vgg16_detector

__all__ = [
    "PublishedArchitecture",
    "convert",
    "detector_of",
    "to_vgg16_detector",
    "write_weights",
]
