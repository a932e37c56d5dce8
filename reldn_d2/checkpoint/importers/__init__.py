"""Weights of other projects, converted to this package's names and conventions."""

from .authors.architecture import AuthorsArchitecture
from .authors.conversion import convert, detector_of
from .torchvision_vgg16 import to_vgg16_detector

__all__ = ["AuthorsArchitecture", "convert", "detector_of", "to_vgg16_detector"]
